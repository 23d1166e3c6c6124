"""Pitch perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from kidasr.config.schema import Fraction, span
from kidasr.features.augment import Draw, WaveformAugmentation, share_of, uniform
from kidasr.features.augmentations.level import within_full_scale
from kidasr.features.augmentations.voice import shift_voice

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples


class Pitch(WaveformAugmentation):
    """Raises or lowers the pitch; duration and formants stay. See :func:`~kidasr.features.augmentations.voice.shift_voice`.

    Args:
        semitones: The lowest and the highest shift, in semitones; drawn uniformly.
        p: Share of the utterances that are shifted.
    """

    def __init__(self, semitones: Annotated[list[float], span(-12, 12)], p: Fraction):
        self.semitones, self.p = semitones, p

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Shift the pitch; the number of samples stays."""
        semitones = self._semitones(draw)
        return samples if semitones is None else within_full_scale(shift_voice(samples, 2 ** (semitones / 12), 1.0))

    def _semitones(self, draw: Draw) -> float | None:
        rng = draw.generator("pitch")
        return uniform(rng, self.semitones) if rng.random() < self.p else None

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The shift."""
        semitones = self._semitones(draw)
        return None if semitones is None else {"semitones": round(semitones, 2)}

    def describe(self) -> str:
        """The shifts, and how many utterances they change."""
        low, high = self.semitones
        return f"{low:+g} to {high:+g} semitones, {share_of(self.p)}"
