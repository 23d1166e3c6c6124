"""Files that are whole or absent, also after a kill, a full disk or a pulled plug: written aside, flushed, renamed."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kidasr.errors import KidasrError


def write_text(path: Path, text: str) -> None:
    """Write a file; one that is there stays as it is until the new one is whole."""
    aside = _aside(path)
    aside.write_text(text, encoding="utf-8")
    flush(aside)
    aside.replace(path)
    flush(path.parent)


@contextmanager
def folder_written(path: Path, complete: Callable[[Path], None] = lambda folder: None) -> Iterator[Path]:
    """Write a folder: yields the one to write into, which gets its name when all of it is on the disk.

    Args:
        path: The folder; one that is there is replaced.
        complete: Called with what was written, before it is flushed.
    """
    aside, old = _aside(path), path.with_name(f".{path.name}.old")
    remove(aside, old)
    aside.mkdir(parents=True)
    try:
        yield aside
        complete(aside)
        for one in sorted(aside.rglob("*")):
            flush(one)
        flush(aside)
        if path.exists():
            path.rename(old)
        aside.rename(path)
        flush(path.parent)
    finally:
        remove(aside, old)


def flush(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that flushes no folders
            raise
    finally:
        os.close(descriptor)


def remove(*folders: Path) -> None:
    """Delete folders; those that are not there are passed over."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explain_io_errors(folder: Path, what: str, needed_bytes: int, kept: str) -> Iterator[None]:
    """Turn a failed write into one line that says what could not be written, what it needed, and what is kept.

    torch and safetensors tell of a full disk by exceptions of their own, so any failure in writing is told like that.

    Raises:
        KidasrError: Where writing fails.
    """
    try:
        yield
    except KidasrError:
        raise
    except Exception as error:
        there = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
        free = shutil.disk_usage(there).free
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise KidasrError(
            f"{folder}: {what} could not be written: {reason}; it needs {_size(needed_bytes)}, {_size(free)} are free; "
            f"{kept}. With more room, the same command continues"
        ) from error


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.writing")
