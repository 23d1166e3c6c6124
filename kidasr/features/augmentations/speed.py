"""Speed perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from kidasr.config.schema import Fraction
from kidasr.features.augment import Draw, WaveformAugmentation, share_of
from kidasr.features.augmentations.level import within_full_scale

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples

Factor = Annotated[float, Field(ge=0.5, le=2)]


class Speed(WaveformAugmentation):
    """Plays an utterance faster or slower, so that duration, pitch and formants all change (Ko et al., 2015, Interspeech).

    The paper trains on a copy of the corpus at each speed; here one speed is drawn for an utterance in each epoch.
    Resampled by torchaudio's windowed sinc.

    Args:
        factors: The speeds to draw from, in hundredths; 1.1 is 10% faster.
        p: Share of the utterances for which one is drawn.
    """

    def __init__(self, factors: Annotated[list[Factor], Field(min_length=1)], p: Fraction):
        self.percents = [round(100 * factor) for factor in factors]
        self.p = p
        self.max_length_factor = 100 / min(100, *self.percents) if p else 1.0

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Resample: a speed of 1.1 divides the number of samples by 1.1, rounded up."""
        percent = self._percent(draw)
        if percent == 100:
            return samples
        import torch
        from torchaudio.functional import resample

        faster: Samples = resample(torch.from_numpy(samples), percent, 100).numpy()
        return within_full_scale(faster)

    def _percent(self, draw: Draw) -> int:
        rng = draw.generator("speed")
        return int(rng.choice(self.percents)) if rng.random() < self.p else 100

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The speed."""
        percent = self._percent(draw)
        return None if percent == 100 else {"speed": percent / 100}

    def describe(self) -> str:
        """The speeds, and how many utterances they change."""
        changed = self.p * sum(percent != 100 for percent in self.percents) / len(self.percents)
        return f"{', '.join(f'{percent / 100:g}' for percent in self.percents)} times as fast, {share_of(changed)}"
