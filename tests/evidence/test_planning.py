"""Power, as simulated experiments have it, and O'Brien and Fleming's bounds, as their tables have them."""

import numpy as np
import pytest
from scipy.stats import norm, t

from kidasr.evidence import significance
from kidasr.evidence.differences import Differences
from kidasr.evidence.planning import (
    Plan,
    Spread,
    children_needed,
    detectable,
    nominal_levels,
    seeds_needed,
    smallest_shown,
)
from tests.evidence.experiments import World, as_runs, within

SPREAD = Spread(children=0.01 * np.sqrt(2), seeds=0.008, noise=0.05, seed_degrees=6)


def test_the_power_of_a_plan_is_that_of_simulated_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "DRAWS", 2000)
    world, rng, trials = World(seeds=0.008, children=0.01), np.random.default_rng(1), 300
    noise = [experiment(world, rng, 0.0).spread() for _ in range(30)]
    spread = Spread(SPREAD.children, 0.008, float(np.mean([one.noise for one in noise if one])), 6)
    plan = Plan("one_at_a_time", 4, 4, comparisons=3)
    effect = detectable(*plan.standard_error(spread, 40), 0.05 / 3)
    assert plan.power(effect, spread, 40) == pytest.approx(0.8, abs=0.01)
    found = sum(experiment(world, rng, -effect).verdict(0) == "better" for _ in range(trials))
    # Step-down correction finds a little more than the plan's, which is Bonferroni's.
    assert within(found / trials, 0.8, trials) or 0.8 < found / trials < 0.9


def experiment(world: World, rng: np.random.Generator, change: float) -> Differences:
    runs_of = np.repeat(np.arange(4), 4)
    errors, words = world.errors(rng, runs_of, [0, change, 0, 0])
    return Differences(as_runs(errors, words, [f"c{one}" for one in runs_of]), "c0")


def test_more_is_needed_for_less() -> None:
    plan = Plan("one_at_a_time", 6, 1, comparisons=5)
    seeds = [seeds_needed(plan, effect, SPREAD, 40) for effect in (0.03, 0.02, 0.015)]
    known = [one for one in seeds if one is not None]
    assert len(known) == 3 and known == sorted(known) and known[0] >= 2
    floor = smallest_shown(SPREAD, 40, 5)
    assert seeds_needed(plan, 0.9 * floor, SPREAD, 40) is None, "however many seeds"
    assert seeds_needed(plan, 1.2 * floor, SPREAD, 40, most=2000) is not None
    planned = Plan("one_at_a_time", 6, 5, comparisons=5)
    children = children_needed(planned, 0.02, SPREAD)
    assert children is not None
    assert planned.power(0.02, SPREAD, children) >= 0.8 > planned.power(0.02, SPREAD, children - 1)
    assert children_needed(planned, 0.001, SPREAD) is None, "children do not shrink the seeds' part"


def test_a_half_factorial_needs_fewer_runs_than_pairs() -> None:
    half = Plan("half_factorial", 16, 2, comparisons=5, share=0.8, is_balanced=True)
    pairs = Plan("one_at_a_time", 6, 5, comparisons=5)
    assert half.power(0.015, SPREAD, 40) > pairs.power(0.015, SPREAD, 40) + 0.1
    alone = Plan("half_factorial", 16, 1, comparisons=5, model_columns=16, is_balanced=True)
    assert alone.power(0.1, SPREAD, 40) == 0, "nothing is left for the error"


@pytest.mark.parametrize(("degrees", "level"), [(1, 0.05), (1.2, 0.01), (2, 0.0033), (8, 0.00024), (38, 8e-5), (30, 0.05)])
def test_what_is_detectable_is_detected_four_times_in_five(degrees: float, level: float) -> None:
    """Drawn, since scipy's noncentral t fails so far from zero."""
    rng, draws = np.random.default_rng(1), 200_000
    effect = detectable(1.0, degrees, level)
    ratio = (effect + rng.standard_normal(draws)) / np.sqrt(rng.chisquare(degrees, draws) / degrees)
    assert np.mean(np.abs(ratio) > t.isf(level / 2, degrees)) == pytest.approx(0.8, abs=0.005)


def test_bounds_of_looks_against_their_published_values() -> None:
    """Jennison and Turnbull (2000, table 2.3): constants 1.977, 2.004, 2.024, 2.040 for 2 to 5 looks, as z values."""
    for looks, constant in ((2, 1.977), (3, 2.004), (4, 2.024), (5, 2.040)):
        levels = nominal_levels(tuple(range(1, looks + 1)))
        expected = [2 * norm.sf(constant * np.sqrt(looks / (look + 1))) for look in range(looks)]
        assert levels == pytest.approx(expected, rel=0.02)


def test_the_upper_bound_of_a_spread_is_above_it() -> None:
    low, high = SPREAD.bounds()
    assert low.seeds < SPREAD.seeds < high.seeds and high.children == SPREAD.children
