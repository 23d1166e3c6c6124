"""Vocal tract length perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from kidasr.config.schema import Fraction, span
from kidasr.corpus.audio import SAMPLE_RATE_HZ
from kidasr.features.augment import Draw, FeatureAugmentation, share_of, uniform

if TYPE_CHECKING:
    import torch

#: Half of the sampling rate.
NYQUIST_HZ = SAMPLE_RATE_HZ / 2


class Vtlp(FeatureAugmentation):
    """Stretches or compresses the frequency axis, as a shorter or longer vocal tract does (Jaitly and Hinton, 2013).

    The paper's piecewise linear warp, computed on the log-mel features by linear interpolation between mel bins, which
    costs next to nothing. (The paper moves the mel filters instead.) Duration and level stay.

    Args:
        warp: The lowest and the highest factor of frequencies; drawn uniformly. Over 1: a shorter vocal tract.
        boundary_hz: Up to this frequency the warp is linear; above it, it returns to the identity at 8 kHz.
        p: Share of the utterances that are warped.
    """

    def __init__(
        self,
        warp: Annotated[list[float], span(0.7, 1.5)],
        boundary_hz: Annotated[float, Field(ge=1000, le=7000)],
        p: Fraction,
    ):
        self.warp, self.boundary_hz, self.p = warp, boundary_hz, p

    def __call__(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Warp the real frames; their shape ``(mel_bins, frames)`` is unchanged."""
        warp = self._warp(draw)
        if warp is None:
            return features
        import torch

        matrix = torch.from_numpy(self._interpolation(len(features), warp))
        return torch.cat([matrix @ features[:, :real_frames], features[:, real_frames:]], dim=1)

    def _warp(self, draw: Draw) -> float | None:
        rng = draw.generator("vtlp")
        return uniform(rng, self.warp) if rng.random() < self.p else None

    def _interpolation(self, mel_bins: int, warp: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Takes each bin's value from where its frequency was before the warp, shape ``(mel_bins, mel_bins)``."""
        centers_hz = mel_centers_hz(mel_bins)
        boundary_hz = self.boundary_hz * min(warp, 1)
        before_hz = np.interp(centers_hz, [0, boundary_hz, NYQUIST_HZ], [0, boundary_hz / warp, NYQUIST_HZ])
        places = np.interp(before_hz, centers_hz, np.arange(mel_bins))
        rows, below = np.arange(mel_bins), np.minimum(places.astype(int), mel_bins - 2)
        matrix = np.zeros((mel_bins, mel_bins), dtype=np.float32)
        matrix[rows, below] = 1 - (places - below)
        matrix[rows, below + 1] = places - below
        return matrix

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The factor of frequencies."""
        warp = self._warp(draw)
        return None if warp is None else {"frequencies": f"×{warp:.2f}"}

    def describe(self) -> str:
        """The factors, and how many utterances they change."""
        low, high = self.warp
        return f"frequencies {low:g} to {high:g} times, {share_of(self.p)}"


@cache
def mel_centers_hz(mel_bins: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The center frequency of each of Whisper's mel filters."""
    from transformers.audio_utils import hertz_to_mel, mel_to_hertz

    edges = np.linspace(0, hertz_to_mel(NYQUIST_HZ, mel_scale="slaney"), mel_bins + 2)
    centers: Any = mel_to_hertz(edges, mel_scale="slaney")
    return np.asarray(centers[1:-1], dtype=np.float64)
