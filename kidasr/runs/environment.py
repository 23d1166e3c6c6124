"""A run's software and hardware, recorded to reproduce it. Environment variables are not recorded."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kidasr.config.secrets import hidden

PACKAGES = ("kidasr", "torch", "torchaudio", "transformers", "accelerate", "hydra-core", "jiwer", "numpy", "soundfile")

#: The keys that must be unchanged for a resumed run to be bit-identical.
DECIDES_BITS = ("commit", "packages", "cpu", "threads")


def environment(seed: int, precision: str = "float32") -> dict[str, Any]:
    """Versions, commit, hardware, precision, seed and command line of the running process.

    Args:
        seed: The run's seed.
        precision: The type in which most of the arithmetic is done.
    """
    import torch  # heavy

    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [hidden(argument) for argument in sys.argv],
        "seed": seed,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": None if (status := _git("status", "--porcelain")) is None else bool(status),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def _git(*arguments: str) -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def has_bfloat16_instructions() -> bool:
    """Whether the CPU multiplies matrices in bfloat16 by itself (AVX512-BF16 or AMX); elsewhere float32 is faster."""
    return bool({"avx512_bf16", "amx_bf16"} & set((_cpu("flags") or "").split()))


def _cpu_name() -> str:
    return _cpu("model name") or platform.processor() or platform.machine()


def _cpu(field: str) -> str | None:
    """A field of the first CPU in ``/proc/cpuinfo``; None if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), None)
