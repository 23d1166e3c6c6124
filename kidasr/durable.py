"""Atomic writes: a file is complete or absent, even after a kill, a full disk or a power cut. Write aside, flush, rename."""

import errno
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kidasr.errors import KidasrError


def write_text(path: Path, text: str) -> None:
    """Write a file atomically; an existing file is kept until the new one is complete. Two runs may write the same file."""
    aside = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.writing")
    try:
        aside.write_text(text, encoding="utf-8")
        flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    flush(path.parent)


@contextmanager
def folder_written(path: Path) -> Iterator[Path]:
    """Write a folder atomically: yields a temporary folder, which is renamed once all of it is on disk.

    Args:
        path: The folder; an existing one is replaced.
    """
    aside = temporary_folder(path)
    try:
        yield aside
        put_in_place(aside, path)
    finally:
        remove(aside)


def temporary_folder(path: Path) -> Path:
    """Make an empty folder beside ``path``, for :func:`put_in_place`."""
    aside = _aside(path)
    remove(aside)
    aside.mkdir(parents=True)
    return aside


def put_in_place(aside: Path, path: Path) -> None:
    """Flush a temporary folder and rename it to ``path``; an existing folder is replaced."""
    old = path.with_name(f".{path.name}.old")
    remove(old)
    flush_all(aside)
    try:
        if path.exists():
            path.rename(old)
        aside.rename(path)
        flush(path.parent)
    finally:
        remove(old)


def flush_all(folder: Path) -> None:
    """Wait until a folder and all files in it are on disk."""
    for one in sorted(folder.rglob("*")):
        flush(one)
    flush(folder)


def flush(path: Path) -> None:
    """Wait until a file or folder is on disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that can't flush folders
            raise
    finally:
        os.close(descriptor)


def remove(*folders: Path) -> None:
    """Delete folders; missing ones are ignored."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def explain_io_errors(folder: Path, what: str, needed_bytes: int, kept: str) -> Iterator[None]:
    """Turn a failed write into one line: what could not be written, how much space it needs, and what is kept.

    torch and safetensors raise their own exceptions for a full disk, so every failure to write is reported this way.

    Raises:
        KidasrError: If writing fails.
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
            f"{folder}: {what} could not be written: {reason}; it needs {size_text(needed_bytes)}, {size_text(free)} "
            f"are free; {kept}. With more space, the same command resumes"
        ) from error


def size_text(size: int) -> str:
    """A number of bytes in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.writing")
