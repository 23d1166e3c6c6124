"""Simulated experiments: how often an interval holds the truth, and how often a comparison claims what is not there."""

from itertools import combinations

import numpy as np
import pytest

from kidasr.evidence import significance
from kidasr.evidence.differences import Differences, trajectories
from kidasr.evidence.runs import Run
from tests.evidence.experiments import World, a_run, as_runs, at_most, within

FIVE = ("h1", "h2", "h3", "h4", "h5")
FULL = {"+".join(one) or "baseline": frozenset(one) for size in range(6) for one in combinations(FIVE, size)}
HALF = {name: on for name, on in FULL.items() if len(on) % 2 == 0}


@pytest.fixture(autouse=True)
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a share of experiments, though not for a single p-value."""
    monkeypatch.setattr(significance, "DRAWS", 2000)


def experiment(rng: np.random.Generator, world: World, configurations: int, seeds: int) -> Differences:
    runs_of = np.repeat(np.arange(configurations), seeds)
    errors, words = world.errors(rng, runs_of)
    return Differences(as_runs(errors, words, [f"c{one}" for one in runs_of]), "c0")


@pytest.mark.parametrize("seed_spread", [0.006, 0.01])
@pytest.mark.parametrize(
    ("configurations", "seeds", "trials"), [(2, 2, 400), (6, 2, 400), (6, 5, 400), (32, 2, 150), (32, 5, 100)]
)
def test_intervals_hold_the_truth_and_few_comparisons_claim_what_is_not_there(
    configurations: int, seeds: int, trials: int, seed_spread: float
) -> None:
    """Speakers, seeds and single speakers in single runs all vary; no configuration differs for the mean child."""
    rng, world = np.random.default_rng(configurations + seeds), World(seeds=seed_spread)
    held, claimed = [], 0
    for _ in range(trials):
        found = experiment(rng, world, configurations, seeds)
        held.append(np.mean(np.abs(found.found.values) <= found.found.reach))
        claimed += any(found.verdict(place) in ("better", "worse") for place in range(configurations - 1))
    # Pairs share the baseline, so a comparison counts once.
    assert np.mean(held) >= 0.94 - 3.3 * np.std(held) / np.sqrt(trials)
    assert configurations == 2 or np.mean(held) <= 0.97 + 3.3 * np.std(held) / np.sqrt(trials)
    assert at_most(claimed / trials, 0.05, trials)


def test_one_seed_is_never_called_significant() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        found = experiment(rng, World(seeds=0.02), 6, 1)
        assert {found.verdict(place) for place in range(5)} == {"one seed"}
        assert {pair["comparisons"] for pair in found.pairs()} == {5}
        assert all(pair["ci95"] is pair["p"] is pair["p_corrected"] is None for pair in found.pairs())
    # The runs themselves differ, and that may be said of them.
    assert min(pair["children"]["p_mapsswe"] for pair in found.pairs()) < 0.05


@pytest.mark.parametrize(("systems", "seeds", "trials"), [(2, 0, 400), (6, 0, 200), (2, 3, 300)])
def test_systems_as_they_are_are_compared_for_other_speakers(systems: int, seeds: int, trials: int) -> None:
    """Files of other recognisers, alone or beside a training of some seeds: no system differs for the mean child."""
    rng, world, held, claimed, narrow = np.random.default_rng(systems + seeds), World(seeds=0.015), [], 0, []
    runs_of = [*range(systems), *[systems] * seeds]
    names = [f"s{one}" for one in range(systems)] + ["trained"] * seeds
    configs: list[dict[str, int]] = [{}] * systems + [{"seed": 1}] * seeds
    for _ in range(trials):
        errors, words = world.errors(rng, runs_of, fixed=range(systems))
        found = Differences(as_runs(errors, words, names, config=configs), "s0")
        held.append(np.mean(np.abs(found.found.values) <= found.found.reach))
        claimed += any(found.verdict(place) in ("better", "worse") for place in range(len(found.others)))
        narrow.append(found.found.reach[0] if seeds == 0 else found.found.reach[-1] / found.found.reach[0])
    assert within(float(np.mean(held)), 0.95, trials) or np.mean(held) > 0.95
    assert np.mean(held) < 0.985
    assert at_most(claimed / trials, 0.05, trials)
    assert [pair["question"] for pair in found.pairs()] == ["systems"] * (systems - 1) + ["training and system"] * (
        seeds > 0
    )
    assert seeds == 0 or np.median(narrow) > 1, "a training varies by its seeds as well"
    assert all(one["ci95"] for one in found.of_configurations()["all"])


def test_a_training_of_one_seed_gets_no_verdict_against_a_system() -> None:
    errors, words = World().errors(np.random.default_rng(1), [0, 1, 2], [0, 0.2, 0.2])
    runs = as_runs(errors, words, ["system", "one", "other"], config=[{}, {"seed": 1}, {}])
    found = Differences(runs, "system")
    assert [(pair["verdict"], pair["question"]) for pair in found.pairs()] == [
        ("one seed", "training and system"),
        ("worse", "systems"),
    ]
    assert found.spread() is None, "nothing to plan seeds from"


@pytest.mark.parametrize(("configurations", "seeds"), [(6, 3), (6, 5), (16, 5)])
def test_a_wild_baseline_makes_few_false_claims(configurations: int, seeds: int) -> None:
    """Its runs differ three times as much between seeds; a spread pooled over all claims 10 to 20% that is not there."""
    rng, trials, claimed = np.random.default_rng(seeds), 200, 0
    for _ in range(trials):
        runs_of = np.repeat(np.arange(configurations), seeds)
        errors, words = World(seeds=0.006, children=0.007).errors(rng, runs_of)
        shift = rng.normal(0, 0.017, seeds)
        errors[:, :seeds] = np.maximum(0, errors[:, :seeds] + np.round(words[:, None] * shift))
        found = Differences(as_runs(errors, words, [f"c{one}" for one in runs_of]), "c0")
        claimed += any(found.verdict(place) in ("better", "worse") for place in range(configurations - 1))
    assert at_most(claimed / trials, 0.07, trials)


def test_a_single_run_gets_no_verdict_where_others_have_seeds() -> None:
    rng = np.random.default_rng(1)
    runs_of = [0, 0, 0, 1, 2, 2, 2]
    errors, words = World().errors(rng, runs_of, [0, 0.2, 0.2])
    found = Differences(as_runs(errors, words, [f"c{one}" for one in runs_of]), "c0")
    assert [pair["verdict"] for pair in found.pairs()] == ["one seed", "worse"]
    assert found.pairs()[0]["p"] is None and found.pairs()[0]["ci95"] is None


def test_a_seed_that_changes_nothing_is_no_repetition() -> None:
    errors, words = World().errors(np.random.default_rng(1), [0, 1])
    same = as_runs(errors[:, [0, 0, 1, 1]], words, ["a", "a", "b", "b"])
    assert Differences(same, "a").verdict(0) == "one seed"


def test_two_children_get_no_verdict() -> None:
    errors, words = World(speakers=2, seeds=0.001, children=0, both=0).errors(
        np.random.default_rng(1), [0, 0, 1, 1], [0, 0.3]
    )
    found = Differences(as_runs(errors, words, ["a", "a", "b", "b"]), "a")
    assert found.verdict(0) == "undecided"


@pytest.mark.parametrize("speakers", [3, 5, 12])
def test_a_few_speakers_are_covered(speakers: int) -> None:
    rng, world = np.random.default_rng(speakers), World(speakers=speakers, seeds=0.006, children=0.03)
    trials, held = 400, 0.0
    for _ in range(trials):
        found = experiment(rng, world, 6, 3).found
        held += np.mean(np.abs(found.values) <= found.reach)
    assert held / trials > 0.94


def factorial_experiment(
    rng: np.random.Generator, design: dict[str, frozenset[str]], seeds: int, effects: dict[str, float], spread: float
) -> Differences:
    names = [name for name in design for _ in range(seeds)]
    change = [sum(effects.get(factor, 0) for factor in on) for on in design.values()]
    world = World(seeds=spread, children=0.007, both=0.01)
    errors, words = world.errors(rng, np.repeat(np.arange(len(design)), seeds), change)
    return Differences(as_runs(errors, words, names), "baseline", design)


@pytest.mark.parametrize(("design", "seeds", "trials"), [(HALF, 2, 300), (FULL, 1, 300), (FULL, 2, 100)])
def test_effects_of_a_factorial_hold_the_truth(design: dict[str, frozenset[str]], seeds: int, trials: int) -> None:
    """A factorial of one seed takes its error from the interactions of three and more factors."""
    rng, held, claimed, reaches = np.random.default_rng(seeds), [], 0, []
    for _ in range(trials):
        # Seeds of 0.62 points beside the noise of 40 children: 0.9 points between the runs of one configuration.
        found = factorial_experiment(rng, design, seeds, {"h1": -0.03}, 0.0062)
        first = len(found.others)
        of_effects = slice(first, first + 15)
        truth = np.array([-0.03, *[0.0] * 14])
        values = found.found.values[of_effects]
        held.append(np.mean(np.abs(values - truth)[1:] <= found.found.reach[of_effects][1:]))
        reaches.append(found.found.reach[first : first + 5])
        claimed += any(found.verdict(place) in ("better", "worse") for place in range(first + 1, first + 15))
    assert np.mean(held) >= 0.94 - 3.3 * np.std(held) / np.sqrt(trials)
    assert np.mean(held) <= 0.97 + 3.3 * np.std(held) / np.sqrt(trials)
    assert at_most(claimed / trials, 0.05, trials)
    assert 100 * np.mean(reaches) < 0.8


def test_main_effects_of_a_half_factorial_are_a_third_narrower_than_pairs_of_as_many_runs() -> None:
    rng = np.random.default_rng(3)
    half = [factorial_experiment(rng, HALF, 2, {}, 0.0062).found.reach[15:20].mean() for _ in range(50)]
    world = World(seeds=0.0062, children=0.007)
    pairs = [experiment(rng, world, 6, 5).found.reach.mean() for _ in range(50)]  # 30 runs
    assert np.mean(half) < 0.72 * np.mean(pairs)


def with_history(errors: np.ndarray, words: np.ndarray, seed: int, training: str) -> Run:
    history = [{"step": step, "loss": f"{training}{step}"} for step in (10, 20, 30)]
    return a_run(errors, words, seed, metrics={"history": history})


def test_runs_of_one_training_are_found_by_their_losses() -> None:
    errors, words = World().errors(np.random.default_rng(1), range(6))
    runs = [with_history(errors[:, n], words, n, training) for n, training in enumerate("aba")]
    short = a_run(errors[:, 3], words, 9, metrics={"history": runs[1].metrics["history"][:2]})
    unknown = [a_run(errors[:, place], words, 1) for place in (4, 5)]
    assert trajectories([*runs, short, *unknown]).tolist() == [0, 1, 0, 1, 2, 3]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_pair_of_one_training_is_compared_seed_by_seed(seeds: int) -> None:
    """Of a difference between two checkpoints of the same training, the seeds' common part is no error."""
    rng, trials, held, reaches, others = np.random.default_rng(seeds), 300, [], [], []
    for _ in range(trials):
        names = [name for name in ("baseline", "h1", "h2", "h3", "h4", "h5") for _ in range(seeds)]
        of_configuration = np.repeat(np.arange(6), seeds)
        world = World(seeds=0.003, children=0.005)
        errors, words = world.errors(rng, of_configuration)
        training = rng.normal(0, 0.01, (6, seeds))
        training[1] = training[0]
        # The common part of a training adds or removes errors in all speakers alike.
        errors = np.maximum(0, errors + np.round(words[:, None] * training.ravel()[None, :])).astype(int)
        kept = [f"{max(1, number) if number < 2 else number}-{seed}" for number in range(6) for seed in range(seeds)]
        metrics = [{"history": [{"step": 1, "loss": one}]} for one in kept]
        found = Differences(as_runs(errors, words, names, metrics=metrics), "baseline")
        held.append(np.abs(found.found.values) <= found.found.reach)
        reaches.append(found.found.reach[0])
        others.append(found.found.reach[1:].mean())
    assert np.mean(held, axis=0)[0] > 0.92 and np.mean(np.array(held)[:, 1:]) > 0.93
    if seeds > 2:
        assert np.median(reaches) < 0.8 * np.median(others)


def test_a_full_factorial_counts_two_runs_of_one_training_once() -> None:
    """h1 only keeps another checkpoint: 32 runs are 16 trainings, which is what the effects of the others rest on."""
    rng, trials, held = np.random.default_rng(5), 300, []
    trainings = {name: "+".join(sorted(on - {"h1"})) for name, on in FULL.items()}
    for _ in range(trials):
        of_training = {one: rng.normal(0, 0.01) for one in set(trainings.values())}
        errors, words = World(seeds=0.002, children=0.005).errors(rng, np.arange(32))
        shift = np.array([of_training[trainings[name]] for name in FULL])
        errors = np.maximum(0, errors + np.round(words[:, None] * shift[None, :])).astype(int)
        metrics = [{"history": [{"step": 1, "loss": trainings[name]}]} for name in FULL]
        found = Differences(as_runs(errors, words, list(FULL), metrics=metrics), "baseline", FULL)
        held.append(np.abs(found.found.values[31:46]) <= found.found.reach[31:46])
    by_effect = np.mean(held, axis=0)
    assert within(by_effect[1:5].mean(), 0.95, trials) and by_effect[0] > 0.92


def test_a_factorial_without_replicates_or_room_for_error_says_so() -> None:
    rng = np.random.default_rng(1)
    found = factorial_experiment(rng, HALF, 1, {}, 0.006)
    assert {effect["verdict"] for effect in found.effects()} == {"one seed"}


def test_the_spread_is_told_apart() -> None:
    """What the runs were drawn with is found again, to plan other experiments by."""
    world = World(speakers=200, seeds=0.01, children=0.03, both=0.02)
    rng = np.random.default_rng(2)
    found = [experiment(rng, world, 6, 5).spread() for _ in range(40)]
    assert all(found)
    children, seeds = (np.sqrt(np.mean([getattr(one, name) ** 2 for one in found])) for name in ("children", "seeds"))
    assert seeds == pytest.approx(0.01, rel=0.15)
    assert children == pytest.approx(0.03 * np.sqrt(2), rel=0.15)  # of a difference of two configurations
