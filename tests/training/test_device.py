"""``trainer=cpu`` is a run on the CPU and ``trainer=gpu`` one on a GPU, or none."""

from pathlib import Path

import pytest
import torch

from kidasr.config.checks import ConfigError
from kidasr.training.device import describe_device
from kidasr.training.fine_tune import FineTune
from tests.conftest import composed, job
from tests.jobs.test_train import SHORT


def test_the_cpu_is_used_also_where_there_is_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    arguments = FineTune(**job(tmp_path, *SHORT).arguments)._arguments()
    assert (arguments.device.type, arguments.dataloader_pin_memory) == ("cpu", False)


def test_a_gpu_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ConfigError, match=r"^trainer\.use_cpu=false: no CUDA device found [^\n]*expected: [^\n]*trainer=cpu$"
    ):
        job(tmp_path, *SHORT, "trainer=gpu").run()
    assert not (tmp_path / "zero_shot.json").exists()


@pytest.mark.parametrize(("choice", "use_cpu"), [("cpu", True), ("gpu", False)])
def test_each_choice_says_where(choice: str, use_cpu: bool) -> None:
    assert composed(f"trainer={choice}").trainer.use_cpu is use_cpu


def test_bfloat16_trains_on_a_cpu(tmp_path: Path) -> None:
    job(tmp_path, "debug=smoke", "trainer.train_batch_size=2", "trainer.bf16=true").run()
    assert (tmp_path / "metrics.json").exists()


def test_a_run_says_where_it_runs_and_a_gpu_left_idle_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU is made up: there is none here."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Invented")
    with caplog.at_level("INFO"):
        for there in (False, True):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
            describe_device(use_cpu=True, half=torch.bfloat16 if there else None)
        describe_device(use_cpu=False, half=None)
    alone, idle, warned, used = (record.message for record in caplog.records)
    assert alone.startswith("device: CPU (no GPU here)") and alone.endswith("threads, float32")
    assert idle.startswith("device: CPU (trainer=cpu)") and idle.endswith("bfloat16 where it is safe, weights in float32")
    assert "NVIDIA Invented, and the run does not use it; expected: trainer=gpu" in warned
    assert used == "device: NVIDIA Invented, float32"
