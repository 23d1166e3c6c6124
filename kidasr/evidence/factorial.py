"""Main effects and interactions of a factorial design (Box, Hunter and Hunter, Statistics for Experimenters, chapter 5)."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np


def factorial_contrasts(on: Mapping[str, frozenset[str]]) -> dict[str, dict[str, float]]:
    """The weight of each configuration in each effect.

    A main effect is the mean WER with a factor on minus the mean with it off, averaged over the other factors. A two-way
    interaction is half the difference between the effect of one factor with the other on and its effect with the other off.
    A negative interaction means that the two help each other.

    Args:
        on: For each configuration, its active factors.

    Returns:
        For each effect, ``"h1"`` or ``"h1 x h2"``, the weight of each configuration. Empty unless the configurations are a
        full or fractional factorial that can separate all of these effects.
    """
    factors = sorted(set().union(*on.values())) if on else []
    columns = {name: np.array([1 if name in switched else -1 for switched in on.values()]) for name in factors}
    columns |= {f"{one} x {other}": columns[one] * columns[other] for one, other in combinations(factors, 2)}
    if len(factors) < 2 or len(set(on.values())) < len(on):
        return {}
    matrix = np.array([np.ones(len(on), dtype=int), *columns.values()])
    if (matrix @ matrix.T != len(on) * np.eye(len(matrix), dtype=int)).any():
        return {}
    return {name: dict(zip(on, (2 * column / len(on)).tolist(), strict=True)) for name, column in columns.items()}
