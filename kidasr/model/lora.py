"""LoRA: low-rank weights beside the model's own, which stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from kidasr.config.checks import ConfigError
from kidasr.config.schema import Text

if TYPE_CHECKING:
    import torch
    from torch.nn import Linear

log = logging.getLogger(__name__)


class Lora:
    """Low-rank adaptation (Hu et al., 2021, arXiv 2106.09685) by peft, of linear layers of the encoder and the decoder.

    A layer ``W x`` becomes ``W x + alpha / r * B A x``. Only A and B are trained. B begins as 0, so that an untrained
    adapter changes nothing. :meth:`merge` adds the product to W, and the model is a plain one again.

    Args:
        r: Rank: rows of A and columns of B.
        alpha: Weight of the adapter: its output is multiplied by ``alpha / r``.
        dropout: Dropout of the adapter's input in training.
        targets: Names of the linear layers, or their ends: ``q_proj``, ``encoder_attn.q_proj``. The projection onto the
            vocabulary is not among them: its weight is also the token embedding.
        part: The part of the model that gets adapters.
        learning_rate_factor: Multiplies the default learning rates in ``conf``, where it is read; here only to be checked.
    """

    def __init__(
        self,
        r: PositiveInt,
        alpha: PositiveFloat,
        dropout: Annotated[float, Field(ge=0, lt=1)],
        targets: Annotated[list[Text], Field(min_length=1)],
        part: Literal["encoder", "decoder", "both"],
        learning_rate_factor: PositiveFloat,
    ):
        self.r, self.alpha, self.dropout, self.targets, self.part = r, alpha, dropout, list(targets), part

    def wrap(self, model: torch.nn.Module) -> None:
        """Add the adapters in place and freeze everything else. A is drawn from torch's default generator.

        Raises:
            ConfigError: If a target is not a linear layer of the model.
        """
        from peft import LoraConfig, inject_adapter_in_model

        layers = self._layers(model)
        total = sum(parameter.numel() for parameter in model.parameters())
        inject_adapter_in_model(
            LoraConfig(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=layers, bias="none"),  # type: ignore[arg-type]
            model,
        )
        for _, layer in adapted(model):
            layer.cast_input_dtype_enabled = False  # autocast does it, and without autocast there is nothing to do
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        log.info(
            "adapter: LoRA of rank %d, alpha %g, on %d layers (%s of %s): %s parameters, %.2f%% of the model's",
            *(self.r, self.alpha, len(layers), ", ".join(self.targets)),
            *("encoder and decoder" if self.part == "both" else self.part, f"{trained:,}", 100 * trained / total),
        )

    def own_weights(self, model: torch.nn.Module) -> Sequence[str]:
        """Names of the adapters' weights in the model's state: all that training changes."""
        prefixes = tuple(f"{name}." for name, _ in adapted(model))
        return [name for name in model.state_dict() if name.startswith(prefixes) and ".base_layer." not in name]

    def merge(self, model: torch.nn.Module) -> None:
        """Add each adapter's product to its layer's weight, in float64, and take the adapter out.

        In float32 the merged model differs from the unmerged by rounding only. In half precision it rounds the sum of both,
        where the unmerged model rounds each: see docs/ideas/lora.md.
        """
        for name, layer in list(adapted(model)):
            base: Linear = layer.get_base_layer()
            kind = base.weight.dtype
            layer.double()
            layer.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, base.to(kind))
        if hasattr(model, "peft_config"):
            del model.peft_config

    def _layers(self, model: torch.nn.Module) -> list[str]:
        """Full names of the layers to adapt."""
        from torch.nn import Linear

        output = getattr(model, "get_output_embeddings", lambda: None)()
        names = [
            name
            for name, module in model.named_modules()
            if isinstance(module, Linear) and module is not output and (self.part == "both" or self.part in name.split("."))
        ]
        for target in self.targets:
            if not any(_ends_in(name, target) for name in names):
                where = "the model" if self.part == "both" else f"the {self.part}"
                known = ", ".join(sorted({name.rpartition(".")[2] for name in names})) or "none of this model"
                raise ConfigError(f"adapter.targets: no linear layer {target} in {where}; expected: {known}")
        return [name for name in names if any(_ends_in(name, target) for target in self.targets)]


def _ends_in(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")


def adapted(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers with an adapter, by name: modules that are peft's ``LoraLayer`` too."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module
