"""Gain perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np

from kidasr.config.schema import Fraction, span
from kidasr.features.augment import Draw, WaveformAugmentation, share_of, uniform
from kidasr.features.augmentations.level import within_full_scale

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples


class Gain(WaveformAugmentation):
    """Makes an utterance louder or quieter. Whisper's features keep the level: 10 dB are 0.25 in each value.

    Args:
        gain_db: The lowest and the highest gain; drawn uniformly. The result is kept within full scale.
        p: Share of the utterances that are changed.
    """

    def __init__(self, gain_db: Annotated[list[float], span(-60, 60)], p: Fraction):
        self.gain_db, self.p = gain_db, p

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Multiply the samples."""
        gain_db = self._gain_db(draw)
        return samples if gain_db is None else within_full_scale(samples * np.float32(10 ** (gain_db / 20)))

    def _gain_db(self, draw: Draw) -> float | None:
        rng = draw.generator("gain")
        return uniform(rng, self.gain_db) if rng.random() < self.p else None

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The gain."""
        gain_db = self._gain_db(draw)
        return None if gain_db is None else {"gain": f"{gain_db:+.1f} dB"}

    def describe(self) -> str:
        """The gains, and how many utterances they change."""
        low, high = self.gain_db
        return f"{low:+g} to {high:+g} dB, {share_of(self.p)}"
