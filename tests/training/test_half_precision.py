"""Half precision on a CPU, and encodings that are kept, change how fast a run is, and nothing that must be exact."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from kidasr.errors import Stopped
from kidasr.runs.files import read_json
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


def test_keeping_encodings_changes_no_bit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for name, gb in (("kept", 1), ("forgotten", 1e-9)):  # room for none
        job(tmp_path / name, *RUN, "freeze=encoder_all", f"trainer.keep_encodings_gb={gb}").run()
    one, other = weights(tmp_path / "kept"), weights(tmp_path / "forgotten")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_json(tmp_path / "kept" / "metrics.json") == read_json(tmp_path / "forgotten" / "metrics.json")
    assert "encodings that do not change are kept while it is frozen, up to 1 GB" in caplog.text


@pytest.mark.parametrize(
    "overrides", [("freeze=none",), ("freeze.freeze_encoder_steps=2",)], ids=["not frozen", "too short"]
)
def test_nothing_is_kept_where_it_would_not_be_used_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, overrides: tuple[str, ...]
) -> None:
    caplog.set_level("INFO")
    job(tmp_path, *RUN, *overrides).run()
    assert "encodings" not in caplog.text
