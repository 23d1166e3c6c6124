"""Each hypothesis by its effect on real training: the micro Whisper on the embedded corpus, a few steps."""

import contextlib
import json
import logging
import multiprocessing
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline
from transformers.optimization import get_cosine_schedule_with_warmup

from kidasr.corpus.audio import load_audio
from kidasr.errors import KidasrError, Stopped
from kidasr.evidence.choice import choice_of
from kidasr.evidence.runs import read_run
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.training.fine_tune import FineTune
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import MICRO, job, read_json, read_jsonl, run_here

#: A short run: 8 steps of 4 utterances, two evaluations of 8.
SHORT = (
    "trainer.max_steps=8",
    "trainer.train_batch_size=4",
    "data.limit_train=16",
    "data.limit_validation=8",
    "checkpoint.eval_steps=4",
    "schedule.warmup_steps=2",
    "trainer.logging_steps=1",
    "data.tests=null",
)
EVERY_STEP = "checkpoint.eval_steps=1"
ALL_ON = ("experiment=all", "freeze.freeze_encoder_steps=4")
ERROR_KINDS = ("substitutions", "deletions", "insertions")


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "model" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def scripted_wer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for the score of the evaluations during training, so that the best step is known; all else is real."""

    def script(*rates: float) -> None:
        left = iter(rates)
        monkeypatch.setattr(ChildSpeechTrainer, "_score_evaluation", lambda self, heard: {"wer": next(left), "cer": 0.5})

    return script


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[ChildSpeechTrainer]:
    """The trainers that jobs build from here on."""
    built: list[ChildSpeechTrainer] = []
    original = FineTune._trainer

    def build(self: FineTune, *arguments: Any) -> ChildSpeechTrainer:
        built.append(original(self, *arguments))
        return built[-1]

    monkeypatch.setattr(FineTune, "_trainer", build)
    return built


# H1: checkpoints


def test_h1_aligned_keeps_the_best_and_legacy_loses_it_and_says_so(
    tmp_path: Path, scripted_wer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rates = (0.9, 0.8, 0.3, 0.7, 0.75, 0.8, 0.8, 0.85)  # the best is step 3
    scripted_wer(*rates)
    job(tmp_path / "aligned", *SHORT, EVERY_STEP, "checkpoint=aligned").run()
    assert read_json(tmp_path / "aligned" / "metrics.json")["best_step"] == 3
    kept = {path.name for path in (tmp_path / "aligned" / "checkpoints").glob("checkpoint-*")}
    assert kept == {f"checkpoint-{step}" for step in (3, 5, 6, 7, 8)}, "five in all, the best among them"
    best = load_file(tmp_path / "aligned" / "checkpoints" / "checkpoint-3" / "model.safetensors")
    assert same(weights(tmp_path / "aligned"), best)

    scripted_wer(*rates)
    caplog.clear()
    job(tmp_path / "legacy", *SHORT, EVERY_STEP, "checkpoint=legacy", "checkpoint.save_steps=2").run()
    assert read_json(tmp_path / "legacy" / "metrics.json")["best_step"] == 2, (
        "the last that was saved when it was the best so far"
    )
    assert "1 of 2 evaluations have no checkpoint" in caplog.text
    assert (
        "the lowest WER, 30.0% at step 3, has no checkpoint: keeping step 2 (WER 80.0%); saved later, and better: "
        in caplog.text
    )
    assert "and better: step 4 (70.0%)" in caplog.text
    assert len(list((tmp_path / "legacy" / "checkpoints").glob("checkpoint-*"))) == 3


def test_h1_the_luck_in_the_choice_is_estimated_from_all_evaluations(tmp_path: Path) -> None:
    job(tmp_path, *SHORT, EVERY_STEP, "trainer.zero_shot=false").run()
    run = read_run(tmp_path)
    choice, best = choice_of(run), run.metrics["best_step"]
    assert choice is not None and (choice.evaluations, choice.utterances) == (8, 8) and choice.optimism >= 0
    of_step = {entry["step"]: entry["eval_wer"] for entry in run.metrics["history"] if "eval_wer" in entry}
    assert choice.wer == pytest.approx(of_step[best]) == pytest.approx(run.metrics["final"]["wer"])
    assert "It was chosen among 8 evaluations of 8 utterances." in (tmp_path / "report.html").read_text(encoding="utf-8")


# H2: schedule, early stopping, and the keys that were once forgotten


def test_h2_the_learning_rate_follows_a_cosine(tmp_path: Path, trainers: list[ChildSpeechTrainer]) -> None:
    job(tmp_path, *SHORT, "schedule=cosine", "optim.learning_rate=0.001").run()
    drawn = [entry["learning_rate"] for entry in trainers[0].state.log_history if "loss" in entry]
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.001)
    schedule = get_cosine_schedule_with_warmup(optimizer, 2, 8)
    expected = []
    for _ in range(8):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert drawn == pytest.approx(expected)


def test_h2_patience_ends_the_run_and_its_best_model_is_kept(
    tmp_path: Path, scripted_wer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scripted_wer(0.9, 0.5, 0.6, 0.6, 0.5, 0.4, 0.4, 0.4)
    with caplog.at_level("INFO"):
        job(tmp_path, *SHORT, EVERY_STEP, "early_stopping=patience_5", "early_stopping.patience=3").run()
    assert "early stopping: after 3 evaluations without a lower WER" in caplog.text
    assert "early stopping: step 5, no lower WER in 3 evaluations" in caplog.text
    assert {key: read_json(tmp_path / "metrics.json")[key] for key in ("best_step", "steps")} == {"best_step": 2, "steps": 5}


def test_h2_optimizer_keys_reach_the_trainer(tmp_path: Path, trainers: list[ChildSpeechTrainer]) -> None:
    job(tmp_path, *SHORT, "optim=adafactor", "optim.weight_decay=0.3", "optim.max_grad_norm=0.7").run()
    arguments = trainers[0].args
    assert (arguments.optim, arguments.weight_decay, arguments.max_grad_norm) == ("adafactor", 0.3, 0.7)
    optimizer = trainers[0].optimizer
    assert optimizer is not None
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.3, 0.0}
    assert "Adafactor" in type(getattr(optimizer, "optimizer", optimizer)).__name__


# H3: frozen encoder


def encoder_at(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    state = load_file(run_dir / "checkpoints" / f"checkpoint-{step}" / "model.safetensors")
    return {name: tensor for name, tensor in state.items() if ".encoder." in name}


def pretrained_encoder() -> dict[str, torch.Tensor]:
    state = load_file(MICRO / "model.safetensors")
    return {name: tensor.float() for name, tensor in state.items() if ".encoder." in name}


def test_h3_the_encoder_stays_until_the_step_and_moves_after_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job(tmp_path, *SHORT, "freeze=encoder_1000", "freeze.freeze_encoder_steps=4", "checkpoint.eval_steps=4").run()
    before = pretrained_encoder()
    assert same(before, encoder_at(tmp_path, 4))
    after = encoder_at(tmp_path, 8)
    assert [name for name in before if torch.equal(before[name], after[name])] == ["model.encoder.embed_positions.weight"]
    assert re.search(r"encoder +\d+[\d,]+ +no +-", caplog.text), "the table of components"
    assert re.search(r"decoder +\d+[\d,]+ +yes +0\.0005", caplog.text)


@pytest.mark.parametrize(("freeze", "moves"), [("none", True), ("encoder_all", False)])
def test_h3_without_a_freeze_and_with_one_of_the_whole_run(tmp_path: Path, freeze: str, moves: bool) -> None:
    job(tmp_path, *SHORT, f"freeze={freeze}").run()
    assert same(pretrained_encoder(), encoder_at(tmp_path, 8)) != moves


def test_h3_a_freeze_that_outlasts_the_run_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job(tmp_path, *SHORT, "freeze=encoder_1000", "freeze.freeze_encoder_steps=9").run()
    assert "freeze.freeze_encoder_steps=9: the run ends after 8 steps" in caplog.text
    assert same(pretrained_encoder(), encoder_at(tmp_path, 8))


@pytest.mark.parametrize("step", [2, 6])
def test_h3_a_run_resumed_before_or_after_the_step_ends_as_if_it_had_not_stopped(tmp_path: Path, step: int) -> None:
    options = (*SHORT, *ALL_ON, "checkpoint.eval_steps=2", "checkpoint.save_total_limit=8")
    job(tmp_path / "whole", *options).run()
    checkpoints = tmp_path / "again" / "checkpoints"
    shutil.copytree(tmp_path / "whole" / "checkpoints", checkpoints)
    for folder in checkpoints.glob("checkpoint-*"):
        if int(folder.name.rpartition("-")[2]) > step:
            shutil.rmtree(folder)
    job(tmp_path / "again", *options).run()
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "again"))
    whole, again = (read_json(tmp_path / name / "metrics.json") for name in ("whole", "again"))
    assert whole == again


def test_a_run_stopped_after_its_end_or_within_a_checkpoint_is_not_trained_further(
    tmp_path: Path, scripted_wer: Any
) -> None:
    options = (*SHORT, EVERY_STEP, "early_stopping=patience_5", "early_stopping.patience=3")
    scripted_wer(0.9, 0.5, 0.6, 0.6, 0.6)
    job(tmp_path, *options).run()
    whole = read_json(tmp_path / "metrics.json")
    kept = weights(tmp_path)
    (tmp_path / "metrics.json").unlink()
    (tmp_path / "checkpoints" / "checkpoint-9").mkdir()  # cut short: no trainer state
    job(tmp_path, *options).run()
    assert read_json(tmp_path / "metrics.json") == whole
    assert same(weights(tmp_path), kept)


# H4: SpecAugment


def test_h4_masks_reach_the_training_batches_alone_and_differ_by_epoch(
    tmp_path: Path, trainers: list[ChildSpeechTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    original = ChildSpeechDataset.__getitem__

    def record(self: ChildSpeechDataset, index: Any) -> Any:
        example = original(self, index)
        if self.utterances[index[1] if isinstance(index, tuple) else index] is self.utterances[0]:
            seen[self.augment is not None].append(example["input_features"])
        return example

    monkeypatch.setattr(ChildSpeechDataset, "__getitem__", record)
    job(tmp_path, *SHORT, "augment=specaugment").run()
    training, validation = seen[True], seen[False]
    assert len(training) == 2, "8 steps of 4 are two epochs of 16"
    assert not torch.equal(*training)
    assert len(validation) > 2 and all(torch.equal(validation[0], other) for other in validation)
    clean = original(ChildSpeechDataset(trainers[0].train_dataset.utterances, trainers[0].recogniser), 0)
    assert not torch.equal(training[0], clean["input_features"])


# H5: curriculum


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """(epoch, age bucket) of each training utterance in the order in which the trainer drew them."""
    record: list[tuple[int, str]] = []
    original = ChildSpeechDataset.__getitem__

    def get(self: ChildSpeechDataset, index: Any) -> Any:
        if isinstance(index, tuple):
            record.append((index[0], self.utterances[index[1]].age_bucket))
        return original(self, index)

    monkeypatch.setattr(ChildSpeechDataset, "__getitem__", get)
    return record  # type: ignore[return-value]


def changes(ages: list[str]) -> int:
    return sum(one != other for one, other in pairwise(ages))


@pytest.mark.parametrize(
    ("curriculum", "order"),
    [
        ("age", ["3-4", "5-6", "7-8", "9-10", "11-12", "13+"]),
        ("age_oldest_first", ["13+", "11-12", "9-10", "7-8", "5-6", "3-4"]),
        ("none", None),
    ],
)
def test_h5_the_batches_that_the_trainer_draws_are_in_order_of_age(
    tmp_path: Path, drawn: list[tuple[int, str]], curriculum: str, order: list[str] | None
) -> None:
    job(tmp_path, *SHORT, f"curriculum={curriculum}", "data.limit_train=24", "trainer.max_steps=12").run()
    for epoch in (0, 1):
        ages = [age for drawn_in, age in drawn if drawn_in == epoch]
        assert len(ages) == 24
        if order:
            assert list(dict.fromkeys(ages)) == order and changes(ages) == 5
        else:
            assert changes(ages) > 10, "mixed"


def test_h5_the_order_goes_on_where_a_run_was_resumed(tmp_path: Path, drawn: list[tuple[int, str]]) -> None:
    options = (*SHORT, "curriculum=age", "checkpoint.eval_steps=2", "checkpoint.save_total_limit=8")
    job(tmp_path, *options).run()
    whole = list(drawn)
    drawn.clear()
    (tmp_path / "metrics.json").unlink()
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-8")
    job(tmp_path, *options).run()
    assert drawn == whole[6 * 4 :]
    assert {epoch for epoch, _ in drawn} == {1}


# Padding


def test_short_input_is_trained_and_heard_short_but_zero_shot_on_the_window(tmp_path: Path) -> None:
    for padding in ("max_length", "longest"):
        job(tmp_path / padding, *SHORT, f"padding={padding}").run()
    window, short = (read_json(tmp_path / padding / "metrics.json") for padding in ("max_length", "longest"))
    assert window["zero_shot"] == short["zero_shot"]
    assert not same(weights(tmp_path / "max_length"), weights(tmp_path / "longest"))
    heard = [row["utterance_id"] for row in read_jsonl(tmp_path / "longest" / "predictions.jsonl")]
    manifest = [row["utterance_id"] for row in read_jsonl(MICRO.parent / "corpus" / "validation.jsonl")]
    assert heard == [one for one in manifest if one in heard], "in the order of the manifest, though heard shortest first"


def test_transcripts_of_short_input_are_bounded(tmp_path: Path) -> None:
    job(tmp_path, *SHORT, "padding=longest", "trainer.generation_max_tokens_per_sec=1").run()
    heard = [row["hypothesis"] for row in read_jsonl(tmp_path / "predictions.jsonl")]
    assert any(heard) and all(len(text.encode()) <= 4 for text in heard), "a token of this model is a byte, a batch 3 s"


def test_short_input_gives_the_same_weights_to_the_last_bit_also_after_a_resume(tmp_path: Path) -> None:
    options = (*SHORT, "padding=longest", "trainer.max_batch_sec=9", "curriculum=age", "augment=specaugment")
    for name in ("one", "two"):
        job(tmp_path / name, *options).run()
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))
    (tmp_path / "one" / "metrics.json").unlink()
    shutil.rmtree(tmp_path / "one" / "checkpoints" / "checkpoint-8")
    job(tmp_path / "one", *options).run()
    last = "checkpoints/checkpoint-8/model.safetensors"
    assert same(load_file(tmp_path / "one" / last), load_file(tmp_path / "two" / last))
    assert read_json(tmp_path / "one" / "metrics.json") == read_json(tmp_path / "two" / "metrics.json")


def test_evaluations_hear_a_part_of_the_validation_set_and_the_end_all_of_it(tmp_path: Path) -> None:
    corpus = MICRO.parent / "corpus"
    rows = [{**row, "audio_path": str(corpus / row["audio_path"])} for row in read_jsonl(corpus / "validation.jsonl")[:12]]
    (tmp_path / "v.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    limited = ("data.limit_validation=4", "data.full_validation_at_end=true")
    job(tmp_path / "run", *SHORT, f"data.validation={tmp_path / 'v.jsonl'}", *limited).run()
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["zero_shot"]["utterances"] == metrics["final"]["utterances"] == 12


# The run as a whole


@pytest.mark.parametrize(
    ("accumulated", "options"),
    [
        (4, ("trainer.train_batch_size=2",)),
        (8, ("padding=longest", "trainer.train_batch_size=8", "trainer.max_batch_sec=7")),
    ],
    ids=["equal", "of unequal size"],
)
def test_accumulated_batches_make_the_step_of_one_large_batch(
    tmp_path: Path, trainers: list[ChildSpeechTrainer], accumulated: int, options: tuple[str, ...]
) -> None:
    """Plain gradient descent, whose step shows the size of the gradient, which AdamW hides."""
    step = ("trainer.max_steps=1", "data.limit_train=8", "data.limit_validation=2", "schedule.warmup_steps=0", EVERY_STEP)
    descent = ("optim.optim=sgd", "optim.learning_rate=0.1", "optim.weight_decay=0", "optim.max_grad_norm=0")
    padding = [one for one in options if one.startswith("padding")]
    job(tmp_path / "one", *step, *descent, *padding, "trainer.train_batch_size=8").run()
    job(tmp_path / "more", *step, *descent, *options, f"trainer.gradient_accumulation_steps={accumulated}").run()
    drawn = [len(batch) for batch in trainers[-1].batches.batches(0)]
    assert 1 < len(drawn) <= accumulated
    assert (len(set(drawn)) > 1) == ("padding=longest" in options)
    one, more = weights(tmp_path / "one"), weights(tmp_path / "more")
    assert all(torch.allclose(one[name], more[name], atol=1e-5) for name in one)
    assert not same(one, {name: tensor.float() for name, tensor in load_file(MICRO / "model.safetensors").items()})


@pytest.mark.parametrize("hypotheses", [("experiment=baseline",), ALL_ON], ids=["all off", "all on"])
def test_one_seed_gives_the_same_weights_to_the_last_bit(tmp_path: Path, hypotheses: tuple[str, ...]) -> None:
    options = (*SHORT, *hypotheses, "trainer.train_batch_size=8", "trainer.max_steps=6", "trainer.zero_shot=false")
    options += ("checkpoint.eval_steps=6", "checkpoint.save_steps=6")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for name, workers, seed in (("one", 0, 1), ("two", 2, 1), ("other", 0, 2)):
            job(tmp_path / name, *options, f"trainer.dataloader_num_workers={workers}", f"seed={seed}").run()
            torch.rand(3)  # the global state must not matter
            assert not multiprocessing.active_children(), "the next run would wait for the end of its workers"
    finally:
        torch.set_num_threads(threads)
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))
    assert read_json(tmp_path / "one" / "metrics.json") == read_json(tmp_path / "two" / "metrics.json")


def test_a_hypothesis_with_its_values_at_zero_is_the_baseline(tmp_path: Path) -> None:
    job(tmp_path / "off", *SHORT).run()
    zeros = ("augment.freq_mask_param=0", "augment.time_mask_param=0", "freeze.freeze_encoder_steps=0")
    job(tmp_path / "zero", *SHORT, "augment=specaugment", "freeze=encoder_1000", *zeros).run()
    assert same(weights(tmp_path / "off"), weights(tmp_path / "zero"))


@pytest.mark.figures
def test_the_run_folder_holds_what_it_should(tmp_path: Path) -> None:
    corpus = MICRO.parent / "corpus"
    rows = [{**row, "speaker_id": f"t{row['speaker_id']}"} for row in read_jsonl(corpus / "validation.jsonl")[:8]]
    rows = [{**row, "audio_path": str(corpus / row["audio_path"])} for row in rows]
    test_manifest = tmp_path / "test.jsonl"
    test_manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    wer = job(tmp_path, *SHORT, "experiment=all", "freeze.freeze_encoder_steps=3", f"data.test={test_manifest}").run()
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["final"]["wer"] == wer
    assert metrics["steps"] == 8
    for part in ("zero_shot", "final", "test"):
        score = metrics[part]
        assert {"wer", "cer", "words", "utterances", "by_age"} <= set(score)
        assert sum(rates["words"] for rates in score["by_age"].values()) == score["words"]
    predictions = read_jsonl(tmp_path / "predictions.jsonl")
    assert len(predictions) == metrics["final"]["utterances"] == 8
    errors = sum(one["substitutions"] + one["deletions"] + one["insertions"] for one in predictions)
    assert errors / sum(one["words"] for one in predictions) == pytest.approx(wer)
    assert {"utterance_id", "speaker_id", "age_bucket", "reference", "hypothesis"} <= set(predictions[0])
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Ages in training" in page and "share of each age in the training utterances, by optimizer step" in page
    assert read_json(tmp_path / "environment.json")["seed"] == 1
    # A plain checkpoint: the stock pipeline transcribes as the run did.
    recognise = pipeline("automatic-speech-recognition", model=str(tmp_path / "model"))
    first = job(tmp_path / "x", *SHORT).arguments["data"].load().validation[0]
    expected = next(one["hypothesis"] for one in predictions if one["utterance_id"] == first.utterance_id)
    heard: Any = recognise({"raw": load_audio(first), "sampling_rate": 16_000})
    assert heard["text"].strip() == expected


def manifest_of(path: Path, split: str, rows: slice, prefix: str = "", **changed: str) -> Path:
    """Some rows of an embedded manifest, with speakers of their own."""
    corpus = MICRO.parent / "corpus"
    read = [{**row, "speaker_id": f"{prefix}{row['speaker_id']}"} for row in read_jsonl(corpus / f"{split}.jsonl")[rows]]
    read = [{**row, "audio_path": str(corpus / row["audio_path"]), **changed} for row in read]
    path.write_text("\n".join(map(json.dumps, read)), encoding="utf-8")
    return path


def test_each_test_set_is_scored_before_and_after_and_a_stopped_run_transcribes_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kids = manifest_of(tmp_path / "k.jsonl", "validation", slice(0, 60, 6), "k")
    adults = manifest_of(tmp_path / "a.jsonl", "adults", slice(0, 30, 3))
    gone = {"audio_path": "gone.wav", "text": "a", "speaker_id": "x"}
    adults.write_text(f"{adults.read_text(encoding='utf-8')}\n{json.dumps(gone)}", encoding="utf-8")
    sets = (f"data.test={kids}", f"data.tests={{adults: {adults}}}", "data.on_bad_audio=skip")
    # So high a learning rate that all is forgotten.
    options = (*(one for one in SHORT if one != "data.tests=null"), *sets, "optim.learning_rate=0.05")
    with caplog.at_level("INFO"):
        job(tmp_path / "whole", *options).run()
    metrics = read_json(tmp_path / "whole" / "metrics.json")
    assert list(metrics["tests"]) == ["test", "adults"] and metrics["test"] == metrics["tests"]["test"]["final"]
    assert metrics["skipped_audio"] == {"train": 0, "validation": 0, "test": 0, "adults": 1}
    for name, one in {"": metrics, **metrics["tests"]}.items():
        rows = read_jsonl(tmp_path / "whole" / f"predictions{name and '_'}{name}.jsonl")
        wrong, words = (sum(sum(row[key] for key in keys) for row in rows) for keys in (ERROR_KINDS, ["words"]))
        assert one["final"]["wer"] == pytest.approx(wrong / words) and one["final"]["utterances"] == len(rows)
        assert one["change"]["delta_wer"] == pytest.approx(one["final"]["wer"] - one["zero_shot"]["wer"])
    assert (
        metrics["tests"]["adults"]["change"]["verdict"] == "worse" and metrics["tests"]["adults"]["zero_shot"]["wer"] < 0.3
    )
    assert re.search(r"^ adults +10 +\d+ +[\d.]+% +[\d.]+% +\+[\d.]+ +\+[\d.]+ to \+[\d.]+$", caplog.text, re.MULTILINE)
    warned = [one.message for one in caplog.records if "training made it worse on: " in one.message]
    assert len(warned) == 1 and "adults, +" in warned[0]
    page = (tmp_path / "whole" / "report.html").read_text(encoding="utf-8")
    assert "Warning: training made it worse on: " in page and "Set adults: WER by age" in page

    heard: list[int] = []
    original = ChildSpeechTrainer.transcribe

    def stopped_at(after: int) -> Any:
        def transcribe(self: ChildSpeechTrainer, dataset: ChildSpeechDataset) -> Any:
            if len(heard) == after:
                raise Stopped("as by a signal")
            heard.append(len(dataset))
            return original(self, dataset)

        return transcribe

    for after in (2, 4, 99):  # during zero-shot, after the first test set, never
        monkeypatch.setattr(ChildSpeechTrainer, "transcribe", stopped_at(after))
        with contextlib.suppress(Stopped):
            job(tmp_path / "stopped", *options).run()
    assert heard == [8, 10, 10, 10, 10], "validation and both test sets before, both test sets after"
    assert read_json(tmp_path / "stopped" / "metrics.json") == metrics
    for name in ("predictions_test.jsonl", "predictions_adults.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_test_set_without_words_ends_before_training(tmp_path: Path) -> None:
    adults = manifest_of(tmp_path / "a.jsonl", "adults", slice(2), text="[laughs]")
    with pytest.raises(KidasrError, match=r"^data\.tests\.adults: every reference is empty after normalization"):
        job(tmp_path / "run", *SHORT[:-1], f"data.tests.adults={adults}").run()


def test_a_finished_run_without_its_checkpoints_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = (
        "debug=smoke",
        "report=none",
        "data.tests=null",
        "checkpoint.keep_when_finished=false",
        f"hydra.run.dir={tmp_path}",
    )
    assert run_here(monkeypatch, *run) == 0
    assert not (tmp_path / "checkpoints").exists() and (tmp_path / "model" / "model.safetensors").exists()
    weights_then = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    assert run_here(monkeypatch, *run[:-2], run[-1]) == 0, "with the key's other value too"
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == weights_then


def test_a_finished_folder_and_one_of_another_config_are_not_overwritten(tmp_path: Path) -> None:
    job(tmp_path, *SHORT).run()
    with pytest.raises(KidasrError, match="holds a finished run of another config"):
        job(tmp_path, *SHORT, "seed=2").run()
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(KidasrError, match="holds an unfinished run of another config"):
        job(tmp_path, *SHORT, "seed=2").run()


def test_a_warm_up_longer_than_the_epochs_is_found_once_the_set_is_read(tmp_path: Path) -> None:
    options = (*SHORT, "trainer.max_steps=-1", "trainer.num_train_epochs=2", "schedule.warmup_steps=9")
    with pytest.raises(
        KidasrError,
        match=r"^schedule\.warmup_steps=9: longer than the run; expected: at most its 8 steps, or step_scale=auto",
    ):
        job(tmp_path, *options).run()


def test_a_speaker_in_two_sets_and_a_missing_recording_end_before_training(tmp_path: Path) -> None:
    with pytest.raises(KidasrError, match=r"data\.validation: \d+ speaker\(s\) are in data\.train too"):
        job(tmp_path / "a", *SHORT, "data.validation=${data.train}").run()
    row = {"audio_path": "gone.wav", "text": "a", "speaker_id": "s9", "duration_sec": 1}
    (tmp_path / "v.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(KidasrError, match=r"v\.jsonl:1: .*gone\.wav: no such file"):
        job(tmp_path / "b", *SHORT, f"data.validation={tmp_path / 'v.jsonl'}").run()


def test_a_validation_set_without_words_ends_before_training(tmp_path: Path) -> None:
    source = job(tmp_path / "x", *SHORT).arguments["data"].load().validation[0].audio_path
    row = {"audio_path": str(source), "text": "[laughs]", "speaker_id": "s9"}
    (tmp_path / "v.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(KidasrError, match="every reference is empty after normalization"):
        job(tmp_path / "run", *SHORT, f"data.validation={tmp_path / 'v.jsonl'}").run()
