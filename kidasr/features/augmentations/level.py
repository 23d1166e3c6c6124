"""Levels of signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples


def within_full_scale(samples: Samples) -> Samples:
    """Make samples quieter if any is outside [-1, 1]: a recording would clip there."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak <= 1 else samples / np.float32(peak)


def power(samples: Samples) -> float:
    """Mean square of samples; 0 for none."""
    return float(np.dot(samples, samples)) / max(1, len(samples))
