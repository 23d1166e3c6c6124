"""A run that is killed: in a process of its own, by SIGKILL, at moments chosen on purpose.

``python -m tests.training.killed RUN_DIR OVERRIDE...`` begins the run once for each moment of :data:`MOMENTS`, kills it
there, and prints the moments at which it was killed. A child is forked for each: imports take longer than a short run.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import job

#: When to kill, in the order of a run of 8 steps with a checkpoint every 2: what the run's folder and its log show then.
MOMENTS: dict[str, Callable[[Path, str], bool]] = {
    "transcribing before training": lambda run_dir, said: "zero-shot: transcribing" in said,
    "in the first steps": lambda run_dir, said: "component" in said,
    "in an evaluation": lambda run_dir, said: "step 4/8: training loss" in said,
    "between the files of a checkpoint": lambda run_dir, said: _is_written(run_dir, 4, "model.safetensors"),
    "in a step": lambda run_dir, said: (run_dir / "checkpoints" / "checkpoint-4").exists(),
    "before a checkpoint gets its name": lambda run_dir, said: _is_written(run_dir, 6, "SHA256SUMS"),
    # The second evaluation of this process: the first starts workers, so no thread writes meanwhile.
    "in an evaluation while a thread writes": lambda run_dir, said: (
        _is_written(run_dir, 8, "optimizer.pt") and "step 6/8: WER" in said and "step 8/8: WER" not in said
    ),
    "deleting an old checkpoint": lambda run_dir, said: any((run_dir / "checkpoints").glob(".*.deleting")),
    "at the end of training": lambda run_dir, said: (run_dir / "checkpoints" / "checkpoint-8").exists(),
    "writing the results": lambda run_dir, said: (run_dir / "model").exists(),
}


def _is_written(run_dir: Path, step: int, name: str) -> bool:
    return (run_dir / "checkpoints" / f".checkpoint-{step}.writing" / name).exists()


def run_and_kill(run_dir: Path, overrides: list[str], moment: Callable[[Path, str], bool]) -> bool:
    """Whether the moment came before the run ended."""
    said = run_dir.with_suffix(".log")
    said.write_text("", encoding="utf-8")
    child = os.fork()
    if not child:
        logging.basicConfig(filename=said, level=logging.INFO, format="%(message)s")
        try:
            job(run_dir, *overrides).run()
        finally:
            os._exit(0)
    while not moment(run_dir, said.read_text(encoding="utf-8")):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


if __name__ == "__main__":
    folder, *options = sys.argv[1:]
    print(json.dumps([name for name, moment in MOMENTS.items() if run_and_kill(Path(folder), options, moment)]))
