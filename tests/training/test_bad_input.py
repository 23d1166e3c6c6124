"""Bad input by what it does to real runs."""

import contextlib
import json
import logging
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from kidasr.errors import KidasrError
from kidasr.training.checkpoint_folder import write_checksums
from tests.conftest import MICRO, job, read_json, read_jsonl
from tests.jobs.test_train import SHORT

CORPUS = MICRO.parent / "corpus"


def rows_of(split: str, number: int, folder: Path) -> list[dict[str, Any]]:
    """The first rows of an embedded manifest, with copies of their recordings in a folder."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = read_jsonl(CORPUS / f"{split}.jsonl")[:number]
    for row in rows:
        shutil.copy(CORPUS / row["audio_path"], folder / "audio")
    return rows


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def with_nan(path: Path) -> None:
    samples = np.full(16_000, 0.1)
    samples[8_000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT", format="WAV")


def corpus_with_bad_recordings(folder: Path) -> tuple[str, ...]:
    """Two of 18 bad in training, one missing, one broken inside; one of 9 in validation."""
    train, validation = rows_of("train", 18, folder), rows_of("validation", 9, folder)
    for row in (train[3], validation[5]):
        (folder / row["audio_path"]).unlink()
    train[7] = {**train[7], "audio_path": "audio/nan.wav", "duration_sec": 1.0}
    with_nan(folder / "audio" / "nan.wav")
    return (
        f"data.train={write_rows(folder / 'train.jsonl', train)}",
        f"data.validation={write_rows(folder / 'validation.jsonl', validation)}",
        *(option for option in SHORT if not option.startswith("data.limit")),
        "checkpoint.save_total_limit=8",
        "data.max_bad_fraction=0.2",
    )


def test_bad_recordings_are_left_out_counted_and_listed_and_a_resume_leaves_out_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = (*corpus_with_bad_recordings(tmp_path), "data.on_bad_audio=skip", "curriculum=age", "augment=specaugment")
    run_dir = tmp_path / "run"
    job(run_dir, *options).run()
    whole = read_json(run_dir / "metrics.json")
    assert whole["skipped_audio"] == {"train": 2, "validation": 1}
    assert whole["final"]["utterances"] == len(read_jsonl(run_dir / "predictions.jsonl")) == 8
    listed = read_jsonl(run_dir / "bad_audio.jsonl")
    assert [(row["set"], row["error"].partition(": ")[0]) for row in listed] == [
        ("train", f"{tmp_path}/train.jsonl:4"),
        ("train", f"{tmp_path}/train.jsonl:8"),
        ("validation", f"{tmp_path}/validation.jsonl:6"),
    ]
    assert "data: train: 2 of 18 recordings are bad and left out (data.on_bad_audio=skip)" in caplog.text
    assert "data: validation: 1 of 9 recordings are bad and left out" in caplog.text

    # Stopped after step 4; meanwhile somebody mends a recording.
    weights = load_file(run_dir / "checkpoints" / "checkpoint-8" / "model.safetensors")
    (run_dir / "metrics.json").unlink()
    shutil.rmtree(run_dir / "checkpoints" / "checkpoint-8")
    shutil.copy(tmp_path / "audio" / "train_00_00.ogg", tmp_path / "audio" / "train_00_03.ogg")
    job(run_dir, *options).run()
    assert read_json(run_dir / "metrics.json") == whole
    again = load_file(run_dir / "checkpoints" / "checkpoint-8" / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert read_jsonl(run_dir / "bad_audio.jsonl") == listed

    # And then another is lost.
    (run_dir / "metrics.json").unlink()
    (tmp_path / "audio" / "train_00_02.ogg").unlink()
    with pytest.raises(KidasrError, match=r"train\.jsonl:3: [^\n]*: no such file [^\n]*it was good when this run began"):
        job(run_dir, *options).run()


def test_by_default_bad_recordings_end_the_run_before_training(tmp_path: Path) -> None:
    options = corpus_with_bad_recordings(tmp_path)
    with pytest.raises(
        KidasrError, match=r"^[^\n]*train\.jsonl:4: [^\n]*: no such file [^\n]*3 bad recordings in all[^\n]*$"
    ):
        job(tmp_path / "run", *options).run()
    assert len(read_jsonl(tmp_path / "run" / "bad_audio.jsonl")) == 3
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_recording_that_turns_out_broken_is_one_line_also_from_a_worker(tmp_path: Path, workers: int) -> None:
    with_nan(tmp_path / "broken.wav")
    row = {"audio_path": "broken.wav", "text": "a", "speaker_id": "s9", "duration_sec": 1}
    options = (*SHORT, f"data.validation={write_rows(tmp_path / 'v.jsonl', [row])}", "data.decode_check_sec=0")
    with pytest.raises(KidasrError, match=r"^[^\n]*v\.jsonl:1: [^\n]*broken\.wav has samples that are NaN, infinite[^\n]*$"):
        job(tmp_path / "run", *options, f"trainer.dataloader_num_workers={workers}").run()


def test_transcripts_longer_than_the_decoder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KidasrError, match=r"^trainer\.generation_max_length=65: the model's decoder has 64 positions$"):
        job(tmp_path, *SHORT, "trainer.generation_max_length=65").run()


class Evil:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    options = (*SHORT, "data.limit_validation=2", "checkpoint.save_total_limit=1")
    whole = tmp_path / "whole"
    job(whole, *options).run()
    (whole / "metrics.json").unlink()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "pytorch_model.bin"):
        run_dir = tmp_path / name
        shutil.copytree(whole, run_dir)
        (checkpoint,) = (run_dir / "checkpoints").glob("checkpoint-*")
        state = checkpoint / "trainer_state.json"
        state.write_text(state.read_text(encoding="utf-8").replace('"max_steps": 8', '"max_steps": 9'), encoding="utf-8")
        trace = tmp_path / f"trace of {name}"
        evil = tmp_path / f"evil {name}"
        torch.save({"evil": Evil(trace)}, evil)
        shutil.copy(evil, checkpoint / name)
        if name == "pytorch_model.bin":
            (checkpoint / "model.safetensors").unlink()
        write_checksums(checkpoint)  # as who plants it would
        with contextlib.suppress(pickle.UnpicklingError, KidasrError):  # or nobody reads it
            job(run_dir, *options).run()
        assert not trace.exists()
        torch.load(evil, weights_only=False)
        assert trace.exists(), "it would have"


def test_a_corpus_of_all_that_is_odd_but_good_is_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = tmp_path / "spaces, né & 日本"
    train, validation = rows_of("train", 8, folder), rows_of("validation", 4, folder)
    texts = ["", "?!...", "مرحبا", "日本語 🎉", "zero\x00 tab\t", "a" * 40, "İstanbul", "e\u0301"]
    tone = 0.1 * np.sin(np.arange(16_000) / 5)
    for number, (row, text) in enumerate(zip(train, texts, strict=True)):
        row["text"], row["added"] = text, {"column": number}
        del row["duration_sec"]
    short = {**train[0], "utterance_id": "short", "audio_path": "audio/short.wav", "age": None}
    soundfile.write(folder / "audio" / "short.wav", tone[:160], 16_000)
    stereo = {**train[1], "utterance_id": "stereo", "audio_path": "audio/stereo.flac", "age": "unknown"}
    soundfile.write(folder / "audio" / "stereo.flac", np.stack([tone, tone / 2], axis=1), 44_100, subtype="PCM_24")
    silent = {**train[1], "utterance_id": "silent", "audio_path": "audio/silent.wav"}
    soundfile.write(folder / "audio" / "silent.wav", np.zeros(16_000), 16_000)
    manifest = write_rows(folder / "train.jsonl", [*train, short, stereo, silent])
    manifest.write_bytes(b"\xef\xbb\xbf" + manifest.read_bytes().replace(b"\n", b"\r\n"))
    for row in validation:
        row["session"] = "s1"
    options = [f"data.train='{manifest}'", f"data.validation='{write_rows(folder / 'v.jsonl', validation)}'"]
    job(folder / "run", *SHORT, *options, "padding=longest", "augment=specaugment", "curriculum=age").run()
    metrics = read_json(folder / "run" / "metrics.json")
    assert metrics["skipped_audio"] == {"train": 0, "validation": 0}
    assert not (folder / "run" / "bad_audio.jsonl").exists()
    assert [row["extra"] for row in read_jsonl(folder / "run" / "predictions.jsonl")] == [{"session": "s1"}] * 4
    state = read_json(folder / "run" / "checkpoints" / "checkpoint-8" / "trainer_state.json")
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses) == 8 and np.isfinite(losses).all()
    assert "1 silent recording(s) whose transcript has words" in caplog.text
