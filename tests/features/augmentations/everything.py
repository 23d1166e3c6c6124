"""All augmentations of waveforms and features, and recordings to try them on."""

from collections.abc import Callable
from functools import cache
from typing import Any

import hydra
import numpy as np

from kidasr.corpus.audio import Samples
from kidasr.features.augment import Draw
from kidasr.features.augmentations.recordings import load_part
from tests.conftest import ROOT, composed

AUDIO = ROOT / "kidasr" / "embedded" / "corpus" / "audio"

WAVEFORMS = ("speed", "pitch", "adult_to_child", "reverb", "noise", "codec", "gain")
FEATURES = ("vtlp", "time_warp", "specaugment")

#: In the order in which sound goes through them.
ALL = ("concat", *WAVEFORMS, *FEATURES)


def augmentation(name: str, **keys: Any) -> Any:
    """An augmentation as configured in ``conf/augment``, with other values for some keys."""
    return hydra.utils.instantiate(_configs()[name], _convert_="all", **keys)


@cache
def _configs() -> Any:
    return composed(f"augment=[{','.join(ALL)}]").augment


def recording(name: str = "adults_00_00") -> Samples:
    """A recording of the embedded corpus."""
    return load_part(str(AUDIO / f"{name}.ogg"))


def draws(number: int = 40) -> list[Draw]:
    """Draws of as many epochs."""
    return [Draw(1, epoch, "u") for epoch in range(number)]


def augmented(one: Callable[[Samples, Draw], Samples], samples: Samples, number: int = 40) -> list[Samples]:
    """Samples in several epochs."""
    return [one(samples, draw) for draw in draws(number)]


def decibel(ratio: float) -> float:
    return float(10 * np.log10(ratio))
