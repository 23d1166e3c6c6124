"""Tests of paired differences, and what several of them at once cost."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


def mapsswe(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p-value of the matched-pairs sentence-segment word error test (Gillick and Cox, 1989).

    Args:
        differences: Errors of the run minus those of the baseline in each utterance, which is the segment here. The test
            takes segments as independent: with few speakers of many utterances it finds too much, and the bootstrap by
            speakers is the one to believe.

    Returns:
        1 where the two never differ.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or not values.any():
        return 1.0
    deviation = values.std(ddof=1)
    if deviation == 0:  # each utterance differs by as much
        return 0.0
    z = values.mean() / (deviation / math.sqrt(len(values)))
    return 2 * NormalDist().cdf(-abs(z))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979) of several p-values: none larger than 1, in the order given."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
