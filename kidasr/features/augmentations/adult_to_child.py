"""Adults' voices made more like children's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from kidasr.config.schema import Fraction, span
from kidasr.features.augment import Draw, WaveformAugmentation, share_of, uniform
from kidasr.features.augmentations.level import within_full_scale
from kidasr.features.augmentations.voice import shift_voice

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples


class AdultToChild(WaveformAugmentation):
    """Raises pitch and formants, by a factor each; the duration stays. For training sets with adults in them.

    The idea is that of source-filter warping (arXiv 2206.09396), which changes both with the WORLD vocoder; here a phase
    vocoder does, see :func:`~kidasr.features.augmentations.voice.shift_voice`.

    Args:
        pitch_factor, formant_factor: The lowest and the highest factor; drawn uniformly.
        p: Share of the utterances that are changed.
    """

    def __init__(
        self,
        pitch_factor: Annotated[list[float], span(0.5, 2.5)],
        formant_factor: Annotated[list[float], span(0.7, 1.5)],
        p: Fraction,
    ):
        self.pitch_factor, self.formant_factor, self.p = pitch_factor, formant_factor, p

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Raise pitch and formants; the number of samples stays."""
        factors = self._factors(draw)
        return samples if factors is None else within_full_scale(shift_voice(samples, *factors))

    def _factors(self, draw: Draw) -> tuple[float, float] | None:
        rng = draw.generator("adult_to_child")
        return (uniform(rng, self.pitch_factor), uniform(rng, self.formant_factor)) if rng.random() < self.p else None

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """Both factors."""
        factors = self._factors(draw)
        return None if factors is None else {"pitch": f"×{factors[0]:.2f}", "formants": f"×{factors[1]:.2f}"}

    def describe(self) -> str:
        """The factors, and how many utterances they change."""
        factors = [
            f"{name} {low:g} to {high:g} times"
            for name, (low, high) in (("pitch", self.pitch_factor), ("formants", self.formant_factor))
        ]
        return f"{', '.join(factors)}, {share_of(self.p)}"
