"""The checkpoints of a run on the disk: each is whole or absent, and a damaged one is never used."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME

from kidasr.durable import folder_written, remove

log = logging.getLogger(__name__)

#: Checksums of the other files of a checkpoint; ``sha256sum -c`` reads it.
CHECKSUMS = "SHA256SUMS"


class CheckpointFolder:
    """The folder ``checkpoints`` of a run.

    ``checkpoint-N`` is a checkpoint of the run's plan; ``stopped-N`` is what a stopped run left between two of them, which
    has no part in choosing the best model or in rotation, so that a run that was stopped ends as one that was not.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path

    def planned(self, step: int) -> Path:
        """The checkpoint of a step of the plan."""
        return self.path / f"checkpoint-{step}"

    def stopped(self, step: int) -> Path:
        """What a run that was stopped at this step leaves."""
        return self.path / f"stopped-{step}"

    @contextmanager
    def written(self, checkpoint: Path) -> Iterator[Path]:
        """Write a checkpoint, whole or not at all; yields the folder to write into."""
        with folder_written(checkpoint, write_checksums) as folder:
            yield folder

    def rotate(self, limit: int, best: Path | None) -> None:
        """After a checkpoint of the plan: delete what was left by stops, and the oldest of more than ``limit``.

        The newest and the best are kept, whatever the limit is.
        """
        for checkpoint in self.by_step("stopped"):
            self._delete(checkpoint)
        checkpoints = self.by_step("checkpoint")
        deletable = [one for one in checkpoints[:-1] if best is None or one.name != best.name]
        for checkpoint in deletable[: max(0, len(checkpoints) - limit)]:
            self._delete(checkpoint)

    def newest(self) -> Path | None:
        """The newest checkpoint to continue from: it is whole, and so is the one with the best model so far.

        Damaged ones are named and set aside; so are those that would lose the best model with them, since a run continued
        from there could end with another model than one that was never stopped.
        """
        for leftover in self.path.glob(".*"):  # of a run that was killed in writing or deleting
            remove(leftover)
        for checkpoint in reversed(self.by_step("checkpoint", "stopped")):
            if not checkpoint.exists():  # set aside with one after it
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
        """The newest checkpoint by its number alone."""
        names = [one.name for one in self.by_step("checkpoint", "stopped")]
        return names[-1] if names else None

    def best_of(self, checkpoint: Path) -> Path | None:
        """The checkpoint that had the best model so far; in this folder, wherever the run's was when it was written."""
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        best = state["best_model_checkpoint"]
        return self.path / Path(best).name if best else None

    def by_step(self, *kinds: str) -> list[Path]:
        """Checkpoints by step, the oldest first; of one step, that of the plan, which is further on, last."""
        found = []
        for path in self.path.glob("*-*"):
            match = re.fullmatch(rf"({'|'.join(kinds)})-(\d+)", path.name)
            if match and path.is_dir():
                found.append((int(match[2]), match[1] == "checkpoint", path))
        return [path for *_, path in sorted(found)]

    def _set_aside(self, checkpoint: Path) -> str:
        """Move a checkpoint to where none is looked for; returns words that say so."""
        for number in range(1, 1_000_000):
            place = self.path / "set_aside" / (checkpoint.name if number == 1 else f"{checkpoint.name}.{number}")
            if not place.exists():
                break
        place.parent.mkdir(exist_ok=True)
        checkpoint.rename(place)
        return f"set aside as {place.parent.name}/{place.name}, the one before is used"

    def _delete(self, checkpoint: Path) -> None:
        """Under another name first: half deleted, it would look damaged."""
        doomed = checkpoint.with_name(f".{checkpoint.name}.deleting")
        remove(doomed)
        checkpoint.rename(doomed)
        remove(doomed)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole to the last bit."""
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
                return f"{name} is not as it was written"
        except OSError as error:
            return f"{name} can't be read: {error.strerror}"
    return None if TRAINER_STATE_NAME in expected else f"{TRAINER_STATE_NAME} is missing"


def write_checksums(checkpoint: Path) -> None:
    """Write the SHA-256 of every file."""
    lines = [f"{_checksum(path)}  {name}\n" for name, path in sorted(_files(checkpoint).items())]
    (checkpoint / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _files(checkpoint: Path) -> dict[str, Path]:
    """The files that a checkpoint consists of, by name."""
    files = (path for path in checkpoint.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(checkpoint)): path for path in files if path.name != CHECKSUMS}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
