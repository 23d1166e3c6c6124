"""The interface of a corpus format, and what the formats share."""

import gzip
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

from kidasr.errors import KidasrError, truncate

#: What is wrong with a line, in a word: a kind of finding of ``job=check``.
FaultKind = Literal["unreadable_line", "missing_field", "bad_value", "repeated_id"]


class ManifestError(KidasrError):
    """An unusable manifest; the message gives the file, the line, the field, the error and what is expected."""

    def __init__(self, text: str, kind: FaultKind = "bad_value"):
        super().__init__(text)
        self.kind: FaultKind = kind


#: An utterance's source for messages, such as ``"train.jsonl:17"``, and its columns; or what makes it unusable, if the
#: lines after it can be read.
Row = tuple[str, Mapping[str, Any] | ManifestError]


#: The byte order marks of UTF-16, as bytes that are not UTF-8 are decoded.
UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")


class Format(ABC):
    """Reads corpora in one format. All that follows, such as the check of ages, is the same for every format."""

    #: What a user gives, for messages; empty if another format names it.
    expected: ClassVar[str]
    #: Whether it takes any file of its type, so that special formats are tried first.
    is_general: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, name: str) -> bool:
        """Whether a corpus is in this format. Raises nothing, whatever the name."""

    @abstractmethod
    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        """The utterances in order. A line that can't be used is its error, if the next ones can be read.

        Args:
            name: As given by the user.
            fields: The user's name of each field, see ``conf/data/manifest.yaml``.

        Raises:
            ManifestError: If it can't be read.
        """

    def names(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        """The name of each field in the rows; kidasr's own if it isn't there."""
        return fields

    def folder(self, name: str) -> str:
        """The folder that audio paths are relative to."""
        return name if os.path.isdir(name) else os.path.dirname(name)  # noqa: PTH112, PTH120


def text_lines(path: Path, newline: str | None = None) -> Iterator[tuple[int, str]]:
    """Numbers and text of the lines of a UTF-8 file, gzipped if its name ends in ``.gz``. ``newline`` is that of ``open``.

    Raises:
        ManifestError: If it can't be read.
    """
    for line, text in lines_or_faults(path, newline):
        if isinstance(text, ManifestError):
            raise text
        yield line, text


def lines_or_faults(path: Path, newline: str | None = None) -> Iterator[tuple[int, str | ManifestError]]:
    """As :func:`text_lines`, but a line that is not UTF-8 is its error, and the next ones are read.

    Raises:
        ManifestError: If the file can't be read.
    """
    try:
        how: Any = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": newline}
        file: IO[str]
        with gzip.open(path, "rt", **how) if path.suffix.lower() == ".gz" else path.open(**how) as file:
            for line, text in enumerate(file, start=1):
                if text.isascii():
                    yield line, text
                    continue
                if line == 1 and text.startswith(UTF_16):
                    raise ManifestError(f"{truncate(path)}:1: UTF-16; expected: UTF-8", "unreadable_line")
                try:
                    text.encode("utf-8", "surrogateescape").decode()
                except UnicodeDecodeError as error:
                    fault = f"{truncate(path)}:{line}: not UTF-8: {error.reason}"
                    yield line, ManifestError(fault, "unreadable_line")
                else:
                    yield line, text
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def unreadable(path: object, error: Exception) -> ManifestError:
    """The error for a file that can't be read."""
    return ManifestError(f"{truncate(path)}: can't be read: {truncate(getattr(error, 'strerror', None) or error)}")


def audio_path(path: str, folder: str) -> str:
    """A path from a tool that takes paths as relative to the current folder: there, if ``folder`` doesn't have the file."""
    if os.path.isabs(path) or os.path.exists(os.path.join(folder, path)):  # noqa: PTH110, PTH117, PTH118
        return path
    return os.path.abspath(path) if os.path.exists(path) else path  # noqa: PTH100, PTH110


def joined(names: Iterable[str]) -> str:
    """Names in a message."""
    return truncate(", ".join(names), 200)


def first_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that a folder has."""
    return next((folder / name for name in names if os.path.isfile(folder / name)), None)  # noqa: PTH113
