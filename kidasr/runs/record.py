"""The history of a run, attempt by attempt. It is in the run folder, so any machine can read it while the run is running."""

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from kidasr.processes import is_first_process
from kidasr.runs.files import ATTEMPTS, PROGRESS

#: ``queued``: about to be submitted; ``submitted``: with the job's id; ``started`` ... ``finished``: by the run itself.
Event = Literal["queued", "submitted", "started", "stopped", "failed", "finished"]


def record(run_dir: Path, event: Event, **details: Any) -> None:
    """Append an event to a run's record (first process only). I/O errors are ignored: a full disk must not end the run."""
    if not is_first_process():
        return
    row = {"event": event, "time": now(), "host": socket.gethostname(), "pid": os.getpid(), **details}
    with contextlib.suppress(OSError):
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / ATTEMPTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_attempts(run_dir: Path) -> list[dict[str, Any]]:
    """The events of a run, oldest first. Truncated lines, left by a kill, are skipped."""
    try:
        lines = (run_dir / ATTEMPTS).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and "event" in row:
                rows.append(row)
    return rows


def write_progress(run_dir: Path, **values: Any) -> None:
    """Write the progress of training: ``step``, ``max_steps``, ``wer``. Not flushed to disk, since no run depends on it."""
    path = run_dir / PROGRESS
    aside = path.with_name(f".{PROGRESS}.writing")
    with contextlib.suppress(OSError):
        aside.write_text(json.dumps({**values, "time": now()}) + "\n", encoding="utf-8")
        aside.replace(path)


def read_progress(run_dir: Path) -> dict[str, Any]:
    """The last progress written by :func:`write_progress`; empty if there is none."""
    try:
        progress = json.loads((run_dir / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return progress if isinstance(progress, dict) else {}


def last_of(events: Sequence[dict[str, Any]], *kinds: Event) -> dict[str, Any] | None:
    """The newest event of these kinds."""
    return next((row for row in reversed(events) if row["event"] in kinds), None)


def newest(events: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest event, except ``submitted``, which only adds a job id to ``queued``."""
    return last_of(events, "queued", "started", "stopped", "failed", "finished")


def failure(run_dir: Path) -> dict[str, Any] | None:
    """The ``failed`` event (``error``, ``mistake``) of a run, if it is the newest."""
    last = newest(read_attempts(run_dir))
    return last if last and last["event"] == "failed" else None


def duration_sec(run_dir: Path) -> float | None:
    """How long a finished run took, all attempts together; None if it is not finished or an attempt was killed."""
    begun, total = None, 0.0
    for row in read_attempts(run_dir):
        if row["event"] == "started":
            if begun is not None:
                return None
            begun = datetime.fromisoformat(row["time"])
        elif row["event"] in ("stopped", "failed", "finished") and begun is not None:
            total += (datetime.fromisoformat(row["time"]) - begun).total_seconds()
            begun = None
            if row["event"] == "finished":
                return total
    return None


def elapsed_sec(run_dir: Path) -> tuple[float, bool] | None:
    """How long a running run has taken so far, and whether that is all: the time of an attempt that was killed is unknown.

    Returns:
        None if no attempt is recorded.
    """
    begun, total, is_all = None, 0.0, True
    for row in read_attempts(run_dir):
        if row["event"] == "started":
            is_all = is_all and begun is None
            begun = datetime.fromisoformat(row["time"])
        elif row["event"] in ("stopped", "failed", "finished") and begun is not None:
            total += (datetime.fromisoformat(row["time"]) - begun).total_seconds()
            begun = None
    if begun is None:
        return None
    return total + (datetime.now(UTC) - begun).total_seconds(), is_all


def is_expected(run_dir: Path) -> bool:
    """Whether the run is queued, or stopped and due to be resumed, and has not started since."""
    last = newest(read_attempts(run_dir))
    return last is not None and last["event"] in ("queued", "stopped")


def now() -> str:
    """The current time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
