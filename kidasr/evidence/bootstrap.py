"""Confidence intervals of error rates by resampling speakers.

The bootstrap of Bisani and Ney (2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation"), applied
to whole speakers. The utterances of one child are alike; treating them as independent would make the interval too narrow
(Liu and Peng, 2020, arXiv 1912.09508, on blocks).

With few speakers the percentile interval is too narrow as well. It is expanded as Student's t expands the normal interval
(the expanded percentile interval of Hesterberg, 2015, "What teachers should know about the bootstrap").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from kidasr.seeding import generator_for

#: Replicates held in memory at a time: 8 MB of counts for a thousand speakers.
CHUNK = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval. With a single speaker the interval is infinite on both sides."""

    value: float
    low: float
    high: float

    @property
    def ends(self) -> list[float] | None:
        """Both ends; None if the interval is infinite."""
        return [self.low, self.high] if np.isfinite(self.low) else None


@dataclass(frozen=True)
class Difference(Interval):
    """A run's WER minus the baseline's WER."""

    #: Share of replicates in which the run has the lower WER; ties count half.
    p_improvement: float
    #: Standard deviation of the replicates, corrected for the number of speakers.
    standard_error: float

    @property
    def detectable(self) -> float:
        """The smallest true difference that a two-sided 5% test on this set would find with 80% probability."""
        return (self.high - self.low) / 2 + 0.841621 * self.standard_error


def speaker_sums(speakers: Sequence[str] | np.ndarray, *counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Sum each count over the utterances of a speaker: shape ``(len(counts), number of speakers)``."""
    _, place = np.unique(np.asarray(speakers), return_inverse=True)
    return np.array([np.bincount(place, weights=np.asarray(one, dtype=float)) for one in counts])


def replicate_sums(sums: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Bootstrap replicates: the sums over as many speakers, drawn with replacement.

    Args:
        sums: Shape ``(counts, speakers)``.
        replicates: Number of replicates.
        seed: The same seed draws the same speakers.

    Returns:
        Shape ``(replicates, counts)``.
    """
    speakers = sums.shape[1]
    rng = generator_for("bootstrap", seed)
    drawn = []
    for start in range(0, replicates, CHUNK):
        chosen = rng.integers(speakers, size=(min(CHUNK, replicates - start), speakers), dtype=np.int32)
        chosen += np.arange(len(chosen), dtype=np.int32)[:, None] * speakers
        times = np.bincount(chosen.ravel(), minlength=len(chosen) * speakers).reshape(len(chosen), speakers)
        drawn.append(times @ sums.T)
    return np.concatenate(drawn)


def replicate_rates(sums: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """The rate of each replicate, the first sum divided by the second: shape ``(replicates,)``."""
    drawn = replicate_sums(sums, replicates, seed)
    return _rate(drawn[:, 0], drawn[:, 1])


def wer_interval(
    speakers: Sequence[str] | np.ndarray,
    errors: Sequence[int] | np.ndarray,
    words: Sequence[int] | np.ndarray,
    replicates: int = 10_000,
    seed: int = 1,
) -> Interval:
    """WER and its interval; the arguments have one entry per utterance."""
    sums = speaker_sums(speakers, errors, words)
    return Interval(
        float(_rate(*sums.sum(axis=1))), *expanded_percentiles(replicate_rates(sums, replicates, seed), sums.shape[1])
    )


def expanded_percentiles(rates: np.ndarray, speakers: int) -> tuple[float, float]:
    """Both ends of the 95% interval from replicates over this many speakers."""
    if speakers < 2:
        return -np.inf, np.inf
    tail = norm.cdf(-np.sqrt(speakers / (speakers - 1)) * t.ppf(0.975, speakers - 1))
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)


def wer_difference(
    speakers: Sequence[str] | np.ndarray,
    errors: Sequence[int] | np.ndarray,
    baseline_errors: Sequence[int] | np.ndarray,
    words: Sequence[int] | np.ndarray,
    replicates: int = 10_000,
    seed: int = 1,
) -> Difference:
    """WER of a run minus the WER of its baseline on the same utterances. A replicate draws the same speakers for both.

    The arguments have one entry per utterance.
    """
    sums = speaker_sums(speakers, np.asarray(errors) - np.asarray(baseline_errors), words)
    return summarize(sums, replicate_rates(sums, replicates, seed))


@dataclass(frozen=True)
class SeedError:
    """Seed variance of a difference of means: its standard error and degrees of freedom."""

    standard_error: float
    degrees: int


def seed_error(rates: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> SeedError | None:
    """The seed error of a weighted sum of configurations.

    Args:
        rates: The WER of each seed of each configuration, including configurations that are not in the sum: seed variance is
            assumed equal in all configurations and estimated from all of them.
        weights: The weight of each configuration in the sum: 1 and -1 for a difference of two.

    Returns:
        None if each configuration has one seed, so that seed variance is unknown.
    """
    degrees = sum(len(one) - 1 for one in rates.values())
    if degrees == 0:
        return None
    variance = sum(float(np.var(one)) * len(one) for one in rates.values()) / degrees
    factor = sum(weight**2 / len(rates[name]) for name, weight in weights.items())
    return SeedError(float(np.sqrt(variance * factor)), degrees)


def summarize(sums: np.ndarray, rates: np.ndarray, seeds: SeedError | None = None) -> Difference:
    """Summarize a difference from its sums and replicates.

    Args:
        sums: Difference in errors, and number of words, of each speaker: shape ``(2, speakers)``.
        rates: The replicates.
        seeds: Seed error, added to each replicate as a draw from Student's t with its degrees of freedom.
    """
    if seeds is not None:
        drawn = generator_for("seeds", len(rates)).standard_t(seeds.degrees, len(rates))
        rates = rates + seeds.standard_error * drawn
    speakers = sums.shape[1]
    low, high = expanded_percentiles(rates, speakers)
    better = float(np.mean(rates < 0) + np.mean(rates == 0) / 2)
    # Student's t with few degrees of freedom has no variance: use that of a normal distribution with the same interval.
    spread = np.sqrt(np.var(rates) * speakers / max(1, speakers - 1)) if seeds is None else (high - low) / (2 * 1.959964)
    return Difference(float(_rate(*sums.sum(axis=1))), low, high, better, float(spread))


def _rate(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Errors divided by words; 0 for a replicate without words."""
    return np.divide(errors, words, out=np.zeros_like(errors, dtype=float), where=words > 0)
