"""Stop on a signal: a checkpoint is saved, and the same command resumes."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

#: Sent by a scheduler, by the keyboard, and by submitit on preemption and timeout.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)

#: torchrun forwards Ctrl-C to processes that have already received it from the keyboard.
_TORCHRUN_PASSES_ON_SEC = 1.0


class StopSignals:
    """Remembers a signal until the run can stop: ``with StopSignals() as signals: ... signals.received``.

    A second SIGINT ends the process at once.
    """

    def __init__(self) -> None:
        #: Name of the received signal, SIGUSR2 in preference to others; None if there was none.
        self.received: str | None = None
        self._process = os.getpid()
        self._interrupted_at: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python handles signals only in this thread
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data-loader worker, not yet shielded
            if number == signal.SIGTERM:
                os._exit(1)
            return
        now = time.monotonic()
        if number == signal.SIGINT and self._interrupted_at is not None:
            passed_on = "TORCHELASTIC_RUN_ID" in os.environ and now - self._interrupted_at < _TORCHRUN_PASSES_ON_SEC
            if not passed_on:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
            return
        if number == signal.SIGINT:
            self._interrupted_at = now
        # Some schedulers send SIGTERM first when they requeue.
        if self.received is None or number == signal.SIGUSR2:
            self.received = signal.Signals(number).name
            # Not through a logger: its lock may be held at this moment.
            again = "; a second Ctrl-C ends at once" if number == signal.SIGINT else ""
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{self.received}: stopping{again}\n".encode())


def shield_worker(_: int = 0) -> None:
    """Block the run's stop signals in a data-loader worker: the run needs its workers to stop cleanly.

    A terminal sends Ctrl-C to every process, and SLURM its signals. The worker still ends when its parent asks it to.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def end_workers() -> None:
    """End all persistent data-loader workers.

    Otherwise garbage collection ends them during the next run of a multirun, and waits five seconds for each in vain: the
    queue that would stop them is gone by then.
    """
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join()


def _end_with_parent() -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != os.getppid():
        pass
    os._exit(0)
