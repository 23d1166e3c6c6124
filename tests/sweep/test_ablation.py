"""The sweeper of an ablation: the jobs that it launches, in batches and again with more seeds."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus

from kidasr.cli.launch import is_search
from kidasr.runs.record import read_attempts
from tests.conftest import ROOT, read_json, run_here, sweep_runs

TWO = "factors={augment: [none, specaugment], optim.learning_rate: [1e-5, 5e-5]}"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[list[str]]]]:
    """What is launched: the number of a batch's first job, and the overrides of each. A stand-in for the launcher."""
    batches: list[tuple[int, list[list[str]]]] = []

    def launch(self: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        batches.append((initial_job_idx, [list(one) for one in job_overrides]))
        return [JobReturn(status=JobStatus.COMPLETED) for _ in job_overrides]

    monkeypatch.setattr(import_module("hydra_plugins.kidasr_plugin").Launcher, "launch", launch)
    return batches


def test_it_launches_each_configuration_with_each_seed(
    tmp_path: Path, launched: list[tuple[int, list[list[str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("ablation=factorial", TWO, "seeds=1,2", f"hydra.sweep.dir={tmp_path}", "curriculum=none,age")
    assert run_here(monkeypatch, *typed) == 0
    ((first, found),) = launched
    shared = ["ablation=factorial", "factors={augment:[none,specaugment],optim.learning_rate:[1e-05,5e-05]}", "seeds=[1,2]"]
    assert first == 0 and (tmp_path / "multirun.yaml").is_file()
    assert found == [
        [f"seed={seed}", "hypotheses=[]", f"augment={augment}", f"optim.learning_rate={rate}", *shared, order, "ablated=[]"]
        for seed in (1, 2)
        for rate in ("1e-05", "5e-05")
        for augment in ("none", "specaugment")
        for order in ("curriculum=none", "curriculum=age")
    ]


def test_jobs_come_in_batches_if_that_is_asked_for(
    tmp_path: Path, launched: list[tuple[int, list[list[str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("ablation=one_at_a_time", f"hydra.sweep.dir={tmp_path}", "hydra.sweeper.max_batch_size=4")
    assert run_here(monkeypatch, *typed) == 0
    assert [(first, len(jobs)) for first, jobs in launched] == [(0, 4), (4, 2)]


def test_more_seeds_extend_an_ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short = ("debug=smoke", "trainer.zero_shot=false", "report=none", "trainer.max_steps=1")
    typed = ("ablation=factorial", "factors={augment: [none, specaugment]}", *short)
    assert run_here(monkeypatch, *typed) == 0
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    first = sweep_runs(sweep)
    assert run_here(monkeypatch, *typed, "seeds=1,2") == 0
    assert list((tmp_path / "outputs" / "multirun").iterdir()) == [sweep]
    runs = sweep_runs(sweep)
    assert runs[:2] == first and len(runs) == 4
    assert [sum(row["event"] == "started" for row in read_attempts(run)) for run in runs] == [1, 1, 1, 1]
    configs = [read_json(run / "config.json") for run in runs]
    assert [(one["seed"], list(one["augment"])) for one in configs] == [
        (1, []),
        (1, ["specaugment"]),
        (2, []),
        (2, ["specaugment"]),
    ]
    assert all(one["factors"] == {"augment": ["none", "specaugment"]} and one["ablated"] == [] for one in configs)


def test_it_needs_no_results_unlike_a_search() -> None:
    """So a launcher need not wait for them (``hydra.launcher.wait=false``), and a failed run does not stop the others."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        found = [
            is_search(compose("config", typed, return_hydra_config=True))
            for typed in ([], ["ablation=factorial"], ["hydra/sweeper=optuna"])
        ]
    assert found == [False, False, True]


@pytest.mark.slow
def test_every_idea_by_itself_runs_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but adamw_8bit, which needs a GPU."""
    ideas = sorted(path.stem for path in (ROOT / "conf" / "hypotheses").glob("*.yaml") if path.stem != "adamw_8bit")
    typed = ("ablation=one_at_a_time", f"hypotheses=[{','.join(ideas)}]", "seeds=1", f"hydra.sweep.dir={tmp_path}")
    short = ("debug=smoke", "trainer.zero_shot=false", "data.tests.adults=null", "report=none")
    assert run_here(monkeypatch, *typed, *short) == 0
    pairs = read_json(tmp_path / "comparison.json")["pairs"]
    assert {pair["run"] for pair in pairs} == set(ideas)
