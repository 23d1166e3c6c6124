"""Half precision on a CPU, and encodings that are kept, change how fast a run is, and nothing that must be exact."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from kidasr.errors import Stopped
from kidasr.runs.files import read_json
from kidasr.training.fine_tune import FineTune
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import job
from tests.jobs.test_train import weights

RUN = (
    "padding=longest",
    "data.limit_train=12",
    "data.limit_validation=6",
    "trainer.max_steps=8",
    "trainer.train_batch_size=4",
    "trainer.zero_shot=false",
    "checkpoint=aligned",
    "checkpoint.eval_steps=4",
    "schedule.warmup_steps=2",
    "report=none",
    "report.card.full_window_utterances=4",
)


def stopped_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = ChildSpeechTrainer.training_step, [signal.SIGTERM]

    def with_signal(self: ChildSpeechTrainer, *arguments: Any, **options: Any) -> Any:
        if self.state.global_step == step and left:
            os.kill(os.getpid(), left.pop())
        return original(self, *arguments, **options)

    monkeypatch.setattr(ChildSpeechTrainer, "training_step", with_signal)


@pytest.mark.parametrize("frozen", ["freeze=none", "freeze=encoder_all"])
def test_a_run_in_bfloat16_that_is_stopped_ends_as_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: str
) -> None:
    """Also where encodings are kept, of which a resumed run has none at first."""
    options = (*RUN, frozen, "trainer.bf16=true")
    job(tmp_path / "whole", *options).run()
    stopped_at(6, monkeypatch)
    with pytest.raises(Stopped):
        job(tmp_path / "stopped", *options).run()
    job(tmp_path / "stopped", *options).run()
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_json(tmp_path / "whole" / "metrics.json") == read_json(tmp_path / "stopped" / "metrics.json")
    assert read_json(tmp_path / "whole" / "environment.json")["precision"] == "bfloat16"


def test_keeping_encodings_changes_no_bit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    for name, room in (("kept", 1e9), ("forgotten", 1.0)):
        monkeypatch.setattr(FineTune, "_kept_encodings", lambda *_, room=room: room)
        job(tmp_path / name, *RUN, "freeze=encoder_all").run()
    one, other = weights(tmp_path / "kept"), weights(tmp_path / "forgotten")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_json(tmp_path / "kept" / "metrics.json") == read_json(tmp_path / "forgotten" / "metrics.json")
    assert "encodings that do not change are kept while it is frozen, up to 1 GB" in caplog.text


NOT_KEPT = {
    "not frozen": ("freeze=none",),
    "too short": ("freeze.freeze_encoder_steps=2",),
    "no room": ("freeze=encoder_all", "trainer.keep_encodings_gb=0.0001"),
    "depends on the batch": ("freeze=encoder_all", "padding.mask=false"),
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_encodings_are_not_kept_where_that_is_no_use_or_not_exact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level("INFO")
    job(tmp_path, *RUN, "trainer.max_steps=4", *NOT_KEPT[name]).run()
    assert "encodings that do not change are kept" not in caplog.text
    assert ("GB: not kept (trainer.keep_encodings_gb)" in caplog.text) is (name == "no room")
