"""SpecAugment's time warp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, PositiveInt

from kidasr.config.schema import Fraction
from kidasr.features.augment import Draw, FeatureAugmentation, share_of

if TYPE_CHECKING:
    import torch


class TimeWarp(FeatureAugmentation):
    """Moves a point of the utterance in time: what is before it is stretched and the rest compressed, or vice versa.

    The third part of SpecAugment (Park et al., 2019, arXiv 1904.08779), used before its masks:
    ``augment=[time_warp,specaugment]``.
    Only real frames are warped, by linear interpolation between frames.

    Args:
        time_warp_param: Maximum shift of the point, in 10-ms frames (the paper's ``W``); it keeps as far from the ends.
        max_warp_fraction: Upper bound of the shift, as a share of the utterance's real frames.
        p: Share of the utterances that are warped.
    """

    keeps_positions = False

    def __init__(
        self,
        time_warp_param: PositiveInt,
        max_warp_fraction: Annotated[float, Field(gt=0, le=0.25)],
        p: Fraction,
    ):
        self.time_warp_param, self.max_warp_fraction, self.p = time_warp_param, max_warp_fraction, p

    def __call__(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Warp the real frames; their shape ``(mel_bins, frames)`` is unchanged."""
        rng = draw.generator("time_warp")
        most = min(self.time_warp_param, int(self.max_warp_fraction * real_frames))
        if rng.random() >= self.p or most < 1:
            return features
        import torch

        point = rng.uniform(most, real_frames - 1 - most)
        moved = point + rng.uniform(-most, most)
        places = np.interp(np.arange(real_frames), [0, moved, real_frames - 1], [0, point, real_frames - 1])
        below = np.minimum(places.astype(int), real_frames - 2)
        share = torch.from_numpy((places - below).astype(np.float32))
        below_frames = torch.from_numpy(below)
        warped = torch.lerp(features[:, below_frames], features[:, below_frames + 1], share)
        return torch.cat([warped, features[:, real_frames:]], dim=1)

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """Nothing by name: the shift depends on the utterance's length."""
        return {} if draw.generator("time_warp").random() < self.p else None

    def describe(self) -> str:
        """The largest shift, and how many utterances are warped."""
        share = f"{100 * self.max_warp_fraction:.0f}% of an utterance"
        return f"up to {self.time_warp_param} frames (at most {share}), {share_of(self.p)}"
