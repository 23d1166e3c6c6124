"""Ablations that add seeds: when they stop, and how often they claim what is not there."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kidasr.cli.until import Until
from kidasr.errors import KidasrError
from kidasr.evidence import significance
from kidasr.evidence.differences import Differences
from kidasr.evidence.planning import nominal_levels
from kidasr.runs.sweeps import PlannedRun, add_runs
from kidasr.sweep.until import Looks, read_looks, run_until
from tests.conftest import run_here
from tests.evidence.experiments import World, as_runs, at_most

DECIDED = Until(None, 16, None, 4, ("seeds",))

#: The configurations of the command.
BOTH = {frozenset({"hypotheses=[]"}), frozenset({"hypotheses=[h1]"})}


@pytest.mark.parametrize("looks", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_looking_again_and_again_claims_no_more_of_what_is_not_there(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two to nine seeds of six configurations, none of which differs: any verdict at any look is wrong."""
    monkeypatch.setattr(significance, "DRAWS", 2000)
    rng, trials, wrong, naive = np.random.default_rng(looks), 300, 0, 0
    for _ in range(trials):
        runs_of = np.repeat(np.arange(6), 9)
        errors, words = World(seeds=0.009, children=0.005).errors(rng, runs_of)
        plan = Looks()
        plan.plan(2, 9, looks)
        claimed = claimed_at_5 = False
        for seeds in plan.seeds:
            chosen = np.tile(np.arange(9) < seeds, 6)
            names = [f"c{one}" for one in runs_of[chosen]]
            plan.levels.append(plan.next_level())
            found = Differences(as_runs(errors[:, chosen], words, names), "c0", level=plan.levels[-1])
            claimed |= any(found.verdict(place) in ("better", "worse") for place in range(5))
            claimed_at_5 |= bool((found.corrected < 0.05).any())
        wrong += claimed
        naive += claimed_at_5
    assert at_most(wrong / trials, 0.05, trials)
    assert naive > wrong


def test_an_extended_ablation_keeps_the_levels_it_has_spent_and_has_some_left() -> None:
    looks = Looks()
    looks.plan(2, 8, 4, [48, None])
    assert looks.seeds == [2, 4, 6, 8] and looks.total == pytest.approx(0.04)
    for _ in range(4):
        looks.levels.append(looks.next_level())
    spent = list(looks.levels)
    assert 0.03 < spent[-1] < 0.04 and spent == sorted(spent)
    looks.plan(2, 9, 4, [48, None])
    assert looks.seeds == [2, 4, 6, 8], "the same runs and hours, the same looks"
    looks.plan(2, 16, 6, [96, None])
    assert looks.seeds == [2, 4, 6, 8, 12, 16] and looks.levels == spent and looks.total == pytest.approx(0.048)
    last = nominal_levels(tuple(looks.seeds), looks.total, spent=tuple(looks.levels))[-1]
    assert 0.002 < looks.next_level() < last < 0.03, "what was reserved"


@pytest.fixture
def launcher(tmp_path: Path) -> Callable[..., Any]:
    """Stands in for the launcher: writes what a comparison reads of each run, with a known change of WER."""

    def make(change: float, launched: list[list[int]], spread: float = 0.0) -> Callable[[Sequence[int]], None]:
        def launch(seeds: Sequence[int]) -> None:
            new = [seed for seed in seeds if not (tmp_path / f"on{seed}").exists()]
            if new:
                launched.append(new)
            for seed in new:
                typed = {"off": "hypotheses=[]", "on": "hypotheses=[h1]", "left": "hypotheses=[h9]"}
                add_runs(tmp_path, [PlannedRun(f"{name}{seed}", (f"seed={seed}", one)) for name, one in typed.items()])
                for number, name in enumerate(("off", "on")):
                    write(tmp_path / f"{name}{seed}", seed, 0.3 + change * number, spread)

        return launch

    return make


def write(folder: Path, seed: int, wer: float, spread: float) -> None:
    rng = np.random.default_rng([seed, len(folder.name)])
    (folder / ".hydra").mkdir(parents=True)
    name = "h1" if folder.name.startswith("on") else ""
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([f"hypotheses=[{name}]", f"seed={seed}"]))
    wer += spread * rng.normal()
    rows = [
        {
            "utterance_id": f"u{number:03}",
            "speaker_id": f"s{number // 10}",
            "age_bucket": "7-8",
            "normalized_reference": "two red cats",
            "normalized_hypothesis": str(rng.integers(10**9)),
            "words": 50,
            "characters": 200,
            "substitutions": int(rng.binomial(50, wer)),
            "deletions": 0,
            "insertions": 0,
            "character_errors": 3,
        }
        for number in range(300)
    ]
    (folder / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "metrics.json").write_text("{}")


def test_a_clear_answer_ends_it_early_and_the_same_command_adds_nothing(tmp_path: Path, launcher: Any) -> None:
    launched: list[list[int]] = []
    for _ in range(2):
        run_until(DECIDED, tmp_path, BOTH, [1], launcher(-0.1, launched), [], None)
        assert launched == [[1, 2], [3, 4]], "the first look is too strict for two seeds"
    looks = read_looks(tmp_path)
    assert looks.seeds == [2, 4, 6, 8] and len(looks.levels) == 2 and looks.level < 0.01


def test_no_answer_ends_it_at_the_last_look_and_more_runs_extend_it(
    tmp_path: Path, launcher: Any, caplog: pytest.LogCaptureFixture
) -> None:
    launched: list[list[int]] = []
    with caplog.at_level("INFO"):
        run_until(DECIDED, tmp_path, BOTH, [1, 2], launcher(0.0, launched, spread=0.02), [], None)
    assert launched == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert "the last look, 8 seeds: not all questions are answered" in caplog.text
    run_until(Until(None, 20, None, 5, ("seeds",)), tmp_path, BOTH, [1, 2], launcher(0.0, launched, spread=0.02), [], None)
    assert launched[4:] == [[9, 10]] and len(read_looks(tmp_path).levels) == 5


def test_a_width_is_reached_from_four_seeds_on(tmp_path: Path, launcher: Any) -> None:
    launched: list[list[int]] = []
    run_until(Until(50.0, 40, None, 4, ("seeds",)), tmp_path, BOTH, [1], launcher(0.0, launched, spread=0.02), [], None)
    assert launched == [[1, 2, 3, 4]]
    run_until(Until(1.5, 60, None, 4, ("seeds",)), tmp_path, BOTH, [1], launcher(0.0, launched, spread=0.02), [], None)
    assert 4 < sum(map(len, launched)) < 30, "one seed more at a time, until it is narrow"
    assert all(len(one) == 1 for one in launched[1:])
    assert read_looks(tmp_path).level == 0.05


def test_seeds_that_change_nothing_end_it(tmp_path: Path, launcher: Any, caplog: pytest.LogCaptureFixture) -> None:
    launched: list[list[int]] = []
    launch = launcher(0.0, launched)

    def alike(seeds: Sequence[int]) -> None:
        launch(seeds)
        for folder in tmp_path.glob("o*[2-9]"):
            first = (tmp_path / f"{folder.name[:-1]}1" / "predictions.jsonl").read_text()
            (folder / "predictions.jsonl").write_text(first)

    run_until(Until(1.0, None, 24.0, 4, ("seeds",)), tmp_path, BOTH, [1], alike, [], None)
    assert launched == [[1, 2, 3, 4]] and "the seeds change no transcript" in caplog.text


def test_a_configuration_that_fails_ends_it_in_one_line(tmp_path: Path, launcher: Any) -> None:
    three = BOTH | {frozenset({"hypotheses=[h9]"})}
    with pytest.raises(KidasrError, match="2 of 3 configurations have two finished runs; expected: all"):
        run_until(DECIDED, tmp_path, three, [1], launcher(-0.1, []), [], None)


def test_hours_are_counted_by_the_runs_that_have_finished(tmp_path: Path, launcher: Any) -> None:
    """Half an hour a run: two configurations of two seeds are two hours, and five hours are five seeds."""
    launched: list[list[int]] = []
    launch = launcher(0.0, launched, spread=0.02)

    def timed(seeds: Sequence[int]) -> None:
        launch(seeds)
        for folder in tmp_path.glob("o*"):
            lines = [
                {"event": "started", "time": "2026-11-24T10:00:00"},
                {"event": "finished", "time": "2026-11-24T10:30:00"},
            ]
            (folder / "attempts.jsonl").write_text("\n".join(map(json.dumps, lines)))

    run_until(Until(None, None, 5.0, 4, ("seeds",)), tmp_path, BOTH, [1, 2], timed, [], None)
    assert [seed for seeds in launched for seed in seeds] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["ablation.until=soon"], "ablation.until=soon: should be decided, or width:POINTS, e.g. ablation.until=width:0.8"),
        (["ablation.until=width:0"], "ablation.until=width:0: should be decided"),
        (["ablation.until=decided"], "may never end; expected: ablation.max_runs=64 or ablation.max_hours=24 as well"),
        (["ablation.until=decided", "ablation.max_runs=11"], "needs 2 seeds of 6 configurations; expected: at least 12"),
        (["ablation.until=width:1", "ablation.max_runs=12"], "needs 4 seeds of 6 configurations; expected: at least 24"),
        (["ablation.max_runs=12"], "need a rule to stop; expected: ablation.until=decided"),
        (
            ["ablation.until=decided", "ablation.max_runs=12", "hydra/launcher=submitit_local", "hydra.launcher.wait=false"],
            "needs the results of earlier runs; expected: hydra.launcher.wait=true",
        ),
        (["ablation.max_runs=none"], "ablation.max_runs"),
        (
            ["ablation.until=decided", "ablation.max_runs=12", "optim.learning_rate=1e-5,5e-5"],
            "optim.learning_rate=1e-5,5e-5: can't be swept in an ablation that ends when it is answered; expected: one",
        ),
    ],
)
def test_a_rule_that_can_not_work_is_one_line(
    typed: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, "ablation=one_at_a_time", *typed) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert line in error
