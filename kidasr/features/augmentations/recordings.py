"""Folders of recordings that are mixed into utterances: noises, and impulse responses of rooms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidasr.errors import truncate

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".mp3"))


def folder_mistakes(name: str, keys: Mapping[str, Any]) -> Iterator[str]:
    """One line if the key ``folder`` of an augmentation names no folder with recordings."""
    folder = keys.get("folder")
    if folder is not None and not recordings_in(folder):
        what = "no recordings in it" if Path(folder).expanduser().is_dir() else "no such folder"
        yield f"augment.{name}.folder={truncate(folder)}: {what}; expected: a folder with WAV, FLAC, OGG or MP3 files"


@cache
def recordings_in(folder: str) -> tuple[str, ...]:
    """The recordings in a folder and the folders in it, sorted by path."""
    found = (path for path in Path(folder).expanduser().rglob("*") if path.suffix.lower() in SUFFIXES)
    return tuple(sorted(map(str, found)))


def load_part(path: str, start_sec: float | None = None, end_sec: float | None = None) -> Samples:
    """The samples of a recording, or of a part of it: shape ``(samples,)``, 16 kHz.

    Raises:
        KidasrError: If it can't be read.
    """
    from kidasr.corpus.age import UNKNOWN
    from kidasr.corpus.audio import load_audio
    from kidasr.corpus.manifest import Utterance

    name = Path(path).name
    return load_audio(Utterance(name, "", path, "", UNKNOWN, None, None, None, None, "augment", None, start_sec, end_sec))
