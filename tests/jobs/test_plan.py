"""Planning an ablation, from what is usual and from finished runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kidasr.evidence.planning import USUAL
from tests.conftest import read_json, run_here

pytestmark = pytest.mark.figures


def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Any:
    folder = next_folder(tmp_path)
    assert run_here(monkeypatch, "job=plan", *overrides, f"hydra.run.dir={folder}") == 0
    assert (folder / "plan.png").read_bytes().startswith(b"\x89PNG")
    return read_json(folder / "plan.json")


def next_folder(tmp_path: Path) -> Path:
    return tmp_path / f"plan{len(list(tmp_path.glob('plan*')))}"


def test_a_plan_from_what_is_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path, monkeypatch, "effect=2.0")
    designs = {one["design"]: one for one in plan["designs"]}
    assert list(designs) == ["one_at_a_time", "half_factorial", "factorial", "screening"]
    assert [one["configurations"] for one in designs.values()] == [6, 16, 32, 12]
    assert plan["children"] == 40 and plan["spread"]["seeds"] == USUAL.seeds
    low, high = designs["one_at_a_time"]["runs_range"]
    assert low <= designs["one_at_a_time"]["runs"] <= (high or 1000)
    assert designs["half_factorial"]["runs"] <= designs["one_at_a_time"]["runs"]
    assert all(one["children_needed"] <= 40 for one in designs.values())
    said = capsys.readouterr().out
    assert "no runs are given: planned from the usual spread" in said
    assert "can't be shown with these 40 speakers, however many seeds" in said


def test_few_factors_and_children_have_fewer_designs_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, monkeypatch, "effect=0.1", "n_factors=3", "children=4", "max_runs=32")
    assert [one["design"] for one in plan["designs"]] == ["one_at_a_time", "factorial"]
    assert all(one["runs"] is None and one["runs_range"] == [None, None] for one in plan["designs"])
    assert plan["smallest_shown"] > 0.001


def test_a_plan_from_runs_has_their_spread_and_their_hours(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, wer in (("a", 0.3), ("b", 0.28), ("c", 0.32)):
        for seed in (1, 2, 3):
            run = Path(run_folder(f"{name}{seed}", wer, f"x={name}", seed=seed))
            events = [("started", "10:00:00"), ("stopped", "10:30:00"), ("started", "12:00:00"), ("finished", "13:00:00")]
            lines = [json.dumps({"event": kind, "time": f"2026-11-24T{at}+00:00"}) for kind, at in events]
            (run / "attempts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    plan = planned(tmp_path, monkeypatch, f"runs='{tmp_path}/[abc]*'", "effect=5")
    assert plan["children"] == 12 and plan["spread"]["seed_degrees"] == 6
    assert all(one["hours_per_run"] == pytest.approx(1.5) for one in plan["designs"])
    assert 0.005 < plan["spread"]["noise"] < 0.15
    capsys.readouterr()
    planned(tmp_path, monkeypatch, f"runs=[{tmp_path}/a1,{tmp_path}/a2]", "children=30", "effect=5")
    assert "tell little about the spread between seeds" in capsys.readouterr().out
    assert run_here(monkeypatch, "job=plan", f"runs=[{tmp_path}/a1,{tmp_path}/b1]", f"hydra.run.dir={tmp_path / 'x'}") == 2
    assert "each with one seed: the spread between seeds is unknown; expected: a second seed" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("effect=0", "effect=0"),
        ("effect=many", "effect=many"),
        ("children=1", "children=1: a single child says nothing of others; expected: 2 or more"),
        ("n_factors=57", "n_factors=57: more than a screening design can have; expected: at most 56"),
        ("max_runs=5", "max_runs=5: not two seeds of the smallest design; expected: at least 12"),
        ("runs=nothing*", "runs: nothing matches nothing*"),
    ],
)
def test_what_can_not_be_planned_is_one_line(
    typed: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, "job=plan", typed, f"hydra.run.dir={tmp_path / 'plan'}") == 2
    said = capsys.readouterr()
    (error,) = [one for one in (said.out + said.err).splitlines() if "error" in one]
    assert line in error
