"""H4: SpecAugment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from kidasr.config.schema import Fraction, MelBins
from kidasr.errors import KidasrError
from kidasr.features.augment import Draw, FeatureAugmentation

if TYPE_CHECKING:
    import torch


class SpecAugment(FeatureAugmentation):
    """Frequency and time masks (Park et al., 2019, arXiv 1904.08779), drawn by torchaudio.

    Whisper pads every input to its window, so masks over the whole input would mostly cover padding. Here masks cover only
    the utterance's real frames. They are filled with the mean of those frames: Whisper's log-mel features are not zero-mean.
    (The paper fills with zero, but its features have zero mean.)

    Args:
        freq_mask_param: Frequency masks have fewer mel bins than this; 0 for none.
        time_mask_param: Time masks have fewer 10-ms frames than this; 0 for none.
        num_freq_masks, num_time_masks: Number of masks of each kind.
        max_time_mask_fraction: Maximum share of the real frames that one time mask covers (the paper's ``p``).
    """

    def __init__(
        self,
        freq_mask_param: MelBins,
        time_mask_param: NonNegativeInt,
        num_freq_masks: NonNegativeInt,
        num_time_masks: NonNegativeInt,
        max_time_mask_fraction: Fraction,
    ):
        self.freq_mask_param, self.time_mask_param = freq_mask_param, time_mask_param
        self.num_freq_masks = num_freq_masks if freq_mask_param else 0
        self.num_time_masks = num_time_masks if time_mask_param else 0
        self.max_time_mask_fraction = max_time_mask_fraction

    def __call__(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Mask features; their shape ``(mel_bins, frames)`` is unchanged."""
        import torch
        from torchaudio.transforms import FrequencyMasking, TimeMasking

        if not (self.num_freq_masks or self.num_time_masks) or not real_frames:
            return features
        masks = [FrequencyMasking(self.freq_mask_param)] * self.num_freq_masks
        masks += [TimeMasking(self.time_mask_param, p=self.max_time_mask_fraction)] * self.num_time_masks
        real = features[:, :real_frames]
        mean = real.mean().item()
        with _torch_seed(draw.seed_for("specaugment")):
            for mask in masks:
                real = mask(real, mask_value=mean)
        return torch.cat([real, features[:, real_frames:]], dim=1)

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """Nothing by name: the masks depend on the utterance's length."""
        return {} if self.num_freq_masks or self.num_time_masks else None

    def check(self, mel_bins: int) -> None:
        """Check that masks are not higher than the features."""
        if self.freq_mask_param > mel_bins:
            raise KidasrError(
                f"augment.specaugment.freq_mask_param={self.freq_mask_param}: the model has {mel_bins} mel bins"
            )

    def describe(self) -> str:
        """Number and size of the masks."""
        bins, frames = (max(0, size - 1) for size in (self.freq_mask_param, self.time_mask_param))
        share = f"{100 * self.max_time_mask_fraction:.0f}% of an utterance"
        masks = f"{self.num_freq_masks} mask(s) of up to {bins} mel bins, {self.num_time_masks} of up to {frames} frames"
        return f"{masks} (at most {share})"


@contextmanager
def _torch_seed(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which torchaudio uses, and restore its state afterwards."""
    import torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
