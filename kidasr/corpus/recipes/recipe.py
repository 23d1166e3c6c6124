"""The interface of a recipe: it yields the utterances of a user's copy of a corpus, and the files that it can't use."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kidasr.config.schema import Group, Text
from kidasr.corpus.formats.format import text_lines
from kidasr.errors import KidasrError, truncate
from kidasr.installation import program

#: The sets of a run.
SetName = Literal["train", "validation", "test"]

#: What corpora write for an age or a gender that is not known.
NOT_KNOWN = frozenset(("", "-", "na", "n/a", "nan", "none", "unk", "unknown"))


class Published(Group):
    """Sizes that a publication gives."""

    #: With what they are compared: the corpus as it is, after filters, or split by lists.
    when: Literal["whole", "filters", "split_lists"] = "whole"
    #: Utterances and speakers of each set; ``all`` is every set.
    sets: dict[Literal["train", "validation", "test", "all"], dict[Literal["utterances", "speakers"], int]]


class About(Group):
    """What a summary says of a corpus: data of its YAML file."""

    name: Text
    #: Where and how a copy is obtained.
    obtain: Text
    licence: Text
    citation: Text
    #: Where its ages are from.
    ages: Text
    #: How its transcripts are written. They are kept as they are.
    transcripts: Text
    #: Buckets other than the default, for a corpus that gives buckets instead of ages.
    age_buckets: list[Text] | None = None
    #: Published sizes, by source.
    published: dict[Text, Published]


@dataclass(frozen=True)
class Found:
    """An utterance of a corpus."""

    utterance_id: str
    speaker_id: str
    audio_path: Path
    text: str
    #: The set that the corpus puts it in; None if it has no split.
    set: str | None = None
    #: In years.
    age: float | None = None
    gender: str | None = None
    #: Length in seconds if the corpus gives it; otherwise the recording's header is read.
    duration_sec: float | None = None
    #: The part of the recording, in seconds; None for all of it.
    start_sec: float | None = None
    end_sec: float | None = None
    #: Further fields of its line in the manifest.
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """An utterance or a file that is not in the manifests: a line of ``left_out.jsonl``."""

    utterance_id: str
    audio_path: str
    #: One of few, so that they can be counted.
    reason: str
    detail: str = ""
    set: str | None = None


class Recipe:
    """Reads one corpus.

    Args:
        root: The folder with the user's copy.
        about: See :class:`About`.
    """

    #: What is expected in the folder, for the message that it is another one.
    layout: str
    #: Files and folders that tell the corpus.
    marks: tuple[str, ...] = ()
    #: Folders within ``root`` in which it may lie, such as the one that an archive unpacks to.
    inside: tuple[str, ...] = ("",)

    def __init__(self, root: Text, about: About):
        self.root = Path(root).expanduser()
        self.about = About.model_validate(dict(about))

    def folder(self) -> Path:
        """The folder with the corpus.

        Raises:
            KidasrError: If it is not there, or holds something else.
        """
        if not self.root.is_dir():
            what = "not a folder" if self.root.exists() else "no such folder"
            raise self.wrong(what)
        missing: list[str] = []
        for name in self.inside:
            missing = [mark for mark in self.marks if not (self.root / name / mark).exists()]
            if not missing:
                return self.root / name
        raise self.wrong(f"has no {missing[0]}")

    def wrong(self, what: str) -> KidasrError:
        """An error that says what is wrong with ``root``, and what is expected there."""
        return KidasrError(f"corpus.root={truncate(self.root)}: {what}; expected: {self.about.name}: {self.layout}")

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        """All utterances in a fixed order, and all files that do not fit the layout.

        Args:
            output_dir: Where the manifests will be; for recordings that are no files yet.

        Raises:
            KidasrError: If ``root`` holds another corpus, or a table in it can't be read.
        """
        raise NotImplementedError


class NoCorpus:
    """The choice ``corpus=none``: a placeholder until the user names a corpus."""

    @staticmethod
    def mistakes(keys: Mapping[str, Any]) -> Iterator[str]:
        """Always one: a corpus has to be named."""
        yield f"corpus: which one?; expected: corpus=NAME corpus.root=DIR ({program()} job=prepare --help lists them)"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number.

    Raises:
        KidasrError: If it can't be read, or is not UTF-8.
    """
    for number, line in text_lines(path):
        if line.strip():
            yield number, line.rstrip("\n")


def years(text: str | float | None, where: str) -> float | None:
    """An age in years; None if it is not known.

    Args:
        text: As the corpus gives it.
        where: For the message.

    Raises:
        KidasrError: If it is something else.
    """
    if text is None or str(text).strip().lower() in NOT_KNOWN:
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", str(text).strip()) or not float(text) < 120:
        raise KidasrError(f"{where}: age {truncate(repr(text))}; expected: years, or unknown")
    age = float(text)
    return int(age) if age.is_integer() else age


def known(text: str | None) -> str | None:
    """A word such as a gender; None if it is not known."""
    return None if text is None or text.strip().lower() in NOT_KNOWN else text.strip()


def one_line(text: str) -> str:
    """A transcript on one line, with single spaces; otherwise unchanged."""
    return " ".join(text.split())


def transcript_beside(audio_path: Path, suffix: str) -> tuple[str | None, str]:
    """The transcript in a file beside a recording, and the reason why there is none."""
    path = audio_path.with_suffix(suffix)
    try:
        text = one_line(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return None, "no transcript"
    except (OSError, UnicodeDecodeError):
        return None, "unreadable transcript"
    return (text, "") if text else (None, "empty transcript")
