"""Averages of weights: which mean it is, that the run keeps it, and that a stop changes no bit."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from kidasr.errors import KidasrError, Stopped
from kidasr.training.average import Average, AverageEma, AverageLast
from kidasr.training.averaging import add_to_mean
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import MICRO, composed, job, read_json, read_jsonl

#: 8 steps of 2 utterances; evaluations of 4 after 2, 4, 6 and 8, all checkpoints kept.
SHORT = (
    "debug=smoke",
    "trainer.max_steps=8",
    "checkpoint.eval_steps=2",
    "checkpoint.save_total_limit=9",
    "trainer.zero_shot=false",
    "data.tests=null",
    "report=none",
    "schedule.warmup_steps=0",
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def checkpoints(run_dir: Path, *steps: int) -> list[dict[str, torch.Tensor]]:
    return [weights(run_dir / "checkpoints" / f"checkpoint-{step}") for step in steps]


def is_mean_of(model: dict[str, torch.Tensor], several: list[dict[str, torch.Tensor]], shares: list[float]) -> bool:
    def mean(name: str) -> torch.Tensor:
        return torch.stack([share * one[name] for share, one in zip(shares, several, strict=True)]).sum(0)

    expected = {name: mean(name) for name in several[0]}
    return all(torch.allclose(model[name], expected[name], rtol=0, atol=2e-7) for name in model if name in expected)


def means(average: Average, steps: int, until: int) -> tuple[torch.Tensor, list[int]]:
    """The share of each step in a mean, shape ``(steps,)``, and the steps that count: the weights after a step are a unit
    vector."""
    mean: dict[str, torch.Tensor] = {}
    counted = []
    for step in range(1, until + 1):
        if share := average.weight(step, steps):
            add_to_mean(mean, {"w": torch.eye(steps, dtype=torch.float64)[step - 1]}, share)
            counted.append(step)
    return mean.get("w", torch.zeros(steps, dtype=torch.float64)), counted


@given(st.integers(1, 300), st.integers(0, 99).map(lambda percent: percent / 100), st.integers(1, 40))
def test_the_mean_of_the_last_part_weighs_its_steps_alike(steps: int, from_share: float, snapshots: int) -> None:
    shares, counted = means(AverageLast(0, from_share, snapshots), steps, steps)
    assert counted[-1] == steps, "the last step counts"
    assert len(counted) <= snapshots
    assert len(counted) >= min(snapshots, int(steps * (1 - from_share))) / 2, "spread over all of the part"
    assert counted[0] > steps * from_share, "nothing before the part"
    assert torch.allclose(shares[[one - 1 for one in counted]], torch.full((len(counted),), 1 / len(counted)).double())


@given(st.integers(1, 300), st.integers(1, 99).map(lambda percent: percent / 100), st.integers(1, 60), st.data())
def test_a_moving_average_halves_with_its_half_life_wherever_it_ends(
    steps: int, half_life: float, snapshots: int, data: st.DataObject
) -> None:
    until = data.draw(st.integers(1, steps))
    shares, counted = means(AverageEma(0, half_life, snapshots), steps, until)
    if counted:
        expected = torch.tensor([0.5 ** ((counted[-1] - one) / (half_life * steps)) for one in counted]).double()
        assert torch.allclose(shares[[one - 1 for one in counted]], expected / expected.sum(), atol=1e-6)


LAST = ("average=last", "average.snapshots=2")  # steps 6 and 8


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_if_asked(trainer: ChildSpeechTrainer) -> None:
        if trainer.state.global_step == step:
            raise Stopped("SIGTERM")

    monkeypatch.setattr(ChildSpeechTrainer, "stop_if_asked", stop_if_asked)


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("last") / "run"
    job(run_dir, *SHORT, *LAST).run()
    return run_dir


def test_the_mean_is_kept_scored_and_saved_and_the_run_says_what_it_changed(last: Path) -> None:
    assert is_mean_of(weights(last / "model"), checkpoints(last, 6, 8), [0.5, 0.5])
    metrics = read_json(last / "metrics.json")
    assert metrics["best_step"] is None
    assert metrics["kept"] == "mean of steps 6, 8"
    assert metrics["average"]["wer"] == metrics["final"]["wer"], "evaluations have the whole validation set"
    assert metrics["average"]["last_step"] == 8
    change = metrics["final"]["wer"] - metrics["average"]["last_wer"]
    assert metrics["average"]["change"]["delta_wer"] == pytest.approx(change)


@pytest.mark.parametrize("step", [5, 7])
def test_a_run_stopped_before_or_within_the_mean_ends_as_one_that_was_not(
    last: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        stop_at(step, patch)
        with contextlib.suppress(Stopped):
            job(tmp_path / "run", *SHORT, *LAST).run()
    assert (tmp_path / "run" / "checkpoints" / f"stopped-{step}" / "average.safetensors").exists() == (step == 7)
    job(tmp_path / "run", *SHORT, *LAST).run()
    one, other = weights(last / "model"), weights(tmp_path / "run" / "model")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_jsonl(last / "predictions.jsonl") == read_jsonl(tmp_path / "run" / "predictions.jsonl")


def test_training_that_had_ended_finds_its_mean_again(last: Path, tmp_path: Path) -> None:
    before = weights(last / "model")
    (last / "metrics.json").unlink()  # as if killed while transcribing
    job(last, *SHORT, *LAST).run()
    after = weights(last / "model")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_part_of_the_way_back_to_the_pretrained_weights(tmp_path: Path) -> None:
    job(tmp_path / "run", *SHORT, "average.pretrained=0.25").run()
    metrics = read_json(tmp_path / "run" / "metrics.json")
    best = min((one for one in metrics["history"] if "eval_wer" in one), key=lambda one: one["eval_wer"])["step"]
    both = [*checkpoints(tmp_path / "run", best), weights(MICRO)]
    assert is_mean_of(weights(tmp_path / "run" / "model"), both, [0.75, 0.25])
    assert metrics["kept"] == f"step {best}, 25% of the way back to the pretrained weights"


def test_the_best_checkpoints_are_kept_until_they_are_averaged(tmp_path: Path) -> None:
    wide = [one for one in SHORT if "save_total_limit" not in one]
    options = (*wide, "checkpoint.eval_steps=1", "checkpoint.save_total_limit=2", "average=best", "average.checkpoints=2")
    job(tmp_path / "all", *options, "checkpoint.save_total_limit=9").run()
    metrics = read_json(tmp_path / "all" / "metrics.json")
    evaluations = [one for one in metrics["history"] if "eval_wer" in one]
    best = sorted(one["step"] for one in sorted(evaluations, key=lambda one: (one["eval_wer"], one["step"]))[:2])
    assert metrics["kept"] == f"mean of steps {best[0]}, {best[1]}"
    assert is_mean_of(weights(tmp_path / "all" / "model"), checkpoints(tmp_path / "all", *best), [0.5, 0.5])
    job(tmp_path / "two", *options).run()
    one, other = weights(tmp_path / "all" / "model"), weights(tmp_path / "two" / "model")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_stops_early_before_its_mean_begins_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    never_better: Any = ("optim.learning_rate=1e-9", "early_stopping=patience_5", "early_stopping.patience=1")
    options = (*SHORT, *never_better, "average=last", "average.from_share=0.9")
    with caplog.at_level(logging.WARNING):
        job(tmp_path / "run", *options).run()
    assert "before the first step that counts; keeping the best checkpoint instead" in caplog.text
    assert read_json(tmp_path / "run" / "metrics.json")["kept"] == "step 2"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["average=best", "average.checkpoints=6"], "average.checkpoints=6: only 5 checkpoints are kept"),
        (["average=last", "average.from_share=1"], "average.from_share=1"),
    ],
)
def test_what_can_not_be_averaged_is_one_line(options: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(KidasrError) as caught:
        job(tmp_path / "run", *options)
    assert told in str(caught.value)
    assert composed("average=last").average.pretrained == 0
