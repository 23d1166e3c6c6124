"""Runs one job after the other in the processes of one torchrun, which takes longer to start than they do to train.

``torchrun ... -m tests.training.two_processes JOBS.json``: a list of ``{"run_dir": ..., "overrides": [...], "stop_at": 4}``.
At the step ``stop_at`` the second process alone gets SIGTERM.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from kidasr.errors import Stopped
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import job


class StoppedTrainer(ChildSpeechTrainer):
    """Its second process is told to stop in a step."""

    stop_at: int | None = None

    def training_step(self, *arguments: Any, **options: Any) -> Any:
        if self.state.global_step == StoppedTrainer.stop_at and os.environ["RANK"] == "1":
            StoppedTrainer.stop_at = None
            os.kill(os.getpid(), signal.SIGTERM)
        return super().training_step(*arguments, **options)


def compile_quickly(model: Any, **options: Any) -> Any:
    """``torch.compile`` that wraps the model and generates no code, which takes minutes."""
    return COMPILE(model, **{**options, "backend": "eager"})


COMPILE = torch.compile


if __name__ == "__main__":
    import kidasr.training.fine_tune

    vars(torch)["compile"] = compile_quickly

    vars(kidasr.training.fine_tune)["ChildSpeechTrainer"] = StoppedTrainer
    for one in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        StoppedTrainer.stop_at = one.get("stop_at")
        try:
            job(Path(one["run_dir"]), *one["overrides"]).run()
        except Stopped:
            assert one.get("stop_at")
