"""`python run.py ARGUMENTS`, timed part by part: `python -m tests.benchmarks.parts FILE BEGUN ARGUMENTS`.

:mod:`tests.benchmarks.ablation` starts it. It wraps kidasr's functions in its own process and writes the seconds that each
run spent in each part to FILE, as JSON. BEGUN is the time, by `time.perf_counter`, at which it was started. A part within
another counts for itself alone, so the parts add up to the whole. Only the main thread's time counts; what other threads do
beside it is listed apart.

This module imports nothing of the tests, whose settings for OpenMP a user does not have.
"""

import functools
import importlib
import json
import os
import runpy
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: The environment that the benchmark was started with.
USER_ENVIRONMENT = dict(os.environ)

RUN_PY = Path(__file__).parents[2] / "run.py"

START, STEP, REST = "start", "training steps", "everything else"
COMPARISON, END = "comparison", "end of the process"

#: The part of each function. A name that is gone is an error, and its successor belongs here.
FUNCTIONS = {
    "kidasr.corpus.audio_check:AudioCheck.check_run": "audio: check",
    "kidasr.model.whisper:Whisper.features": "audio: features",
    "kidasr.features.dataset:ChildSpeechDataset.__getitem__": "audio: decoding, augmentation, labels",
    "kidasr.training.trainer:ChildSpeechTrainer.get_batch_samples": "audio: batches and waiting for them",
    "kidasr.training.trainer:ChildSpeechTrainer.evaluate": "evaluation",
    "kidasr.training.trainer:ChildSpeechTrainer.transcribe": "scoring",
    "kidasr.training.trainer:ChildSpeechTrainer._save_checkpoint": "checkpoints",
    "kidasr.training.trainer:ChildSpeechTrainer._load_best_model": "checkpoints",
    "kidasr.training.fine_tune:FineTune._write": "report",
    "kidasr.jobs.compare_runs:CompareRuns._compare": COMPARISON,
}
RUN, TRAINER = "kidasr.training.fine_tune:FineTune.run", "kidasr.training.trainer:ChildSpeechTrainer.__init__"

#: Every part, in the order of a table. START is all before a run's Trainer, Hydra's part included; END is measured outside.
PARTS = (START, STEP, *dict.fromkeys(FUNCTIONS.values()), REST, END)


class Stopwatch:
    """Seconds by part, for each run and for what comes after the last."""

    def __init__(self, begun: float) -> None:
        self.sections: list[defaultdict[str, float]] = [defaultdict(float)]
        self.beside: defaultdict[str, float] = defaultdict(float)
        self.seen: set[str] = set()
        self._since, self._open = begun, [START]

    def enter(self, part: str) -> None:
        self._count()
        self.seen.add(part)
        self._open.append(part)

    def leave(self) -> None:
        self._count()
        self._open.pop()

    def ready(self) -> None:
        """The run has its Trainer."""
        self._count()
        self._open[0] = REST

    def end_run(self) -> None:
        self._count()
        self._open = [START]
        self.sections.append(defaultdict(float))

    def result(self) -> dict[str, Any]:
        self._count()
        *runs, after = self.sections
        after[REST] += after.pop(START, 0.0)
        return {
            "runs": runs,
            "after": after,
            "beside": self.beside,
            "never_called": sorted({STEP, *FUNCTIONS.values()} - self.seen),
        }

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            begun = time.perf_counter()
            yield
            self.beside[part] += time.perf_counter() - begun
            return
        self.enter(part)
        try:
            yield
        finally:
            self.leave()

    def _count(self) -> None:
        now = time.perf_counter()
        self.sections[-1][self._open[-1]] += now - self._since
        self._since = now


def wrap(target: str, within: Callable[[Any], Any]) -> None:
    """Let a method run within a context that is made for its instance."""
    module, _, path = target.partition(":")
    owner_name, _, name = path.partition(".")
    try:
        owner = getattr(importlib.import_module(module), owner_name)
        original = getattr(owner, name)
    except (ImportError, AttributeError) as error:
        sys.exit(f"tests.benchmarks.parts times {target}, which is gone ({error}); expected: the name of its successor")

    @functools.wraps(original)
    def wrapped(self: Any, *arguments: Any, **options: Any) -> Any:
        with within(self):
            return original(self, *arguments, **options)

    setattr(owner, name, wrapped)


def wrap_all(watch: Stopwatch) -> None:
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            watch.enter(STEP)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.leave()

    @contextmanager
    def run(_: Any) -> Iterator[None]:
        try:
            yield
        finally:
            watch.end_run()

    @contextmanager
    def made(trainer: Any) -> Iterator[None]:
        yield
        trainer.add_callback(Steps())
        watch.ready()

    def timed(part: str) -> Callable[[Any], Any]:
        return lambda _: watch.timed(part)

    for target, part in FUNCTIONS.items():
        wrap(target, timed(part))
    wrap(RUN, run)
    wrap(TRAINER, made)


def peak_gb() -> float:
    """The most memory that this process has used so far."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0]) / 1e9


def main() -> None:
    file, begun, *arguments = sys.argv[1:]
    watch = Stopwatch(float(begun))
    wrap_all(watch)
    sys.argv = [str(RUN_PY), *arguments]
    try:
        runpy.run_path(str(RUN_PY), run_name="__main__")
    finally:
        Path(file).write_text(json.dumps({**watch.result(), "peak_gb": peak_gb()}), encoding="utf-8")


if __name__ == "__main__":
    main()
