"""How many runs and children it takes to show a difference: power by the noncentral t distribution (Cohen, 1988)."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.special import ndtr
from scipy.stats import chi2, norm, t

#: The probability with which a planned experiment finds what is there.
POWER = 0.8


@dataclass(frozen=True)
class Spread:
    """Standard deviations of a difference in WER, as fractions."""

    #: Between children, of what a configuration changes.
    children: float
    #: Between seeds of a configuration, on very many children.
    seeds: float
    #: Of single children in single runs.
    noise: float
    #: Degrees of freedom of the spread between seeds.
    seed_degrees: float

    def of_runs(self, children: int) -> float:
        """The standard deviation of a run's WER between seeds, measured on so many children."""
        return float(np.sqrt(self.seeds**2 + self.noise**2 / children))

    def bounds(self, probability: float = POWER) -> tuple["Spread", "Spread"]:
        """The spread with the lower and the upper one-sided bound of that between seeds."""
        degrees = self.seed_degrees
        low, high = (degrees / chi2.ppf(tail, degrees) for tail in (probability, 1 - probability))
        return self._scaled(float(np.sqrt(low))), self._scaled(float(np.sqrt(high)))

    def _scaled(self, factor: float) -> "Spread":
        return replace(self, seeds=self.seeds * factor, noise=self.noise * factor)


#: Where no runs tell: what twelve runs had (Whisper tiny.en, 200 steps, six configurations of two seeds, 40 children).
#: The 32 of docs/results/hypotheses.md differ by 0.8 instead of 1.0 points, and their seeds alone by nothing.
USUAL = Spread(children=0.006, seeds=0.009, noise=0.027, seed_degrees=5)


@dataclass(frozen=True)
class Plan:
    """An ablation to be planned.

    Args:
        design: Its name in ``conf/ablation``.
        configurations: Number of configurations.
        seeds: Runs of each.
        comparisons: Number of differences among which the corrected ones are shared.
        share: The share of the error probability for them.
        model_columns: Columns of the design's model if each configuration has one run (see ``Factorial.model``).
        is_balanced: Whether every run counts in every effect (a factorial), or only two configurations do in each pair.
    """

    design: str
    configurations: int
    seeds: int
    comparisons: int
    share: float = 1.0
    model_columns: int | None = None
    is_balanced: bool = False

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.configurations * self.seeds

    @property
    def error_degrees(self) -> int:
        """Degrees of freedom of the variance between runs."""
        if self.seeds == 1 and self.model_columns is not None:
            return self.runs - self.model_columns
        return self.runs - self.configurations

    def standard_error(self, spread: Spread, children: int) -> tuple[float, float]:
        """The standard error of a difference, and its degrees of freedom; 0 degrees if the runs tell nothing about it."""
        squares = 4 / self.runs if self.is_balanced else 2 / self.seeds
        of_children = spread.children**2 / children
        of_runs = squares * spread.of_runs(children) ** 2
        if self.error_degrees < 1:
            return float(np.sqrt(of_children + of_runs)), 0.0
        of_both = squares * spread.noise**2 / children
        variance = of_children + of_runs
        weight = (of_children + of_both) ** 2 / (children - 1) + of_runs**2 / self.error_degrees
        return float(np.sqrt(variance)), variance**2 / weight if weight else float(self.error_degrees)

    def power(self, effect: float, spread: Spread, children: int) -> float:
        """The probability of finding a true difference, after correction."""
        error, degrees = self.standard_error(spread, children)
        if degrees <= 0:
            return 0.0
        return _power(effect, error, degrees, 0.05 * self.share / self.comparisons)


def _power(effect: float, error: float, degrees: float, level: float) -> float:
    if error == 0:
        return 1.0 if effect else level
    critical = t.isf(level / 2, degrees)
    away = abs(effect) / error
    scale = _scales(degrees)
    return float((ndtr(away - critical * scale) + ndtr(-critical * scale - away)).mean())


@cache
def _scales(degrees: float, points: int = 4000) -> np.ndarray:
    """Quantiles of an estimated standard error divided by the true one.

    A mixture of normal distributions over them is the noncentral t distribution (scipy's fails far from zero).
    """
    scales: np.ndarray = np.sqrt(chi2.ppf((np.arange(points) + 0.5) / points, degrees) / degrees)
    return scales


def smallest_shown(spread: Spread, children: int, comparisons: int, share: float = 1.0) -> float:
    """The smallest difference that these children can show with :data:`POWER`, with however many seeds."""
    return detectable(spread.children / float(np.sqrt(children)), children - 1, 0.05 * share / comparisons)


def detectable(error: float, degrees: float, level: float) -> float:
    """The smallest true difference that a two-sided test at this level finds with :data:`POWER`.

    Args:
        error: Standard error of the difference.
        degrees: Degrees of freedom.
        level: Level of the test, after correction.
    """
    low, high = 0.0, error * float(t.isf(level / 2, degrees))
    while error and _power(high, error, degrees, level) < POWER:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle, error, degrees, level) >= POWER else (middle, high)
    return high


def seeds_needed(plan: Plan, effect: float, spread: Spread, children: int, most: int = 200) -> int | None:
    """The fewest seeds with which a design shows the effect with :data:`POWER`; None if ``most`` are not enough."""
    for seeds in range(1, most + 1):
        if replace(plan, seeds=seeds).power(effect, spread, children) >= POWER:
            return seeds
    return None


def children_needed(plan: Plan, effect: float, spread: Spread, most: int = 20_000) -> int | None:
    """The fewest children with which a plan shows the effect with :data:`POWER`; None if ``most`` are not enough."""
    low, high = 1, most
    if plan.power(effect, spread, most) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if plan.power(effect, spread, middle) >= POWER else (middle, high)
    return high


@cache
def nominal_levels(looks: tuple[int, ...], level: float = 0.05, spent: tuple[float, ...] = ()) -> tuple[float, ...]:
    """The level of each look at growing data so that all looks together have the given one (O'Brien and Fleming, 1979).

    Args:
        looks: The size of the data at each look, growing; the information is in proportion to it.
        level: Probability that any look finds a difference where there is none, two-sided.
        spent: The levels of the looks that have been taken, which remain as they are.

    Returns:
        Two-sided levels, one for each look: strict early ones, and a last one near ``level``.
    """
    fractions = np.array(looks, dtype=float) / looks[-1]
    taken = norm.isf(np.array(spent) / 2)
    bounds = np.array([])
    low, high = 0.5, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        bounds = np.concatenate([taken, middle / np.sqrt(fractions[len(spent) :])])
        low, high = (middle, high) if _crossing(bounds, fractions) > level else (low, middle)
    last = high / np.sqrt(fractions[len(spent) :])
    return (*spent, *(float(2 * norm.sf(bound)) for bound in last))


def _crossing(bounds: np.ndarray, fractions: np.ndarray, points: int = 401) -> float:
    """The probability that a Brownian motion's z values cross the bounds (Armitage, McPherson and Rowe, 1969)."""
    grid = np.linspace(-bounds[0], bounds[0], points) * np.sqrt(fractions[0])
    density = norm.pdf(grid / np.sqrt(fractions[0])) / np.sqrt(fractions[0])
    for before, now, bound in zip(fractions, fractions[1:], bounds[1:], strict=False):
        step = np.sqrt(now - before)
        new = np.linspace(-bound, bound, points) * np.sqrt(now)
        kernel = norm.pdf((new[:, None] - grid[None, :]) / step) / step
        density, grid = np.trapezoid(kernel * density[None, :], grid, axis=1), new
    return 1 - float(np.trapezoid(density, grid))
