"""Error rates with 95% intervals over speakers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval, infinite on both sides if the data tell nothing about it (a single speaker)."""

    value: float
    low: float
    high: float

    @property
    def ends(self) -> list[float] | None:
        """Both ends; None if the interval is infinite."""
        return [self.low, self.high] if np.isfinite(self.high) else None


def speaker_sums(speakers: Sequence[str] | np.ndarray, *counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Sum each count over the utterances of a speaker, in the speakers' alphabetical order.

    Returns:
        Shape ``(len(counts), number of speakers)``.
    """
    _, place = np.unique(np.asarray(speakers), return_inverse=True)
    return np.array([np.bincount(place, weights=np.asarray(one, dtype=float)) for one in counts])


def rate_interval(
    speakers: Sequence[str] | np.ndarray, errors: Sequence[int] | np.ndarray, words: Sequence[int] | np.ndarray
) -> Interval:
    """The error rate of one run and its interval for other children; the arguments have one entry per utterance.

    The rate is a ratio of two sums over a sample of speakers, whose utterances are alike (Cochran, Sampling Techniques,
    section 6.3). The interval is Student's t, with a degree of freedom less than there are speakers.
    """
    value, error, degrees = _ratio(*speaker_sums(speakers, errors, words))
    reach = _reach(error, degrees)
    return Interval(value, max(0.0, value - reach) if np.isfinite(reach) else -np.inf, value + reach)


def change_interval(
    speakers: Sequence[str] | np.ndarray,
    before: Sequence[int] | np.ndarray,
    after: Sequence[int] | np.ndarray,
    words: Sequence[int] | np.ndarray,
) -> Interval:
    """The change of an error rate on the same utterances, and its interval for other speakers; see :func:`rate_interval`."""
    value, error, degrees = _ratio(*speaker_sums(speakers, np.subtract(after, before), words))
    reach = _reach(error, degrees)
    return Interval(value, value - reach, value + reach)


def gap_interval(young: np.ndarray, old: np.ndarray) -> Interval:
    """The rate of one group of speakers minus that of another group, with Welch's degrees of freedom.

    Args:
        young, old: Errors and words of each speaker of a group, as :func:`speaker_sums` returns them.
    """
    (value, error, degrees), (other, other_error, other_degrees) = _ratio(*young), _ratio(*old)
    difference, variance = value - other, error**2 + other_error**2
    if min(degrees, other_degrees) < 1:
        return Interval(difference, -np.inf, np.inf)
    spread = error**4 / degrees + other_error**4 / other_degrees
    reach = _reach(float(np.sqrt(variance)), variance**2 / spread if spread else degrees + other_degrees)
    return Interval(difference, difference - reach, difference + reach)


def _ratio(errors: np.ndarray, words: np.ndarray) -> tuple[float, float, float]:
    """A rate, its standard error, and the degrees of freedom."""
    speakers, total = int((words > 0).sum()), words.sum()
    if not total:
        return 0.0, 0.0, 0.0
    value = float(errors.sum() / total)
    if speakers < 2:
        return value, 0.0, 0.0
    residuals = errors - value * words
    return value, float(np.sqrt(residuals @ residuals * speakers / (speakers - 1)) / total), speakers - 1.0


def _reach(error: float, degrees: float) -> float:
    return float(error * t.ppf(0.975, degrees)) if degrees > 0 else np.inf
