"""What is published of a comparison."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from kidasr.jobs.publish import without_machine_paths
from kidasr.runs.identity import identity
from kidasr.runs.record import record
from tests.conftest import read_json, run_here


def test_numbers_and_configs_are_published_and_nothing_that_was_said(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    train = f"data.train={tmp_path}/data/T.jsonl"
    (tmp_path / "data" / "T.jsonl").write_text("", encoding="utf-8")
    data = ("data=manifest", train, f"data.validation={tmp_path}/data/T.jsonl")
    runs = [
        run_folder(f"runs/{name}-{seed}", wer, *data, *overrides, seed=seed, recorded=True)
        for name, wer, overrides in (("none", 0.3, ()), ("h4", 0.2, ("augment=specaugment",)))
        for seed in (1, 2)
    ]
    for run in runs:
        record(Path(run), "started")
        record(Path(run), "finished")
    recorded = {run: read_json(Path(run) / "config.json") for run in runs}
    monkeypatch.chdir(tmp_path)
    assert run_here(monkeypatch, "job=publish", "runs=runs/*", "to=results/mine") == 0

    folder = tmp_path / "results" / "mine"
    written = {path.name for path in folder.iterdir()}
    assert {"comparison.json", "comparison.md", "comparison.csv", "runs.csv", "forest.png", "configs.yaml"} <= written
    assert "report.html" not in written
    published = [path.read_bytes() for path in folder.rglob("*")]
    assert not any(str(tmp_path).encode() in content or b"red cats" in content for content in published)
    found = read_json(folder / "comparison.json")
    assert sorted(one["path"] for one in found["runs"]) == sorted(str(Path(run).relative_to(tmp_path)) for run in runs)
    configs = yaml.safe_load((folder / "configs.yaml").read_text(encoding="utf-8"))
    with (folder / "speakers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 12 and {row["set"] for row in rows} == {"validation"}
    for one in found["runs"]:
        of_run = [row for row in rows if (row["configuration"], row["seed"]) == (one["configuration"], str(one["seed"]))]
        errors = sum(int(row[kind]) for row in of_run for kind in ("substitutions", "deletions", "insertions"))
        assert errors / sum(int(row["words"]) for row in of_run) == pytest.approx(one["wer"])
    ((job, shared),) = configs["shared"].items()
    assert configs["hours"] == 0 and shared["data.train"] == "data/T.jsonl" and job == "kidasr.jobs.train.Train"
    for one in configs["runs"]:
        whole = identity(recorded[str(tmp_path / one["folder"])])
        assert {**shared, **one["differs"]} == without_machine_paths(whole)
        assert one["seed"] == whole["seed"] and ("augment" in str(one["differs"])) == ("h4" in one["folder"])


def test_paths_are_relative_or_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    typed = (
        f"data.train={tmp_path}/beside.jsonl rate=1/2 hub=openai/whisper-tiny ../a.jsonl /5 [{here}/b,/scratch/me/c.jsonl]"
    )
    assert without_machine_paths({"typed": [typed, 1], "spaces": "/scratch/me/my data/T.jsonl", "here": str(here)}) == {
        "typed": ["data.train=../beside.jsonl rate=1/2 hub=openai/whisper-tiny ../a.jsonl /5 [b,c.jsonl]", 1],
        "spaces": "T.jsonl",
        "here": ".",
    }


def test_configurations_named_by_a_path_and_runs_without_a_config_are_published(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("data=manifest", "data.validation=V.jsonl")
    for name, wer in (("a", 0.3), ("b", 0.2)):
        run_folder(f"runs/{name}", wer, *data, f"data.train={tmp_path}/elsewhere/{name}.jsonl")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run_here(monkeypatch, "job=publish", "runs=../runs/*", "to=results") == 0
    for name in ("a", "b"):
        run_folder(f"far/{name}", 0.2, *data, f"data.train=/scratch/{name}/T.jsonl")
    assert run_here(monkeypatch, "job=publish", "runs=../far/*", "to=far") == 2
    assert "would be one: data.train=T.jsonl; expected" in capsys.readouterr().err and not Path("far").exists()
    (pair,) = read_json(Path("results/comparison.json"))["pairs"]
    assert {pair["run"], pair["baseline"]} == {"data.train=../elsewhere/a.jsonl", "data.train=../elsewhere/b.jsonl"}
    assert [one["differs"] for one in yaml.safe_load(Path("results/configs.yaml").read_text())["runs"]] == [{}, {}]
