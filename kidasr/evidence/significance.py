"""Significance tests of paired differences, and their correction for multiple comparisons."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_1samp


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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) for multiple comparisons: p-values of at most 1, in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
