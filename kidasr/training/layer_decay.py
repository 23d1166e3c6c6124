"""Layer-wise learning-rate decay: layers nearer to the input learn more slowly.

The first layers of a pretrained model are thought to hold what is most general (Howard and Ruder, 2018, arXiv 1801.06146).
ELECTRA (Clark et al., 2020, arXiv 2003.10555) and BEiT (Bao et al., 2021, arXiv 2106.08254) are fine-tuned in this way.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch

from kidasr.config.checks import ConfigError

_LAYER = re.compile(r"(?:^|\.)(encoder|decoder)\.layers\.(\d+)\.")


def depths(names: Iterable[str]) -> dict[str, int]:
    """How far each parameter is from the end of its half of the model, in layers.

    0 for the last layer of the encoder and of the decoder, for the normalization after it and for an output of its own. What
    comes before the first layer (convolutions, positions, token embedding) is one further than that. A token embedding that
    is also the output counts as an embedding.

    Args:
        names: Names of all parameters, as of a Whisper.

    Raises:
        ConfigError: If the model has no layers of an encoder and a decoder.
    """
    names = list(names)
    layers: dict[str, int] = {}
    for name in names:
        if match := _LAYER.search(name):
            layers[match[1]] = max(layers.get(match[1], 0), int(match[2]) + 1)
    if not {"encoder", "decoder"} <= layers.keys():
        raise ConfigError("optim.layer_decay: the model has no layers of an encoder and a decoder; expected: 1.0")
    return {name: _depth(name, layers) for name in names}


def _depth(name: str, layers: dict[str, int]) -> int:
    if match := _LAYER.search(name):
        return layers[match[1]] - 1 - int(match[2])
    half = next((half for half in layers if f".{half}." in f".{name}"), None)
    return 0 if half is None or f"{half}.layer_norm." in name else layers[half]


def decay_rates(groups: list[dict[str, Any]], names: dict[int, str], decay: float) -> list[dict[str, Any]]:
    """Divide an optimizer's parameter groups by learning rate.

    Args:
        groups: The groups of a new optimizer, each with its ``lr``.
        names: The name of each of the model's parameters, by its ``id``.
        decay: A parameter's rate is its group's times ``decay ** depth``, see :func:`depths`.

    Returns:
        The new groups, the highest rate first: that is the one that the Trainer logs.
    """
    depth = depths(names.values())
    divided: dict[tuple[int, int], dict[str, Any]] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            distance = depth[names[id(parameter)]]
            new = {**group, "params": [], "lr": group["lr"] * decay**distance}
            divided.setdefault((distance, number), new)["params"].append(parameter)
    return [divided[key] for key in sorted(divided)]


def names_of(model: torch.nn.Module) -> dict[int, str]:
    """The name of each parameter, by its ``id``; of tied ones, the first name."""
    return {id(parameter): name for name, parameter in model.named_parameters()}
