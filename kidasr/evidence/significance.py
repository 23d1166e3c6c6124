"""Corrections for many comparisons, and the matched-pairs test."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t, ttest_1samp

from kidasr.seeding import generator_for

#: Draws of the null distribution: the error of a p-value of 0.05 is 0.001.
DRAWS = 50_000


def mapsswe(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p-value of the matched-pairs sentence-segment word error test (Gillick and Cox, 1989).

    Uses Student's t instead of the normal distribution; with many segments they agree.

    Args:
        differences: Errors of the run minus errors of the baseline in each segment. Segments must be independent. A
            speaker's utterances are not, so with few speakers the segments must be whole speakers.

    Returns:
        1 if the two never differ or there is a single segment.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not values.any():
        return 1.0
    if np.ptp(values) == 0:  # every segment differs by the same amount
        return 0.0
    return float(ttest_1samp(values, 0).pvalue)


def holm(p_values: Sequence[float] | np.ndarray) -> list[float]:
    """Holm's correction (1979) for multiple comparisons: p-values of at most 1, in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * float(p_values[place])))
        corrected[place] = largest
    return corrected


def step_down(p_values: np.ndarray, correlation: np.ndarray, degrees: float, draws: int | None = None) -> np.ndarray:
    """Westfall and Young's (1993) step-down correction: as Holm's, but with the correlations of the comparisons.

    Configurations that are compared with the same baseline are correlated, so that Holm's correction is too strict
    (Dunnett's test is the special case of one step).

    Args:
        p_values: One for each comparison.
        correlation: Correlations of the compared values, shape ``(comparisons, comparisons)``.
        degrees: Degrees of freedom of the null distribution, Student's t of many dimensions.
        draws: Draws of the null distribution, always the same ones; None for :data:`DRAWS`.

    Returns:
        Corrected p-values, in the order given: never below the p-value, never above Holm's.
    """
    count = len(p_values)
    if count < 2:
        return np.asarray(p_values, dtype=float).copy()
    draws = draws or DRAWS
    rng = generator_for("step down", count)
    values, vectors = np.linalg.eigh(correlation)
    normal = rng.standard_normal((draws, count)) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    drawn = np.abs(normal / np.sqrt(rng.chisquare(degrees, (draws, 1)) / degrees))
    order = np.argsort(p_values, kind="stable")
    # The largest value among this comparison and all with larger p-values, for each draw.
    largest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    observed = t.isf(np.asarray(p_values)[order] / 2, degrees)
    found = ((largest >= observed[None, :]).sum(axis=0) + 1) / (draws + 1)
    corrected = np.empty(count)
    corrected[order] = np.maximum.accumulate(found)
    return np.clip(corrected, p_values, holm(p_values))
