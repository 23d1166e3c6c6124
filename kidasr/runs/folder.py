"""A run's folder and its config. An existing run is resumed or left alone, but never overwritten by another run."""

import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from kidasr.config.checks import job_class
from kidasr.config.signature import load_target
from kidasr.errors import KidasrError, truncate
from kidasr.processes import is_first_process, is_restarted
from kidasr.runs.files import (
    ATTEMPTS,
    CHECKPOINTS,
    CONFIG,
    LOCK,
    METRICS,
    PREDICTIONS,
    RUN_ARTIFACTS,
    RUN_LOG,
    ZERO_SHOT,
    read_json,
    write_json,
)
from kidasr.runs.identity import is_same_experiment, resolved
from kidasr.runs.record import failure, last_of, read_attempts

log = logging.getLogger(__name__)

#: Written by Hydra and a launcher before a job starts; a folder with nothing more counts as empty.
BEFORE_THE_RUN = (".hydra", RUN_LOG, LOCK, ATTEMPTS)

#: Hydra's record of what was typed.
OVERRIDES = Path(".hydra") / "overrides.yaml"

#: The locks held by this process, until it ends. Its forked data-loader workers do not share them.
_held: dict[Path, FileLock] = {}


def check_place(folder: Path, key: str = "hydra.run.dir") -> None:
    """Check that a folder can be created or written to.

    Args:
        folder: The folder; it need not exist.
        key: The config key of the folder, for messages.

    Raises:
        KidasrError: If it is a file, is inside a file, or is not writable.
    """
    name = f"{key}={truncate(folder)}"
    try:
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise KidasrError(f"{name}: {truncate(there)} is not a folder; expected: a new or existing folder")
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise KidasrError(f"{name}: {truncate(there)} is not writable; expected: a writable folder")
        longest = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KidasrError(f"{name}: {reason}; expected: a new or existing folder") from error
    if any(len(os.fsencode(part)) > longest for part in folder.parts):
        raise KidasrError(f"{name}: the name of a folder is too long; expected: up to {longest} bytes")


def new_folder(run_dir: Path) -> Path:
    """Create a folder that is named after the second; returns it, or ``NAME-2``, ``-3``, ... if it exists."""
    folder, number = run_dir, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = run_dir.with_name(f"{run_dir.name}-{number}")
        else:
            return folder


def check_run_folder(run_dir: Path, cfg: DictConfig) -> bool:
    """Check that a run may use this folder.

    It may if the folder is new, if it holds a run of the same experiment, or if it holds a run of another experiment that
    ended before its first checkpoint.

    Returns:
        Whether the run in the folder is finished, so that there is nothing to do.

    Raises:
        KidasrError: If the folder holds any other run; with ``resume=never``, if it is not empty; if it is not writable.
    """
    check_place(run_dir)
    if _begins_anew(cfg):
        # The other processes may get here after the first has started to write.
        empty = not run_dir.is_dir() or all(one.name in BEFORE_THE_RUN for one in run_dir.iterdir())
        if is_first_process() and not empty and not cfg.overwrite:
            raise KidasrError(
                f"{run_dir} is not empty; expected with resume=never: another hydra.run.dir=..., or overwrite=true, which "
                "deletes the run in it"
            )
        return False
    finished = (run_dir / METRICS).exists()
    recorded = read_config(run_dir)
    if recorded is None and not finished:
        return False
    if recorded is not None and is_same_experiment(recorded, resolved(cfg)):
        return job_class(cfg).is_finished(run_dir)
    if not finished and (has_ended_untrained(run_dir) or not is_first_process()):
        return False  # the other processes may get here while the first deletes the failed run
    if recorded is not None and "checkpoint" not in recorded:  # a job that trains nothing, and has nothing to resume
        raise KidasrError(f"{run_dir} holds what a job of another config wrote; expected: another hydra.run.dir=...")
    raise KidasrError(
        f"{run_dir} holds {'a finished' if finished else 'an unfinished'} run of another config; expected: another "
        f"hydra.run.dir=...{'' if finished else ', or the same config to resume it'}"
    )


def prepare_run_folder(run_dir: Path, cfg: DictConfig) -> bool:
    """Check the folder and record the config in it.

    An existing run is deleted with ``resume=never overwrite=true``, or if it is of another experiment and ended before its
    first checkpoint.

    Returns:
        Whether the run in the folder is finished.

    Raises:
        KidasrError: See :func:`check_run_folder`.
    """
    if check_run_folder(run_dir, cfg):
        return True
    if is_first_process():
        wanted = resolved(cfg)
        if _begins_anew(cfg):
            delete_run(run_dir)
        elif not is_same_experiment(read_config(run_dir) or wanted, wanted):
            how = "failed" if failure(run_dir) else "was stopped"
            log.info("%s: deleted a run of another config, which %s before its first checkpoint", run_dir, how)
            delete_run(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        if not (run_dir / CONFIG).exists():
            write_json(run_dir / CONFIG, wanted)
    return False


def has_ended_untrained(run_dir: Path) -> bool:
    """Whether a folder's run has ended with nothing worth keeping: it has neither a checkpoint nor a result.

    It has failed, or it was stopped or killed before it had scored anything; a job of a cluster may be started again.
    """
    if (run_dir / METRICS).exists() or any((run_dir / CHECKPOINTS).glob("[!.]*")):
        return False
    if failure(run_dir) is None:
        if "checkpoint" not in (read_config(run_dir) or {}):  # of a job that does not train: what it wrote is its result
            return False
        events = read_attempts(run_dir)
        if last_of(events, "submitted", "queued") or not events or any(run_dir.glob(f"{Path(ZERO_SHOT).stem}*.json")):
            return False
    return run_dir.resolve() / LOCK in _held or not is_in_use(run_dir)


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds a run that comparisons take, also one that is unfinished or failed.

    It has a result, or the config of a job whose runs are compared, or it failed before its config was recorded.
    """
    if (folder / METRICS).is_file() or (folder / PREDICTIONS).is_file():
        return True
    try:
        config = read_config(folder)
        return failure(folder) is not None if config is None else load_target(config["job"]["_target_"]).is_compared is True
    except (KidasrError, AttributeError, KeyError, TypeError):
        return False


def read_config(run_dir: Path) -> dict[str, Any] | None:
    """The resolved config of the run in a folder; None if there is no run.

    Raises:
        KidasrError: If the file can't be read.
    """
    path = run_dir / CONFIG
    if not path.exists():
        return None
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise KidasrError(f"{path} can't be read: {error}; expected: the config written by a run") from error
    if not isinstance(config, dict):
        raise KidasrError(f"{path} is not a JSON object; expected: the config written by a run")
    return config


def typed_overrides(run_dir: Path) -> list[str] | None:
    """What was typed for a run, as Hydra recorded it, with interpolations as they are; None if it is not recorded.

    Raises:
        OSError, ValueError, YAMLError, OmegaConfBaseException: If the file can't be read.
    """
    path = run_dir / OVERRIDES
    if not path.is_file():
        return None
    typed: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return [str(one) for one in typed]


def finished_wer(run_dir: Path) -> float | None:
    """The validation WER of a finished run, as a fraction."""
    path = run_dir / METRICS
    try:
        wer: float | None = json.loads(path.read_text(encoding="utf-8"))["final"]["wer"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KidasrError(f"{path} was not written by a finished run; expected: another hydra.run.dir=...") from error
    return wer


def newest_unfinished(base: Path, cfg: DictConfig) -> Path | None:
    """The newest unfinished run of the same experiment, anywhere below a folder."""
    wanted = resolved(cfg)
    unfinished = [run_dir for run_dir in _run_folders(base) if not (run_dir / METRICS).exists()]
    found = [run_dir for run_dir in unfinished if is_same_experiment(read_config(run_dir) or {}, wanted)]
    return max(found, key=lambda run_dir: (run_dir / CONFIG).stat().st_mtime, default=None)


class InUseError(KidasrError):
    """Another process holds the lock of a run folder."""


def lock_run_folder(run_dir: Path) -> None:
    """Lock the folder for this process until it ends, however it ends, or releases it. Locking it twice does no harm.

    A requeued SLURM job waits until its earlier processes have ended.

    Raises:
        InUseError: If another process holds the lock.
    """
    if not is_first_process():
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir.resolve() / LOCK
    if path in _held:
        return
    lock = FileLock(path, timeout=60 if is_restarted() else 1)  # is_in_use() holds it only for an instant
    try:
        lock.acquire()
    except Timeout as error:
        holder = holder_of(run_dir)
        raise InUseError(f"{run_dir} is in use by {holder}; expected: another hydra.run.dir=..., or wait") from error
    _held[path] = lock
    path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")


def release_run_folder(run_dir: Path) -> None:
    """Release the lock, if this process holds it."""
    if lock := _held.pop(run_dir.resolve() / LOCK, None):
        lock.release()


def holder_of(run_dir: Path) -> str:
    """The process that holds the lock, or the last one that did."""
    try:
        return (run_dir / LOCK).read_text(encoding="utf-8", errors="replace").strip() or "another process"
    except OSError:
        return "another process"


def is_in_use(run_dir: Path) -> bool:
    """Whether a process on any machine holds the lock; True if the file system can't tell."""
    return _is_locked(run_dir) is not False


def is_in_use_elsewhere(run_dir: Path) -> bool:
    """Whether another process holds the lock; False if the file system can't tell."""
    return run_dir.resolve() / LOCK not in _held and bool(_is_locked(run_dir))


def _is_locked(run_dir: Path) -> bool | None:
    try:
        with (run_dir / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _begins_anew(cfg: DictConfig) -> bool:
    """Whether the run starts over: with ``resume=never``, except in a requeued job, which has already started over."""
    return bool(cfg.resume == "never") and not is_restarted()


def _run_folders(base: Path) -> Iterator[Path]:
    for folder, inside, files in os.walk(base):
        if CONFIG in files and ".hydra" in inside:
            inside.clear()  # don't descend into models and checkpoints
            yield Path(folder)


def delete_run(run_dir: Path) -> None:
    """Delete a run's own files; other files in the folder are kept."""
    for pattern in RUN_ARTIFACTS:
        for path in list(run_dir.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
