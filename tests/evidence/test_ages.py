"""Differences by age, partially pooled, in simulated experiments."""

import numpy as np
import pytest

from kidasr.evidence.ages import AgeDifference, partially_pooled
from kidasr.evidence.differences import Differences
from tests.evidence.experiments import World, as_runs
from tests.evidence.test_differences import HALF

AGES = np.repeat(["3-4", "5-6", "7-8", "9-10", "11-12", "13+"], [3, 6, 9, 9, 8, 5])


@pytest.mark.parametrize(
    ("seeds", "change"), [*(pytest.param(seeds, 0.0, marks=pytest.mark.slow) for seeds in (2, 5)), (5, 0.02)]
)
def test_ages_hold_the_truth_and_are_narrower_than_alone(seeds: int, change: float) -> None:
    """The change is that of all ages, or of the youngest two alone."""
    rng, trials, held, reaches, alone = np.random.default_rng(seeds), 200, [], [], []
    of_age = dict.fromkeys(np.unique(AGES), 0.0) | {"3-4": -change, "5-6": -change}
    for _ in range(trials):
        runs_of = np.repeat(np.arange(4), seeds)
        errors, words = World(seeds=0.006, children=0.01).errors(rng, runs_of)
        fewer = rng.binomial(
            errors,
            np.where(np.isin(AGES, ["3-4", "5-6"]), change, 0)[:, None]
            / (errors / words[:, None]).clip(0.01).mean(axis=1)[:, None],
        )
        errors = np.where(runs_of[None, :] == 1, errors - fewer, errors)
        groups = as_runs(errors, words, [f"c{one}" for one in runs_of], ages=[AGES] * len(runs_of))
        found = Differences(groups, "c0")
        (pair, *_) = found.pairs()
        for age, one in pair["by_age"].items():
            low, high = one["ci95"]
            held.append(low <= of_age[age] <= high)
            reaches.append((high - low) / 2)
            chosen = age == AGES
            if chosen.sum() > 1:
                alone.append(found._panel(chosen).contrasts(found.weights[:1]).reach[0])
    assert np.mean(held) > 0.93
    assert np.mean(reaches) < 0.75 * np.mean(alone)


@pytest.mark.parametrize("change", [pytest.param(0.0, marks=pytest.mark.slow), 0.02])
def test_main_effects_by_age_hold_the_truth(change: float) -> None:
    """Of a half factorial in which h1 helps the youngest two ages alone."""
    rng, trials, held, narrower = np.random.default_rng(1), 30, [], []
    young = np.isin(AGES, ["3-4", "5-6"])
    names = [name for name in HALF for _ in range(2)]
    is_on = np.array(["h1" in HALF[name] for name in names])
    for trial in range(trials):
        errors, words = World(seeds=0.006, children=0.01).errors(rng, np.repeat(np.arange(len(HALF)), 2))
        share = (np.where(young, change, 0) / (errors / words[:, None]).mean(axis=1).clip(0.01)).clip(0, 1)
        errors = np.where(is_on[None, :], errors - rng.binomial(errors, share[:, None]), errors)
        found = Differences(as_runs(errors, words, names, ages=[AGES] * len(names)), "baseline", HALF)
        effects = found.effects()
        for effect in effects[:5]:
            for age, one in effect["by_age"].items():
                truth = -change if effect["effect"] == "h1" and age in ("3-4", "5-6") else 0.0
                held.append(one["ci95"][0] <= truth <= one["ci95"][1])
        if trial < 5:
            pair, main = found.pairs()[0]["by_age"]["7-8"]["ci95"], effects[0]["by_age"]["7-8"]["ci95"]
            narrower.append((main[1] - main[0]) / (pair[1] - pair[0]))
        assert not any(effect["by_age"] for effect in effects[5:])
    assert np.mean(held) > 0.93
    assert np.mean(narrower) < 0.6


def measured(value: float, spread: float, speakers: int = 8) -> AgeDifference:
    return AgeDifference(value, spread**2, 1 / speakers, speakers)


def test_alike_ages_are_drawn_together_and_unlike_ones_stay_apart() -> None:
    alike = partially_pooled([measured(one, 2.0) for one in (-1, 0, 1, 0)], 0.0, 0, 0.0)
    unlike = partially_pooled([measured(one, 0.1) for one in (-10, 0, 10, 0)], 0.0, 0, 0.0)
    assert alike and unlike
    assert abs(alike[0].value) < 0.6 and alike[0].high - alike[0].low < 2 * 2 * 2
    assert unlike[0].value == pytest.approx(-10, abs=0.1)


def test_the_seeds_are_added_once_and_to_every_age() -> None:
    ages = [measured(one, 0.1) for one in (-1, 0, 1)]
    without, added = partially_pooled(ages, 0.0, 0, 0.0), partially_pooled(ages, 4.0, 1000, 0.0)
    assert without and added
    for one, other in zip(without, added, strict=True):
        assert one.value == other.value
        assert (other.high - other.low) / 2 == pytest.approx(1.96 * 2, rel=0.02)


def test_ages_with_few_or_no_other_speakers() -> None:
    """Two children who happen to agree are not sure; a single child's interval rests on the other ages."""
    agreeing = partially_pooled([measured(5, 1e-9, 2), *(measured(one, 1, 8) for one in (-1, 0, 1))], 0.0, 0, 0.0)
    single = partially_pooled([AgeDifference(5, 0, 1.0, 1), *(measured(one, 1, 8) for one in (-1, 0, 1))], 0.0, 0, 0.0)
    assert agreeing and agreeing[0].high - agreeing[0].low > 1
    assert single and single[0].high - single[0].low > 2
    assert partially_pooled([AgeDifference(5, 0, 1.0, 1)], 0.0, 0, 0.0) is None
    same = partially_pooled([measured(0, 0), measured(0, 0)], 0.0, 0, 0.0)
    assert same and same[0].ends == [0, 0]
