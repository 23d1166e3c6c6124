"""What is published of a comparison."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib.figure import Figure

from kidasr.evidence.machine_paths import without_machine_paths
from kidasr.jobs.compare import Compare
from kidasr.report.figure import kept_point, wer_points
from kidasr.report.options import ReportOptions
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
    assert (
        len(rows) == 4 * 12
        and {row["set"] for row in rows} == {"validation"}
        and {row["run"] for row in rows} == set("1234")
    )
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


def test_published_runs_are_compared_as_the_runs_themselves_and_with_others(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    factors = "+factors={augment: [none, specaugment], average.pretrained: [0.0, 0.3]}"
    configurations = [
        (0.30, "augment=none", "average.pretrained=0.0"),
        (0.20, "augment=specaugment", "average.pretrained=0.0"),
        (0.28, "augment=none", "average.pretrained=0.3"),
        (0.21, "augment=specaugment", "average.pretrained=0.3"),
    ]
    for seed in (1, 2, 3):
        for number, (wer, *typed) in enumerate(configurations):
            sweep = "first" if seed < 3 else "third"
            run_folder(f"{sweep}/{number}-{seed}", wer, factors, *typed, seed=seed, recorded=True)

    for to in ("published", "again"):
        of = "first/*" if to == "published" else "[published]"
        assert run_here(monkeypatch, "job=publish", f"runs={of}", f"to={to}") == 0
    assert Path("again/speakers.csv").read_bytes() == Path("published/speakers.csv").read_bytes()
    assert Path("again/configs.yaml").read_bytes() == Path("published/configs.yaml").read_bytes()
    of_runs = comparison_of("first/*")
    assert of_runs["effects"] and comparison_of("published") == of_runs
    more = comparison_of("published", "third/*")
    assert [one["seeds"] for one in more["configurations"]] == [[1, 2, 3]] * 4
    assert more == comparison_of("first/*", "third/*")
    # A run that is there twice is one run.
    assert comparison_of("published", "first/*", "third/*") == more

    assert run_here(monkeypatch, "job=compare", "runs=[published]", "hydra.run.dir=compared") == 0
    assert 'id="browser"' not in Path("compared/report.html").read_text(encoding="utf-8")
    assert run_here(monkeypatch, "job=compare", "runs=[published]", "on=adults") == 2
    assert "none of these runs was scored on that set; expected: validation" in capsys.readouterr().err
    configs, sums = (Path("published") / name for name in ("configs.yaml", "speakers.csv"))
    whole = sums.read_text(encoding="utf-8")
    mistakes = [
        (sums, whole.replace(",10,50,", ",ten,50,", 1), "speakers.csv:2: not the sums of job=publish: ValueError"),
        (sums, whole[: whole.index("\n8,")] + "\n", "speakers.csv: no rows of run 8 on validation; expected"),
        (sums, whole + whole.splitlines()[1] + "\n", "s0 3-4 is there twice"),
        (configs, configs.read_text(encoding="utf-8").replace("level:", "levels:"), "configs.yaml: level: missing"),
    ]
    for path, text, said in mistakes:
        as_it_was = path.read_bytes()
        path.write_text(text, encoding="utf-8")
        assert run_here(monkeypatch, "job=compare", "runs=[published]") == 2
        assert said in capsys.readouterr().err
        path.write_bytes(as_it_was)
    Path("published/speakers.csv").unlink()
    assert run_here(monkeypatch, "job=compare", "runs=[published]") == 2
    assert "published has no speakers.csv" in capsys.readouterr().err


def comparison_of(*runs: str) -> dict[str, Any]:
    """What a comparison of runs finds, without what only names their folders."""
    _, found = Compare("", list(runs), None, None, ReportOptions(False, 0, 0)).compare()
    names = ("configurations", "effects", "pairs", "spread", "rate", "level", "doubts", "other_sets")
    rounded: dict[str, Any] = json.loads(
        json.dumps({name: found[name] for name in names}), parse_float=lambda number: round(float(number), 9)
    )
    return rounded


def test_runs_of_every_kind_are_the_same_once_published(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a recorded config, with names that a spreadsheet would compute, of one training, scored before training."""
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        for wer, typed in ((0.3, "augment=none"), (0.2, "++model.x=0.1"), (0.25, "@y=1")):
            folder = Path(run_folder(f"runs/{wer}-{seed}", wer, typed, seed=seed, speaker_id="-7"))
            if typed == "@y=1":
                (folder / ".hydra" / "overrides.yaml").unlink()
            # Two of them are one training that stopped at different steps.
            losses = [{"step": step, "loss": 1 / step + seed} for step in (10, 20, 30)[: 2 + (wer == 0.2)]]
            losses = losses if wer < 0.3 else [{**one, "loss": 3 * one["loss"]} for one in losses]
            metrics = {"history": losses, "zero_shot": {"wer": 0.5}, "filtered_sets": {"validation": "short ones"}}
            (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    # Files of other recognisers of the same name are two systems if their transcripts differ.
    for wer, digest in ((0.22, "a"), (0.24, "b")):
        folder = Path(run_folder(f"runs/other-{digest}", wer, speaker_id="-7"))
        (folder / "config.json").write_text('{"seed": null}', encoding="utf-8")
        files = {"validation": {"path": "H.trn", "sha256": digest, "missing": 0}}
        (folder / "metrics.json").write_text(json.dumps({"name": "other", "transcripts": files}), encoding="utf-8")
    assert run_here(monkeypatch, "job=publish", "runs=runs", "to=published") == 0
    of_runs = comparison_of("runs")
    assert {pair["question"] for pair in of_runs["pairs"]} == {"trainings", "training and system"}
    assert len(of_runs["configurations"]) == 6 and comparison_of("published") == of_runs
    assert read_json(Path("published/comparison.json"))["about"]["compared on"].endswith("filtered: short ones")


def test_learning_curves_are_published_and_drawn_again(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    history = [
        {"step": 10, "epoch": 0.5, "loss": 1 / 3, "grad_norm": 2.0, "learning_rate": 1e-5},
        {"step": 10, "eval_wer": 0.4},
    ]
    kept = {"best_step": 10, "steps": 10, "frozen_steps": 4, "evaluated_utterances": 120}
    averaged = {"best_step": None, "average": {"wer": 0.31, "last_wer": 0.4, "last_step": 10, "change": {"x": 1}}}
    for name, wer, more in (("none", 0.3, kept), ("h4", 0.2, {**kept, **averaged})):
        for seed in (1, 2):
            folder = Path(run_folder(f"runs/{name}-{seed}", wer, f"augment={name}", seed=seed))
            metrics = {"history": history, "zero_shot": {"wer": 0.5, "utterances": 120}, **more}
            (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    drawn: list[Any] = []

    def draw(curves: Any, _: str) -> Figure:
        drawn.append(curves)
        return Figure()

    monkeypatch.setattr("kidasr.report.report.learning_curve", draw)
    assert run_here(monkeypatch, "job=publish", "runs=runs", "to=published") == 0
    assert run_here(monkeypatch, "job=publish", "runs=[published]", "to=again") == 0
    for name in ("curves.csv", "configs.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "published" / name).read_bytes()
    of_runs, of_published = ({name: list(map(shown, runs)) for name, runs in curves.items()} for curves in drawn)
    assert of_published == of_runs and len(of_runs) == 2
    assert of_runs["augment=none"][0] == ([(0, 0.5), (10, 0.4)], (10, 0.4), [(10, 1 / 3)], 4)
    assert of_runs["augment=h4"][0] == ([(0, 0.5), (10, 0.4)], (10, 0.31), [(10, 1 / 3)], 4)
    for name in ("none", "h4"):
        run_folder(f"more/{name}-3", 0.3, f"augment={name}", seed=3)  # without a log
    for names, curves in (("[published,more]", 4), ("more", 0)):
        assert run_here(monkeypatch, "job=publish", f"runs={names}", "to=again") == 0
        for file_name in ("curves.csv", "learning_curves.png"):
            assert (tmp_path / "again" / file_name).exists() == bool(curves)
    assert [len(runs) for runs in drawn[2].values()] == [2, 2] and len(drawn) == 3
    file = tmp_path / "published" / "curves.csv"
    file.write_text(file.read_text(encoding="utf-8").replace(",0.5,", ",half,", 1), encoding="utf-8")
    capsys.readouterr()
    assert run_here(monkeypatch, "job=compare", "runs=[published]") == 2
    assert "curves.csv:2: not the curves of job=publish: ValueError" in capsys.readouterr().err


def shown(metrics: Any) -> Any:
    """What learning curves show of a run."""
    losses = [(entry["step"], entry["loss"]) for entry in metrics["history"] if "loss" in entry]
    return wer_points(metrics), kept_point(metrics), losses, metrics["frozen_steps"]


def test_the_level_of_a_look_is_that_of_its_published_comparison(
    tmp_path: Path, run_folder: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2):
        for wer, typed in ((0.3, "augment=none"), (0.2, "augment=specaugment")):
            run_folder(f"runs/{wer}-{seed}", wer, typed, seed=seed, recorded=True)
    looks = {"seeds": [1, 2], "levels": [0.005], "total": 0.05, "allowed": [2]}
    Path("runs/until.json").write_text(json.dumps(looks), encoding="utf-8")
    assert run_here(monkeypatch, "job=publish", "runs=runs", "to=published") == 0
    assert comparison_of("published") == comparison_of("runs") and comparison_of("runs")["level"] == 0.005
