"""Tests of paired differences, and what several of them at once cost."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_1samp


def mapsswe(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p-value of the matched-pairs sentence-segment word error test (Gillick and Cox, 1989).

    With Student's t in the place of the normal distribution, which is the same for many segments.

    Args:
        differences: Errors of the run minus those of the baseline in each segment. Segments must be independent of each
            other: a speaker's utterances are not, so with few speakers the segments have to be whole speakers.

    Returns:
        1 where the two never differ, or there is one segment.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not values.any():
        return 1.0
    if np.ptp(values) == 0:  # each segment differs by as much
        return 0.0
    return float(ttest_1samp(values, 0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) of several p-values: none larger than 1, in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
