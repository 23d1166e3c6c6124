"""Several processes, started by torchrun as a user would, with gloo on a CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from tests.conftest import MICRO, ROOT, job, read_json, read_jsonl
from tests.jobs.test_train import ALL_ON, same, weights

pytestmark = pytest.mark.processes

#: Plain gradient descent, which shows the size of every gradient.
COMMON = (
    "trainer.max_steps=6",
    "trainer.logging_steps=1",
    "data.limit_train=30",
    "data.limit_validation=10",
    "checkpoint.eval_steps=3",
    "schedule.warmup_steps=0",
    "optim.optim=sgd",
    "optim.learning_rate=0.05",
    "optim.weight_decay=0",
    "optim.max_grad_norm=0",
    "padding=longest",
    "report.card.full_window_utterances=3",
)
FREEZE = "freeze.freeze_encoder_steps=4"
HYPOTHESES = {
    "off": ("experiment=baseline", "checkpoint.save_steps=6"),
    "h1": ("experiment=h1",),
    "h2": ("experiment=h2", "checkpoint.save_steps=3", "early_stopping.patience=2"),
    "h3": ("experiment=h3", "checkpoint.save_steps=3", FREEZE),
    "h4": ("experiment=h4", "checkpoint.save_steps=3"),
    "h5": ("experiment=h5", "checkpoint.save_steps=3"),
    "average": ("experiment=h1", "average=last", "average.pretrained=0.3"),
    "staged, l2_sp": ("curriculum=age_staged", "objective=l2_sp"),
    "duration, label smoothing": ("curriculum=duration", "objective=label_smoothing", "objective.epsilon=0.01"),
    "loss, kl": ("curriculum=loss", "objective=kl", FREEZE),
    "pif": ("augment=specaugment", "objective=pif", FREEZE),
    "all": ALL_ON,
    "all, gradient checkpointing": (*ALL_ON, "trainer.activation_checkpointing=true"),
    "lora, h3": ("experiment=h3", "checkpoint.save_steps=3", FREEZE, "adapter=lora", "adapter.r=4"),
    "age": ("experiment=h3", "checkpoint.save_steps=3", FREEZE, "adapter=age", "adapter.r=4"),
    "decoder frozen": ("experiment=h1", "freeze=decoder_all", "optim.layer_decay=0.5"),
    "compiled": ("experiment=h1", "trainer.torch_compile=true"),
}


def options(name: str, folder: Path) -> list[str]:
    """Of a run; that of the baseline leaves out a recording that is not there, of which one of two processes knows first."""
    if name != "off":
        return [*HYPOTHESES[name], *COMMON]
    corpus = MICRO.parent / "corpus"
    rows = [{**row, "audio_path": str(corpus / row["audio_path"])} for row in read_jsonl(corpus / "train.jsonl")[::15]]
    rows[7]["audio_path"] = "gone.wav"
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return [*HYPOTHESES[name], *COMMON, f"data.train={folder / 't.jsonl'}", "data.on_bad_audio=skip"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of two processes: each hypothesis, and one with dropout, whole and stopped in a step."""
    folder = tmp_path_factory.getbasetemp().parent / "two"
    with FileLock(f"{folder}.lock"):  # one of pytest's processes runs them for all
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _run_two(folder)
            (folder / "done").touch()
    return folder


def _run_two(folder: Path) -> None:
    shutil.copytree(MICRO, folder / "micro")
    shutil.copytree(MICRO, folder / "layerdrop")
    for name, drops in {"micro": {"dropout": 0.1}, "layerdrop": {"encoder_layerdrop": 0.5}}.items():
        config = {**read_json(folder / name / "config.json"), **drops}
        (folder / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
    batch = "trainer.train_batch_size=5"  # of one process, or three utterances for one and two for the other
    jobs: list[dict[str, Any]] = [
        {"run_dir": str(folder / name), "overrides": [*options(name, folder), batch]} for name in HYPOTHESES
    ]
    dropout = [*ALL_ON, *COMMON, batch, "average=ema", f"model.name_or_path={folder / 'micro'}", "trainer.logging_steps=2"]
    layerdrop = ["experiment=h1", *COMMON, batch, f"model.name_or_path={folder / 'layerdrop'}"]  # nothing is ever frozen
    jobs.append({"run_dir": str(folder / "dropped layers"), "overrides": layerdrop})
    jobs.append({"run_dir": str(folder / "whole"), "overrides": dropout})
    jobs.append({"run_dir": str(folder / "stopped"), "overrides": dropout, "stop_at": 4})
    jobs.append({"run_dir": str(folder / "stopped"), "overrides": dropout})
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, "-m", "tests.training.two_processes", str(folder / "jobs.json")]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=folder, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert "SIGTERM: stopping" in done.stderr


def losses(run_dir: Path) -> list[float]:
    """Of training, and WER; the Trainer's loss of an evaluation is the mean of its batches' means, whatever their sizes."""
    history = read_json(run_dir / "checkpoints" / "checkpoint-6" / "trainer_state.json")["log_history"]
    return [entry[name] for entry in history for name in ("loss", "eval_wer") if name in entry]


@pytest.mark.parametrize("name", HYPOTHESES)
def test_two_processes_train_as_one_with_batches_as_large(two: Path, tmp_path: Path, name: str) -> None:
    job(tmp_path, *options(name, two), "trainer.train_batch_size=5", "trainer.torch_compile=false").run()
    assert losses(two / name) == pytest.approx(losses(tmp_path), abs=1e-5)
    assert len(losses(tmp_path)) == 6 + 2, "a loss each step, two evaluations"
    one, other = weights(tmp_path), weights(two / name)
    assert all(torch.allclose(one[part], other[part], atol=1e-5) for part in one)
    of_one, of_two = read_json(tmp_path / "metrics.json"), read_json(two / name / "metrics.json")
    assert {**of_one, "history": None} == {**of_two, "history": None}, "losses but for the last digits"
    assert of_one["skipped_audio"]["train"] == (1 if name == "off" else 0)


def test_two_processes_stop_together_where_one_is_told_to_and_continue_to_the_last_bit(two: Path) -> None:
    assert same(weights(two / "whole"), weights(two / "stopped"))
    assert read_json(two / "whole" / "metrics.json") == read_json(two / "stopped" / "metrics.json")
    assert losses(two / "whole") == losses(two / "stopped")


def test_run_py_under_torchrun_talks_and_writes_once(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, str(ROOT / "run.py"), "debug=smoke", "padding=longest", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("run length: 3 optimizer steps") == 1
    assert (tmp_path / "run" / "run.log").read_text(encoding="utf-8").count("run length: 3 optimizer steps") == 1
    again = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert again.returncode == 0 and again.stdout.count("nothing to do") == 1
