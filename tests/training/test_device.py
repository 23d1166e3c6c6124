"""``trainer=cpu`` is a run on the CPU and ``trainer=gpu`` one on a GPU, or none."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kidasr.config.checks import ConfigError
from kidasr.runs.environment import has_bfloat16_instructions
from kidasr.training import device
from kidasr.training.device import check_gpu_per_process, describe_device, prepare_gpu
from kidasr.training.fine_tune import FineTune
from kidasr.training.stopping import StopSignals
from kidasr.training.trainer import ChildSpeechTrainer
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


@pytest.mark.skipif(not has_bfloat16_instructions(), reason="no instructions for bfloat16, so no kernels are compiled")
def test_kernels_for_shapes_that_do_not_come_again_are_not_kept() -> None:
    code = (
        "import psutil, torch; from kidasr.training.device import prepare_cpu; prepare_cpu(1)\n"
        "rss_mb = lambda: psutil.Process().memory_info().rss / 1e6\n"
        "def products(shapes):\n"
        "    for rows in shapes:\n"
        "        for columns in (384, 1536): torch.ones(rows, 384).bfloat16() @ torch.ones(384, columns).bfloat16()\n"
        "products(range(100, 200)); before = rss_mb(); products(range(200, 400)); print(rss_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100, "MB; 280 if all 400 are kept"


def trainer(run_dir: Path, *overrides: str) -> ChildSpeechTrainer:
    prepared = FineTune(**job(run_dir, *overrides).arguments)
    arguments, recogniser, sets = prepared._arguments(), prepared.model.load(), prepared.data.load()
    batches = prepared._batches(arguments, sets.train, recogniser.window_sec)
    return prepared._trainer(arguments, recogniser, sets, batches, [], StopSignals())


@pytest.fixture
def four_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one machine; this is the third."""
    for name in ("SLURM_GPUS_PER_TASK", "SLURM_TRES_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")


@pytest.mark.usefixtures("four_processes")
def test_more_processes_than_gpus_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device, "is_torch_tf32_available", lambda: True)
    line = r"^trainer\.num_processes: 4 processes on this machine see 2 GPU\(s\); expected: [^\n]*gpus_per_node=4$"
    with pytest.raises(ConfigError, match=line):
        job(tmp_path, *SHORT, "trainer=gpu").run()


@pytest.mark.usefixtures("four_processes")
@pytest.mark.parametrize(
    ("gpus", "variable", "rank"),
    [(4, None, "2"), (1, ("SLURM_GPUS_PER_TASK", "1"), "0"), (1, ("SLURM_TRES_PER_TASK", "cpu=4,gres/gpu=1"), "0")],
)
def test_each_process_takes_a_gpu_of_its_own(
    gpus: int, variable: tuple[str, str] | None, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where SLURM shows each task only its own GPU, that has the number 0 for every task."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if variable:
        monkeypatch.setenv(*variable)
    check_gpu_per_process()
    assert os.environ["LOCAL_RANK"] == rank


def test_trainer_gpu_reaches_the_loader_that_the_trainer_iterates(tmp_path: Path) -> None:
    """All that can be set without a GPU, which bf16 and tf32 can't, for all that accelerate does to the loader."""
    gpu = ("trainer=gpu", "trainer.tf32=null", "trainer.bf16=false")
    loader: Any = trainer(tmp_path, *gpu).get_train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor, loader.pin_memory, loader._non_blocking) == (4, 4, True, True)
    alone = trainer(tmp_path, *gpu, "trainer.dataloader_num_workers=0").get_train_dataloader()
    assert (alone.num_workers, alone.prefetch_factor) == (0, None), "PyTorch refuses to prefetch without workers"


def test_cudnn_attention_is_off_on_a_gpu() -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        prepare_gpu()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_a_run_logs_the_size_of_its_checkpoints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with caplog.at_level("INFO"):
        job(tmp_path, *SHORT, "trainer.zero_shot=false").run()
    found = re.search(r"checkpoints: up to ([\d.]+) MB each, at most 5 are kept; hydra\.launcher\.signal_", caplog.text)
    assert found, caplog.text
    size = sum(path.stat().st_size for path in (tmp_path / "checkpoints" / "checkpoint-4").iterdir())
    assert float(found[1]) == pytest.approx(size / 1e6, rel=0.05)


def test_a_run_says_where_it_runs_and_a_gpu_left_idle_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU is made up: there is none here; and so is a CPU with bfloat16 instructions."""
    monkeypatch.setattr(device, "has_bfloat16_instructions", lambda: True)
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


def test_bfloat16_on_a_cpu_without_its_instructions_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "has_bfloat16_instructions", lambda: False)
    describe_device(use_cpu=True, half=None)
    assert "instructions" not in caplog.text
    describe_device(use_cpu=True, half=torch.bfloat16)
    assert "no bfloat16 instructions" in caplog.text and "expected: trainer.bf16=false" in caplog.text
