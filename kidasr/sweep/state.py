"""The state of a run, read from its folder and from SLURM's queue."""

import contextlib
import getpass
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kidasr.errors import KidasrError
from kidasr.runs.files import METRICS
from kidasr.runs.folder import finished_wer, is_in_use
from kidasr.runs.record import last_of, newest, read_attempts, read_progress

State = Literal["not started", "queued", "running", "stopped", "failed", "finished"]

#: SLURM states of a job that is going to run.
PENDING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED")

#: States of a run that will not continue by itself.
ENDED = ("not started", "stopped", "failed", "finished")


@dataclass(frozen=True)
class RunState:
    """The state of a run."""

    state: State
    step: int | None = None
    max_steps: int | None = None
    #: WER of the newest evaluation, or of the kept model if the run is finished; a fraction.
    wer: float | None = None
    #: Name of that rate: ``"CER"`` if the run scores characters as words.
    rate: str = "WER"
    #: Number of attempts that ended before the run did.
    preempted: int = 0
    #: The error message of a failed run.
    error: str | None = None
    mistake: bool = False
    #: The job in SLURM's queue that the run waits for.
    job: str | None = None


def slurm_queue() -> dict[str, str] | None:
    """The user's jobs in SLURM's queue, ``{"12_3": "PENDING"}``; None if squeue fails."""
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line.strip())


def run_state(run_dir: Path, queue: Mapping[str, str] | None) -> RunState:
    """The state of a run.

    Args:
        run_dir: Its folder, which need not exist.
        queue: SLURM's queue: see :func:`slurm_queue`.
    """
    events, progress = read_attempts(run_dir), read_progress(run_dir)
    last, wer = newest(events), progress.get("wer")
    state, error = _state(run_dir, last, _submitted(events), queue)
    if (run_dir / METRICS).exists():
        state, error = "finished", None
        with contextlib.suppress(KidasrError):
            wer = finished_wer(run_dir)
    attempts = [row["event"] for row in events if row["event"] in ("started", "failed", "finished")]
    # Each attempt has one end, except those that were preempted and the one that is running or was lost.
    goes_on = last is not None and last["event"] == "started" and state in ("running", "failed")
    preempted = attempts.count("started") - attempts.count("failed") - attempts.count("finished") - goes_on
    mistake = state == "failed" and last is not None and bool(last.get("mistake"))
    return RunState(
        state,
        progress.get("step"),
        progress.get("max_steps"),
        wer,
        str(progress.get("rate", "WER")),
        max(0, preempted),
        error,
        mistake,
        _slurm_job(_submitted(events)) if state == "queued" else None,
    )


def _state(
    run_dir: Path,
    last: Mapping[str, Any] | None,
    submitted: Mapping[str, Any] | None,
    queue: Mapping[str, str] | None,
) -> tuple[State, str | None]:
    """The state of an unfinished run, and its error if it failed."""
    if last is None:
        return "not started", None
    job = _slurm_job(submitted)
    in_queue = (queue or {}).get(job) if job else None
    if in_queue in PENDING:  # even after a recorded failure, as when its node went down
        return "queued", None
    if last["event"] == "failed":
        return "failed", str(last.get("error"))
    waiting: State = "running" if last["event"] == "started" else "queued"
    if submitted and job:
        if queue is None or in_queue:
            return waiting, None
        if last["event"] == "stopped":
            return "stopped", None
        return "failed", f"job {job} left the queue before the run ended: {_last_line(submitted)}"
    if is_in_use(run_dir) if waiting == "running" else submitted and _is_alive(submitted):
        return waiting, None
    return ("not started" if last["event"] == "queued" else "stopped"), None


def _submitted(events: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The job that a run waits for or was started by, unless the run has been started in another way since."""
    queued = max((number for number, row in enumerate(events) if row["event"] == "queued"), default=0)
    submitted, started = last_of(events[queued:], "submitted"), last_of(events[queued:], "started")
    is_of_it = submitted and (not started or str(started.get("job")) == str(submitted["job"]))
    return submitted if is_of_it else None


def _slurm_job(submitted: Mapping[str, Any] | None) -> str | None:
    return submitted["job"] if submitted and submitted.get("cluster") == "slurm" else None


def _last_line(submitted: Mapping[str, Any]) -> str:
    """The last line of the job's log, and the log's path."""
    path = Path(str(submitted.get("log")))
    try:
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return f"no log in {path}"
    return f"{lines[-1].strip()} ({path})" if lines else f"empty log ({path})"


def _is_alive(submitted: Mapping[str, Any]) -> bool:
    """Whether submitit's process, which starts the run, is alive; assumed so if it is on another machine."""
    if submitted.get("host") != socket.gethostname():
        return True
    try:
        pid = int(submitted["controller"])
        os.kill(pid, 0)
        # A zombie still has a process id.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (OSError, KeyError, TypeError):
        return False
