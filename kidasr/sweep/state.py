"""How a run of a sweep is doing, read from its folder and from SLURM's queue."""

import contextlib
import getpass
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kidasr.config.attempts import last_of, read_attempts, read_progress
from kidasr.config.run_folder import METRICS, finished_wer
from kidasr.errors import KidasrError

State = Literal["not started", "queued", "running", "stopped", "failed", "finished"]

#: What SLURM calls a job that is going to run.
PENDING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED")

#: Of a job that will not go on by itself.
ENDED = ("not started", "stopped", "failed", "finished")


@dataclass(frozen=True)
class RunState:
    """How a run is doing."""

    state: State
    step: int | None = None
    max_steps: int | None = None
    #: Of the newest evaluation, or of the model that is kept where the run is finished; a fraction.
    wer: float | None = None
    #: How often an attempt ended before the run did.
    preempted: int = 0
    #: The last line of the error, of a failed run.
    error: str | None = None
    mistake: bool = False


def slurm_queue() -> dict[str, str] | None:
    """The user's jobs in SLURM's queue, ``{"12_3": "PENDING"}``; None where it can't be asked."""
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line.strip())


def run_state(run_dir: Path, queue: Mapping[str, str] | None) -> RunState:
    """How a run is doing.

    Args:
        run_dir: Its folder, which need not be there.
        queue: SLURM's, see :func:`slurm_queue`.
    """
    events, progress = read_attempts(run_dir), read_progress(run_dir)
    last = last_of(events, "queued", "started", "stopped", "failed", "finished")
    starts = [row for row in events if row["event"] == "started"]
    ends = [row for row in events if row["event"] in ("failed", "finished")]
    known: dict[str, Any] = {name: progress.get(name) for name in ("step", "max_steps", "wer")}
    known["preempted"] = len(starts) - len(ends)
    if (run_dir / METRICS).exists():
        with contextlib.suppress(KidasrError):
            known["wer"] = finished_wer(run_dir)
        return RunState("finished", **{**known, "preempted": max(0, len(starts) - len(ends))})
    if last is None:
        return RunState("not started")
    submitted = last_of(events, "submitted")
    is_slurm = submitted is not None and submitted.get("cluster") == "slurm"
    # One that SLURM runs again may have failed by the end of what it used.
    goes_on = is_slurm and submitted is not None and (queue or {}).get(str(submitted.get("job"))) in PENDING
    if last["event"] == "failed" and not goes_on:
        return RunState("failed", **known, error=str(last.get("error")), mistake=bool(last.get("mistake")))
    waiting: State = "running" if last["event"] == "started" else "queued"
    if waiting == "running":
        known["preempted"] = max(0, known["preempted"] - 1)
    if is_slurm and submitted is not None:
        job = str(submitted.get("job"))
        if queue is None:
            return RunState(waiting, **known)
        if job in queue:
            pending = queue[job] in PENDING
            if pending and waiting == "running":
                known["preempted"] += 1
            return RunState("queued" if pending else waiting, **known)
        if last["event"] == "stopped":
            return RunState("stopped", **known)
        return RunState("failed", **known, error=f"job {job} has left the queue before its end: {_last_line(submitted)}")
    process = submitted if last["event"] == "queued" else last
    if last["event"] == "stopped" and submitted is not None:
        process = submitted  # its controller starts it again
    if process is None or not _is_alive(process):
        return RunState("stopped" if last["event"] != "queued" else "not started", **known)
    return RunState(waiting, **known)


def _last_line(submitted: Mapping[str, Any]) -> str:
    """What the job said last, and where."""
    path = Path(str(submitted.get("log")))
    try:
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return f"no log in {path}"
    return f"{lines[-1].strip()} ({path})" if lines else f"nothing said ({path})"


def _is_alive(process: Mapping[str, Any]) -> bool:
    """Whether a process still runs; of another machine's it is not known, so yes."""
    if process.get("host") != socket.gethostname():
        return True
    pid = int(process.get("controller") or process.get("pid") or 0)
    try:
        os.kill(pid, 0)
        # One that has ended, but whose parent has not asked yet, still has a number.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except PermissionError:
        return True
    except OSError:
        return False
