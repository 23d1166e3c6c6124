"""A run that is killed, stopped or damaged ends, when the same command is given again, as one that was not."""

import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kidasr.errors import STOPPED, KidasrError, Stopped
from kidasr.recognition.transcribe import Transcriber
from kidasr.training.checkpoint_folder import damage
from kidasr.training.fine_tune import FineTune
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import MICRO, ROOT, job, read_json
from tests.jobs.test_train import weights
from tests.training.killed import MOMENTS

CHECKPOINTS = "checkpoints"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A run of 8 steps with all that could make a continued run another: an epoch is 5 batches, so 3 steps, and its last is
    smaller; the log's entries lie between checkpoints; the encoder thaws in between; dropout is on."""
    model = tmp_path_factory.mktemp("model")
    shutil.copytree(MICRO, model, dirs_exist_ok=True)
    config = {**read_json(model / "config.json"), "dropout": 0.1, "encoder_layerdrop": 0.2}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return (
        "experiment=all",
        "padding=longest",
        f"model.name_or_path={model}",
        "freeze.freeze_encoder_steps=3",
        "data.limit_train=18",
        "data.limit_validation=8",
        "trainer.max_steps=8",
        "trainer.train_batch_size=4",
        "trainer.gradient_accumulation_steps=2",
        "trainer.logging_steps=4",
        "checkpoint.eval_steps=2",
        "checkpoint.save_total_limit=3",
        "schedule.warmup_steps=2",
        "early_stopping.patience=4",
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, everything: tuple[str, ...]) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    job(folder, *everything).run()
    return folder


@pytest.fixture
def unfinished(tmp_path: Path, undisturbed: Path) -> Path:
    """The undisturbed run, as if killed before its results were written."""
    shutil.copytree(undisturbed, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    return tmp_path / "run"


def result(run_dir: Path) -> dict[str, Any]:
    """All that a run ends with: weights, scores, transcripts, its log of losses, learning rates and WER, its patience."""
    state = read_json(run_dir / CHECKPOINTS / "checkpoint-8" / "trainer_state.json")
    timed = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")
    return {
        "weights": {name: tensor.numpy().tobytes() for name, tensor in weights(run_dir).items()},
        "metrics": (run_dir / "metrics.json").read_text(encoding="utf-8"),
        "predictions": (run_dir / "predictions.jsonl").read_text(encoding="utf-8"),
        "history": [{name: value for name, value in entry.items() if name not in timed} for entry in state["log_history"]],
        "patience": state["stateful_callbacks"],
    }


@pytest.mark.kill
def test_a_run_killed_at_every_kind_of_moment_ends_as_one_never_killed(
    tmp_path: Path, everything: tuple[str, ...], undisturbed: Path
) -> None:
    workers = ("trainer.dataloader_num_workers=2",)  # which the undisturbed run has none of
    command = [sys.executable, "-m", "tests.training.killed", str(tmp_path / "run"), *everything, *workers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == list(MOMENTS)
    job(tmp_path / "run", *everything, *workers).run()
    assert result(tmp_path / "run") == result(undisturbed)
    left = {path.name for path in (tmp_path / "run" / CHECKPOINTS).iterdir()}
    assert left == {path.name for path in (undisturbed / CHECKPOINTS).iterdir()}


def test_what_a_kill_leaves_half_written_or_half_deleted_is_no_checkpoint(
    unfinished: Path, undisturbed: Path, everything: tuple[str, ...]
) -> None:
    """What the test above leaves by a real kill, made by hand."""
    checkpoints = unfinished / CHECKPOINTS
    shutil.copytree(checkpoints / "checkpoint-6", checkpoints / ".checkpoint-2.deleting")
    (checkpoints / "checkpoint-8").rename(checkpoints / ".checkpoint-8.writing")
    for name in ("SHA256SUMS", "optimizer.pt"):
        (checkpoints / ".checkpoint-8.writing" / name).unlink()
    job(unfinished, *everything).run()
    assert result(unfinished) == result(undisturbed)
    assert {path.name for path in checkpoints.iterdir()} == {path.name for path in (undisturbed / CHECKPOINTS).iterdir()}


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], None]:
    """Lets this process get a signal when the trainer is in a method at a step."""

    def at(method: str, step: int, number: int) -> None:
        original = getattr(ChildSpeechTrainer, method)
        left = [number]

        def with_signal(self: ChildSpeechTrainer, *arguments: Any, **options: Any) -> Any:
            if self.state.global_step == step and self.is_in_train and left:
                os.kill(os.getpid(), left.pop())
            return original(self, *arguments, **options)

        monkeypatch.setattr(ChildSpeechTrainer, method, with_signal)

    return at


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Slows down the thread that writes; yields when it writes, and when an evaluation begins and ends."""
    order: list[str] = []
    save, evaluate = torch.save, ChildSpeechTrainer.evaluate

    def slow_save(*arguments: Any, **options: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            save(*arguments, **options)
            return
        order.append("writing")
        time.sleep(0.5)
        save(*arguments, **options)
        order.append("written")

    def watched(self: ChildSpeechTrainer, *arguments: Any, **options: Any) -> Any:
        order.append("evaluation")
        try:
            return evaluate(self, *arguments, **options)
        finally:
            order.append("evaluated")

    monkeypatch.setattr(torch, "save", slow_save)
    monkeypatch.setattr(ChildSpeechTrainer, "evaluate", watched)
    yield order
    assert not [one.name for one in threading.enumerate() if one.name.startswith("checkpoint")]


@pytest.mark.parametrize(
    ("number", "method", "step", "left"),
    [
        (signal.SIGTERM, "training_step", 2, "stopped-3"),
        (signal.SIGUSR2, "evaluate", 4, "stopped-4"),
        (signal.SIGINT, "_write_checkpoint", 6, "checkpoint-6"),
        (signal.SIGTERM, "evaluate", 8, "stopped-8"),
    ],
    ids=["in a step", "in an evaluation", "in writing a checkpoint", "in the last evaluation"],
)
def test_a_signal_stops_at_the_next_step_and_loses_nothing(
    tmp_path: Path,
    everything: tuple[str, ...],
    undisturbed: Path,
    slow_disk: list[str],
    signalled: Callable[[str, int, int], None],
    caplog: pytest.LogCaptureFixture,
    number: int,
    method: str,
    step: int,
    left: str,
) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)]
    signalled(method, step, number)
    with pytest.raises(Stopped) as stopped:
        job(tmp_path, *everything).run()
    assert stopped.value.code == STOPPED == 75
    assert f"stopped by {signal.Signals(number).name}" in caplog.text
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)] == handlers
    newest = max((tmp_path / CHECKPOINTS).iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    assert newest.name == left and damage(newest) is None
    caplog.set_level(logging.INFO)
    caplog.clear()  # an earlier test may have set the level
    job(tmp_path, *everything).run()
    assert f"resuming from {newest}" in caplog.text
    assert "zero-shot: transcribing" not in caplog.text, "it is kept"
    assert result(tmp_path) == result(undisturbed)
    assert not list((tmp_path / CHECKPOINTS).glob("stopped-*"))


def test_a_stop_has_no_part_in_which_model_is_the_best(
    tmp_path: Path, signalled: Callable[[str, int, int], None], everything: tuple[str, ...]
) -> None:
    """With checkpoint=legacy the best evaluation may have no checkpoint; a stop just there must not save it after all."""
    legacy = ("checkpoint=legacy", "checkpoint.eval_steps=1", "checkpoint.save_steps=4", "early_stopping=none")
    options = (*(one for one in everything if not one.startswith(("early", "check"))), *legacy)
    job(tmp_path / "whole", *options).run()
    best = min(
        (entry for entry in history_of(tmp_path / "whole") if "eval_wer" in entry), key=lambda entry: entry["eval_wer"]
    )
    step = best["step"] if best["step"] % 4 else 3
    signalled("evaluate", step, signal.SIGTERM)
    with pytest.raises(Stopped):
        job(tmp_path / "stopped", *options).run()
    job(tmp_path / "stopped", *options).run()
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")


def history_of(run_dir: Path) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = read_json(run_dir / CHECKPOINTS / "checkpoint-8" / "trainer_state.json")["log_history"]
    return history


def truncate(checkpoint: Path) -> None:
    path = checkpoint / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_a_file(checkpoint: Path) -> None:
    (checkpoint / "scheduler.pt").unlink()


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (truncate, "optimizer.pt does not match its checksum"),
        (flip_a_bit, "model.safetensors does not match its checksum"),
        (lose_a_file, "scheduler.pt is missing"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_set_aside_and_the_one_before_is_used(
    unfinished: Path,
    undisturbed: Path,
    everything: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
    harm: Callable[[Path], None],
    fault: str,
) -> None:
    caplog.set_level(logging.INFO)
    newest = unfinished / CHECKPOINTS / "checkpoint-8"
    before = unfinished / CHECKPOINTS / "checkpoint-6"
    harm(newest)
    job(unfinished, *everything).run()
    assert f"{newest} is damaged: {fault}; moved to set_aside/checkpoint-8, using the previous one" in caplog.text
    assert f"resuming from {before}" in caplog.text
    assert (unfinished / CHECKPOINTS / "set_aside" / "checkpoint-8").is_dir()
    assert result(unfinished) == result(undisturbed)


def test_where_the_best_model_is_damaged_it_is_trained_again(
    unfinished: Path, undisturbed: Path, everything: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """To go on from a whole checkpoint after it would end with another model."""
    best = unfinished / CHECKPOINTS / f"checkpoint-{read_json(undisturbed / 'metrics.json')['best_step']}"
    flip_a_bit(best)
    job(unfinished, *everything).run()
    assert f"{best} is damaged: model.safetensors does not match its checksum" in caplog.text
    assert result(unfinished) == result(undisturbed)


def test_every_checkpoint_damaged_begins_anew(unfinished: Path, undisturbed: Path, everything: tuple[str, ...]) -> None:
    for checkpoint in (unfinished / CHECKPOINTS).glob("checkpoint-*"):
        lose_a_file(checkpoint)
    job(unfinished, *everything).run()
    assert result(unfinished) == result(undisturbed)


def test_an_evaluation_that_fails_while_a_thread_writes_leaves_neither_thread_nor_files(
    tmp_path: Path,
    everything: tuple[str, ...],
    undisturbed: Path,
    slow_disk: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    score_evaluation = ChildSpeechTrainer._score_evaluation

    def fail(self: ChildSpeechTrainer, heard: Any) -> Any:
        if self.state.global_step == 4:
            raise ZeroDivisionError
        return score_evaluation(self, heard)

    with monkeypatch.context() as patch:
        patch.setattr(ChildSpeechTrainer, "_score_evaluation", fail)
        with pytest.raises(ZeroDivisionError):
            job(tmp_path, *everything).run()
    assert slow_disk[-4:] == ["writing", "evaluation", "evaluated", "written"]
    assert [path.name for path in (tmp_path / CHECKPOINTS).iterdir()] == ["checkpoint-2"]
    job(tmp_path, *everything).run()
    assert result(tmp_path) == result(undisturbed)


@pytest.fixture(params=[28, 32], ids=["full at the model", "full in the thread"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with room for two checkpoints of 13 MB; of the third, for the model (4 MB) or not even that."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_keeps_the_last_checkpoint_and_says_what_was_needed(
    small_disk: Path, slow_disk: list[str], undisturbed: Path, everything: tuple[str, ...]
) -> None:
    run_dir = small_disk / "run"
    with pytest.raises(KidasrError) as told:
        job(run_dir, *everything).run()
    line = str(told.value)
    assert re.search(r"checkpoint of step 6 could not be written: .*; it needs 12\.\d MB, \d\.\d MB are free; ", line), line
    assert "the last good checkpoint is checkpoint-4" in line and "\n" not in line
    assert {path.name for path in (run_dir / CHECKPOINTS).iterdir()} == {"checkpoint-2", "checkpoint-4"}
    assert damage(run_dir / CHECKPOINTS / "checkpoint-4") is None
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    job(run_dir, *everything).run()
    assert result(run_dir) == result(undisturbed)


def test_a_loss_that_is_no_number_stops_the_run_with_its_utterances(tmp_path: Path, everything: tuple[str, ...]) -> None:
    """Plain gradient descent with a step so large that the second loss is NaN."""
    descent = ("optim.optim=sgd", "optim.weight_decay=1e30", "optim.max_grad_norm=0", "schedule.warmup_steps=0")
    run = job(tmp_path, *everything, *descent, "freeze=none", "checkpoint.eval_steps=1")
    with pytest.raises(KidasrError, match=r"^step 2: the loss became NaN or infinite on the batch of utterances ") as told:
        run.run()
    assert "the last good checkpoint is checkpoint-1" in str(told.value)
    named = re.findall(r"train_\d+_\d+", str(told.value))
    of_run = FineTune(**run.arguments)
    sets = of_run.data.load()
    arguments = of_run._training_arguments()
    batches = of_run._batches(arguments, sets.train, of_run.model.load().window_sec)
    assert named == batches.utterance_ids(0, 2), "the first batch of the second step"


def test_out_of_memory_says_which_keys_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real failure of an allocation, in the place of a step that is too large."""
    monkeypatch.setattr(ChildSpeechTrainer, "compute_loss", lambda *_, **__: torch.empty(10**15))
    options = ("debug=smoke", "trainer.train_batch_size=2")
    with pytest.raises(KidasrError, match=r"^out of memory while training.*: lower trainer.train_batch_size \(now 2;"):
        job(tmp_path / "a", *options).run()
    monkeypatch.setattr(Transcriber, "_transcribe", lambda *_: torch.empty(10**15))
    with pytest.raises(KidasrError, match=r"^out of memory while transcribing.*: lower trainer.per_device_eval_batch_size"):
        job(tmp_path / "b", *options).run()


def test_the_rate_and_the_loss_in_the_log_are_numbers(undisturbed: Path) -> None:
    """What the other tests compare is there to be compared."""
    logged = [entry for entry in history_of(undisturbed) if "loss" in entry]
    assert [entry["step"] for entry in logged] == [4, 8]
    assert all(math.isfinite(entry[key]) for entry in logged for key in ("loss", "learning_rate", "grad_norm"))
