"""Main effects and interactions of a factorial design (Box, Hunter and Hunter, Statistics for Experimenters, chapter 5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Factorial:
    """The effects that the configurations of a design can separate."""

    #: Names of the effects: ``"h1"``, or ``"h1 x h2"`` for an interaction; main effects first.
    effects: list[str]
    #: The weight of each configuration in each effect, shape ``(effects, configurations)``.
    weights: np.ndarray
    #: Number of main effects.
    factors: int
    #: Whether interactions, which the design can't separate, are spread over the main effects (a screening design).
    is_screening: bool

    @property
    def model(self) -> np.ndarray:
        """The mean and all effects as columns, shape ``(configurations, effects + 1)``: the rest is error."""
        columns = np.vstack([np.ones(self.weights.shape[1]), np.sign(self.weights)])
        transposed: np.ndarray = columns.T
        return transposed


def factorial(on: Mapping[str, frozenset[str]]) -> Factorial | None:
    """The effects of a full or fractional factorial, or of a screening design.

    A main effect is the mean WER with a factor on minus the mean with it off, averaged over the other factors. A two-way
    interaction is half the difference between the effect of one factor with the other on and its effect with the other off.
    A negative interaction means that the two help each other.

    Args:
        on: For each configuration, its active factors.

    Returns:
        None unless the design is balanced and its main effects are independent of each other.
    """
    factors = sorted(set().union(*on.values())) if on else []
    if len(factors) < 2 or len(set(on.values())) < len(on):
        return None
    main = {name: np.array([1 if name in switched else -1 for switched in on.values()]) for name in factors}
    both = {f"{one} x {other}": main[one] * main[other] for one, other in combinations(factors, 2)}
    for columns in (main | both, main):
        matrix = np.array([np.ones(len(on), dtype=int), *columns.values()])
        if (matrix @ matrix.T == len(on) * np.eye(len(matrix), dtype=int)).all():
            weights = 2 * np.array(list(columns.values())) / len(on)
            return Factorial(list(columns), weights, len(factors), is_screening=len(columns) == len(factors))
    return None
