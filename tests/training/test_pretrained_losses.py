"""The curriculum by the pretrained model's own loss: the losses, who shares them, and the batches that follow from them."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kidasr.training.pretrained_losses
from kidasr.errors import Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.recognition.likelihood import losses
from kidasr.recognition.token_loss import token_losses
from kidasr.runs.sweeps import SWEEP
from tests.conftest import MICRO, job, read_json

RUN = (
    "curriculum=loss",
    "curriculum.parts=4",
    "padding=longest",
    "data.limit_train=16",
    "data.limit_validation=2",
    "data.tests=null",
    "trainer.max_steps=4",
    "trainer.train_batch_size=4",
    "trainer.per_device_eval_batch_size=5",
    "trainer.zero_shot=false",
    "checkpoint.eval_steps=4",
    "schedule.warmup_steps=0",
    "report=none",
)


def of_file(path: Path) -> dict[str, float]:
    content = read_json(path)
    return dict(zip(content["utterance_ids"], content["losses"], strict=True))


def test_easy_utterances_come_first_and_a_run_that_is_stopped_computes_their_losses_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drawn: list[str] = []
    original = ChildSpeechDataset.__getitem__

    def get(self: ChildSpeechDataset, index: Any) -> Any:
        if isinstance(index, tuple):
            drawn.append(self.utterances[index[1]].utterance_id)
        return original(self, index)

    def stopped(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return token_losses(*arguments, **options)

    monkeypatch.setattr(ChildSpeechDataset, "__getitem__", get)
    with monkeypatch.context() as patch:
        patch.setattr(kidasr.training.pretrained_losses, "token_losses", stopped)
        with pytest.raises(Stopped):
            job(tmp_path, *RUN).run()
    assert not (tmp_path / "training_losses.json").exists() and not drawn
    made = job(tmp_path, *RUN)
    made.run()
    found = of_file(tmp_path / "training_losses.json")
    means = [np.mean([found[one] for one in drawn[start : start + 4]]) for start in range(0, 16, 4)]
    assert means == sorted(means) and means[0] < 0.5 * means[-1]

    whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    utterances = made.arguments["data"].load().train
    one_by_one = losses(utterances, whisper, made.arguments["padding"], lower_case=False)
    assert [found[one.utterance_id] for one in utterances] == pytest.approx(list(one_by_one), abs=1e-4)

    (tmp_path / "metrics.json").unlink()
    caplog.set_level("INFO")
    job(tmp_path, *RUN).run()
    assert f"curriculum: using the losses in {tmp_path / 'training_losses.json'}" in caplog.text


def test_the_runs_of_a_sweep_share_losses_if_they_depend_on_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SWEEP).touch()
    short = (*RUN, "trainer.max_steps=1", "checkpoint.eval_steps=1", "data.limit_train=8")
    job(tmp_path / "one", *short).run()
    caplog.set_level("INFO")
    job(tmp_path / "two", *short, "seed=2", "optim.learning_rate=0.1").run()
    assert "curriculum: using the losses in" in caplog.text
    assert of_file(tmp_path / "one" / "training_losses.json") == of_file(tmp_path / "two" / "training_losses.json")
    assert len(list(tmp_path.glob("training_losses-*.json"))) == 1
    job(tmp_path / "three", *short, "padding=max_length").run()
    assert len(list(tmp_path.glob("training_losses-*.json"))) == 2, "of another input length"
