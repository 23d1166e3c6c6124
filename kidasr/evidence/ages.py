"""Differences by age, partially pooled.

A single age bucket has few children, so its own difference is mostly noise. The differences of the ages are taken as drawn
from a normal distribution whose spread is unknown, with a flat prior (Gelman et al., Bayesian Data Analysis, section 5.4):
the less the ages differ beyond their noise, the closer each is drawn to the mean of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from kidasr.evidence.speakers import Interval

#: Degrees of freedom lent by all ages to the variance between the speakers of one, which may have two or three.
BORROWED = 4.0

#: Values of the ages' spread on the grid of the posterior.
GRID = 400


@dataclass(frozen=True)
class AgeDifference:
    """The measured difference of one age bucket."""

    value: float
    #: Its variance from speakers.
    variance: float
    #: Sum of the squares of the speakers' words, divided by the square of the sum: 1 / speakers if all say as much.
    share: float
    speakers: int


def partially_pooled(
    ages: Sequence[AgeDifference], seed_variance: float, seed_degrees: float, age_by_seed: float
) -> list[Interval] | None:
    """The difference of each age, drawn to the mean of all, with 95% intervals.

    Args:
        ages: The measured differences.
        seed_variance: The variance of a difference between seeds, which is common to all ages.
        seed_degrees: Its degrees of freedom.
        age_by_seed: The variance of a difference between seeds that is an age's own.

    Returns:
        None if no age has two speakers.
    """
    degrees = np.array([one.speakers - 1.0 for one in ages])
    if degrees.sum() <= 0:
        return None
    values, shares = (np.array([getattr(one, name) for one in ages]) for name in ("value", "share"))
    # Per speaker; a single speaker has a variance of 0 and no weight.
    own = np.array([one.variance / one.share if one.speakers > 1 else 0.0 for one in ages])
    common = float((degrees * own).sum() / degrees.sum())
    variances = shares * (degrees * own + BORROWED * common) / (degrees + BORROWED) + age_by_seed
    lent = np.minimum(degrees + BORROWED, degrees.sum())
    if variances.max() == 0:
        return [_interval(value, 0.0, seed_variance, 1.0, seed_degrees) for value in values]
    variances = np.maximum(variances, 1e-6 * variances.max())
    widest = 4 * float(max(np.sqrt(variances.max()), np.std(values)))
    spread = np.linspace(0, widest, GRID)[:, None] ** 2
    precision = 1 / (variances[None, :] + spread)
    mean = (precision * values).sum(axis=1) / precision.sum(axis=1)
    log_weight = 0.5 * (np.log(precision).sum(axis=1) - np.log(precision.sum(axis=1)))
    log_weight -= 0.5 * (precision * (values[None, :] - mean[:, None]) ** 2).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    pull = variances[None, :] / (variances[None, :] + spread)
    expected = (1 - pull) * values[None, :] + pull * mean[:, None]
    within = (1 - pull) * variances[None, :] + pull**2 / precision.sum(axis=1)[:, None]
    centre = weight @ expected
    variance = weight @ (within + expected**2) - centre**2
    return [
        _interval(*one, seed_variance, *rest)
        for one, rest in zip(
            zip(centre, np.maximum(variance, 0), strict=True),
            ((float(one), seed_degrees) for one in lent),
            strict=True,
        )
    ]


def _interval(value: float, variance: float, seed_variance: float, degrees: float, seed_degrees: float) -> Interval:
    total = variance + seed_variance
    spread = variance**2 / degrees + (seed_variance**2 / seed_degrees if seed_degrees else 0.0)
    reach = float(np.sqrt(total) * t.ppf(0.975, total**2 / spread)) if spread else 0.0
    return Interval(float(value), float(value - reach), float(value + reach))
