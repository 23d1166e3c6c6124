"""Stopping on a signal: what is trained is saved, and the same command continues."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

#: The signals: of a scheduler, of the keyboard, and submitit's for preemption and timeout.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)

#: torchrun passes a Ctrl-C on to processes that have had it from the keyboard.
_TORCHRUN_PASSES_ON_SEC = 1.0


class StopSignals:
    """Notes a signal, to be asked for where the run can stop: ``with StopSignals() as signals: ... signals.received``.

    A second SIGINT ends the process at once.
    """

    def __init__(self) -> None:
        #: Name of the signal that came, SIGUSR2 before others; None as long as none did.
        self.received: str | None = None
        self._process = os.getpid()
        self._interrupted_at: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python hands signals to no other
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
        # A scheduler that requeues sends SIGTERM first in places.
        if self.received is None or number == signal.SIGUSR2:
            self.received = signal.Signals(number).name
            # Not by a logger, whose lock may be taken just now.
            again = "; a second Ctrl-C ends at once" if number == signal.SIGINT else ""
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{self.received}: stopping{again}\n".encode())


def shield_worker(_: int = 0) -> None:
    """Keep signals that are meant for the run away from a data-loader worker, without which it could not stop in order.

    A terminal sends Ctrl-C, and SLURM its signals, to every process. The worker still ends when its parent says so.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def end_workers() -> None:
    """End all data-loader workers, which stay for the next epoch.

    Else garbage collection ends them, in the next run of a multirun, and waits five seconds for each in vain: by then the
    queue that would tell it is gone.
    """
    for worker in multiprocessing.active_children():
        worker.terminate()
        worker.join()


def _end_with_parent() -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != os.getppid():
        pass
    os._exit(0)
