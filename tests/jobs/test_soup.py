"""Soups: one model from the runs of several seeds."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from kidasr.errors import KidasrError
from kidasr.jobs.compare import Compare
from kidasr.report.options import ReportOptions
from tests.conftest import job, read_json

SHORT = ("debug=smoke", "schedule.warmup_steps=0", "trainer.zero_shot=false", "data.tests.adults=null", "report=none")
NO_PAGE = ReportOptions(False, 0, 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        job(folder / f"seed-{seed}", *SHORT, f"seed={seed}").run()
    return folder


def test_a_soup_is_the_mean_of_its_runs_and_is_scored_and_compared_as_they_are(runs: Path, tmp_path: Path) -> None:
    wer = job(tmp_path / "soup", "job=soup", f"runs={runs}/seed-*", "report=none").run()
    both = [load_file(runs / f"seed-{seed}" / "model" / "model.safetensors") for seed in (1, 2)]
    soup = load_file(tmp_path / "soup" / "model" / "model.safetensors")
    assert all(torch.allclose(soup[name], (both[0][name] + both[1][name]) / 2, atol=1e-6, rtol=0) for name in soup)
    assert any(not torch.equal(soup[name], both[0][name]) for name in soup)
    metrics = read_json(tmp_path / "soup" / "metrics.json")
    assert (metrics["final"]["wer"], metrics["kept"]) == (wer, "mean of 2 runs")
    card = ModelCard.load(tmp_path / "soup" / "model" / "README.md")
    assert "the mean of the weights of 2 runs" in card.text and "The model is the mean of 2 runs." in card.text
    assert round(100 * wer, 2) in [one.metric_value for one in card.data.eval_results]
    Compare(str(tmp_path / "comparison"), [f"{runs}/seed-*", str(tmp_path / "soup")], None, None, NO_PAGE).run()
    pairs = read_json(tmp_path / "comparison" / "comparison.json")["pairs"]
    assert [pair["run"] for pair in pairs] == ["job=soup"], "a configuration of its own"


def test_soups_of_other_seeds_are_repetitions_and_those_that_share_a_run_are_refused(runs: Path, tmp_path: Path) -> None:
    for seed in (3, 4):
        folder = tmp_path / "others" / f"seed-{seed}"
        shutil.copytree(runs / "seed-1", folder)
        config = {**read_json(folder / "config.json"), "seed": seed}
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        predictions = (folder / "predictions.jsonl").read_text(encoding="utf-8")
        said = predictions.replace('"normalized_hypothesis": "', f'"normalized_hypothesis": "{seed} ')
        (folder / "predictions.jsonl").write_text(said, encoding="utf-8")
    members = {"a": f"{runs}/*", "b": f"{tmp_path}/others/*", "c": f"[{runs}/seed-2,{tmp_path}/others/seed-3]"}
    for name, given in members.items():
        job(tmp_path / name, "job=soup", f"runs={given}", "report=none").run()
    rows = (tmp_path / "b" / "predictions.jsonl").read_text(encoding="utf-8")
    (tmp_path / "b" / "predictions.jsonl").write_text(
        rows.replace('"normalized_hypothesis": "', '"normalized_hypothesis": "b '), encoding="utf-8"
    )
    Compare(str(tmp_path / "found"), [f"{runs}/*", *(str(tmp_path / one) for one in "ab")], None, None, NO_PAGE).run()
    found = read_json(tmp_path / "found" / "comparison.json")
    assert [one["seeds"] for one in found["configurations"]] == [[1, 2], [1, 3]]
    with pytest.raises(KidasrError, match=r"a: a soup that shares|c: a soup that shares"):
        Compare(str(tmp_path / "no"), [f"{runs}/*", *(str(tmp_path / one) for one in "ac")], None, None, NO_PAGE).run()


def test_a_soup_takes_no_part_of_its_runs_training(runs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither their processes, nor what their curriculum computes first, nor what they kept."""
    for folder in runs.iterdir():
        shutil.copytree(folder, tmp_path / folder.name)
        config = read_json(folder / "config.json")
        config["trainer"]["num_processes"] = 2
        config["curriculum"] = {"_target_": "kidasr.batching.difficulty.LossCurriculum", "parts": 2, "epochs": None}
        config["average"] = {"_target_": "kidasr.training.average.Average", "pretrained": 0.5}
        (tmp_path / folder.name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    caplog.set_level("INFO")
    job(tmp_path / "soup", "job=soup", f"runs={tmp_path}/seed-*", "report=none").run()
    assert read_json(tmp_path / "soup" / "metrics.json")["kept"] == "mean of 2 runs"
    assert not (tmp_path / "soup" / "training_losses.json").exists() and "pretrained" not in caplog.text


def test_what_is_no_soup_is_one_line(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(KidasrError, match=r"1 finished run.*expected: two or more"):
        job(tmp_path / "one", "job=soup", f"runs={runs}/seed-1").run()
    job(tmp_path / "other", *SHORT, "optim.learning_rate=1e-4").run()
    with pytest.raises(KidasrError, match="2 configurations"):
        job(tmp_path / "two", "job=soup", f"runs=[{runs}/seed-*,{tmp_path}/other]").run()
