"""A run's checkpoints on disk. Each is complete or absent, and a damaged one is never used."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME

from kidasr.durable import flush_all, put_in_place, remove, temporary_folder

log = logging.getLogger(__name__)

#: Checksums of a checkpoint's other files, in the format of ``sha256sum -c``.
CHECKSUMS = "SHA256SUMS"


class CheckpointFolder:
    """The folder ``checkpoints`` of a run.

    ``checkpoint-N`` is a planned checkpoint. ``stopped-N`` is an extra one, saved when a run is stopped between two planned
    ones. It is ignored when choosing the best model and in rotation, so a stopped run ends like an uninterrupted one.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path

    def planned(self, step: int) -> Path:
        """The path of the planned checkpoint of a step."""
        return self.path / f"checkpoint-{step}"

    def stopped(self, step: int) -> Path:
        """The path of the extra checkpoint of a run stopped at this step."""
        return self.path / f"stopped-{step}"

    def rotate(self, limit: int, best: Collection[str]) -> None:
        """After a planned checkpoint: delete the extra ones of stopped runs, and the oldest planned ones beyond ``limit``.

        The newest and the best, given by name, are always kept.
        """
        for checkpoint in self.by_step("stopped"):
            self._delete(checkpoint)
        checkpoints = self.by_step("checkpoint")
        deletable = [one for one in checkpoints[:-1] if one.name not in best]
        for checkpoint in deletable[: max(0, len(checkpoints) - limit)]:
            self._delete(checkpoint)

    def newest(self) -> Path | None:
        """The newest checkpoint that can be resumed: it is intact, and so is the one with the best model so far.

        Damaged checkpoints are logged and set aside. So are intact ones whose best model is damaged or missing: a run
        resumed from there could end with a different model than an uninterrupted one.
        """
        for leftover in self.path.glob(".*"):  # from a run killed while writing or deleting
            remove(leftover)
        for checkpoint in reversed(self.by_step("checkpoint", "stopped")):
            if not checkpoint.exists():  # already set aside, as the best model of a later one
                continue
            fault = damage(checkpoint)
            if fault is not None:
                log.warning("%s is damaged: %s; %s", checkpoint, fault, self._set_aside(checkpoint))
                continue
            best = self.best_of(checkpoint)
            if best is None or best == checkpoint:
                return checkpoint
            fault = damage(best)
            if fault is None:
                return checkpoint
            if best.exists():
                log.warning("%s is damaged: %s; %s", best, fault, self._set_aside(best))
            log.warning("%s: its best model was in %s; %s", checkpoint, best.name, self._set_aside(checkpoint))
        return None

    def newest_name(self) -> str | None:
        """The name of the newest checkpoint, without checking it."""
        names = [one.name for one in self.by_step("checkpoint", "stopped")]
        return names[-1] if names else None

    def best_of(self, checkpoint: Path) -> Path | None:
        """The checkpoint with the best model so far, looked up in this folder: the run folder may have been moved."""
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        best = state["best_model_checkpoint"]
        return self.path / Path(best).name if best else None

    def by_step(self, *kinds: str) -> list[Path]:
        """Checkpoints by step, oldest first. At the same step, the planned one comes last: it is further along."""
        found = []
        for path in self.path.glob("*-*"):
            match = re.fullmatch(rf"({'|'.join(kinds)})-(\d+)", path.name)
            if match and path.is_dir():
                found.append((int(match[2]), match[1] == "checkpoint", path))
        return [path for *_, path in sorted(found)]

    def _set_aside(self, checkpoint: Path) -> str:
        """Move a checkpoint to ``set_aside``, where it is ignored; returns the end of the log message."""
        for number in range(1, 1_000_000):
            place = self.path / "set_aside" / (checkpoint.name if number == 1 else f"{checkpoint.name}.{number}")
            if not place.exists():
                break
        place.parent.mkdir(exist_ok=True)
        checkpoint.rename(place)
        return f"moved to {place.parent.name}/{place.name}, using the previous one"

    def _delete(self, checkpoint: Path) -> None:
        """Rename it first: half deleted, it would look damaged."""
        doomed = checkpoint.with_name(f".{checkpoint.name}.deleting")
        remove(doomed)
        checkpoint.rename(doomed)
        remove(doomed)


class UnfinishedCheckpoint:
    """A checkpoint that is being written, in a temporary folder; a thread may write the large files.

    Args:
        checkpoint: The path of the checkpoint.
    """

    def __init__(self, checkpoint: Path):
        self.folder = temporary_folder(checkpoint)
        self._checksums: Future[dict[str, str]] | None = None

    def write_in_thread(self, write: Callable[[], None]) -> None:
        """Run ``write`` in a thread, then checksum and flush all files so far. Write no others before :meth:`wait`."""
        thread = ThreadPoolExecutor(1, "checkpoint")
        self._checksums = thread.submit(self._write, write)
        thread.shutdown(wait=False)

    def _write(self, write: Callable[[], None]) -> dict[str, str]:
        write()
        checksums = {name: _checksum(path) for name, path in _files(self.folder).items()}
        flush_all(self.folder)
        return checksums

    def wait(self) -> dict[str, str]:
        """Wait for the thread; returns the checksums of the files so far, and raises the thread's exception."""
        return self._checksums.result() if self._checksums is not None else {}

    def finish(self, checkpoint: Path) -> None:
        """Checksum the remaining files, flush, and move the checkpoint to its path, which makes it complete."""
        write_checksums(self.folder, self.wait())
        put_in_place(self.folder, checkpoint)

    def discard(self) -> None:
        """End the thread and delete the temporary folder."""
        if self._checksums is not None:
            wait([self._checksums])
        remove(self.folder)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None if all its files match their checksums."""
    try:
        lines = (checkpoint / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return f"{CHECKSUMS} is missing or can't be read"
    expected = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    present = _files(checkpoint)
    for name in sorted({*expected, *present}):
        if name not in present:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is not in {CHECKSUMS}"
        try:
            if _checksum(present[name]) != expected[name]:
                return f"{name} does not match its checksum"
        except OSError as error:
            return f"{name} can't be read: {error.strerror}"
    return None if TRAINER_STATE_NAME in expected else f"{TRAINER_STATE_NAME} is missing"


def write_checksums(checkpoint: Path, known: Mapping[str, str] = {}) -> None:
    """Write the SHA-256 checksum of every file; those already known, by name, are not computed again."""
    lines = [f"{known.get(name) or _checksum(path)}  {name}\n" for name, path in sorted(_files(checkpoint).items())]
    (checkpoint / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _files(checkpoint: Path) -> dict[str, Path]:
    """The files of a checkpoint, by name."""
    files = (path for path in checkpoint.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(checkpoint)): path for path in files if path.name != CHECKSUMS}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
