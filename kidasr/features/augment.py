"""H4: SpecAugment."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torchaudio.transforms import FrequencyMasking, TimeMasking

from kidasr.seeding import seed_for


class SpecAugment:
    """Frequency and time masks (Park et al., 2019, arXiv 1904.08779), drawn by torchaudio.

    Whisper pads every input to its window, so masks drawn over the input would mostly fall on padding; these are drawn over
    the utterance's real frames alone. A mask writes the mean of those frames: Whisper's log-mel features are not
    zero-mean, and in the paper, where they are, zero *is* the mean.

    Args:
        freq_mask_param: A frequency mask is less than this many mel bins high; 0 for none.
        time_mask_param: A time mask is less than this many 10-ms frames long; 0 for none.
        num_freq_masks, num_time_masks: Masks of each kind.
        max_time_mask_fraction: Largest share of the real frames that one time mask covers (the paper's ``p``).
    """

    def __init__(
        self,
        freq_mask_param: int,
        time_mask_param: int,
        num_freq_masks: int,
        num_time_masks: int,
        max_time_mask_fraction: float,
    ):
        self.freq_mask_param, self.time_mask_param = freq_mask_param, time_mask_param
        self._masks = [FrequencyMasking(freq_mask_param)] * (num_freq_masks if freq_mask_param else 0)
        self._masks += [TimeMasking(time_mask_param, p=max_time_mask_fraction)] * (num_time_masks if time_mask_param else 0)

    @property
    def is_on(self) -> bool:
        """Whether it masks anything at all."""
        return bool(self._masks)

    def __call__(
        self, features: torch.Tensor, real_frames: int, *, seed: int, epoch: int, utterance_id: str
    ) -> torch.Tensor:
        """Masked features, shape ``(mel_bins, frames)`` as given; the masks depend on (seed, epoch, utterance) alone."""
        if not self.is_on or not real_frames:
            return features
        real = features[:, :real_frames]
        mean = real.mean().item()
        with _torch_seed(seed_for("specaugment", seed, epoch, utterance_id)):
            for mask in self._masks:
                real = mask(real, mask_value=mean)
        return torch.cat([real, features[:, real_frames:]], dim=1)


@contextmanager
def _torch_seed(seed: int) -> Iterator[None]:
    """torchaudio draws from torch's global CPU generator: seed it here, and leave it as it was."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
