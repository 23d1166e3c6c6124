"""Transcripts by other recognisers: reading their files, and finding the utterance of each transcript.

Formats, by the file's ending:

- ``.jsonl``, ``.json``, ``.csv``, ``.tsv``: a line for each utterance, with its id and its transcript, such as
  ``predictions.jsonl``, NeMo's output or a spreadsheet. They may hold references, speakers and ages as well.
- ``.trn``: NIST's transcripts (SCTK, https://github.com/usnistgov/SCTK): ``the words (utterance-id)``.
- ``.ctm``: NIST's words with times: ``recording channel start duration word [confidence]``; ``;;`` begins a comment.
- ``.txt``, ``.text``, or a file called ``text``: Kaldi's and ESPnet's ``utterance-id the words``.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from kidasr.config.schema import Group, Text
from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.columns import ALIASES
from kidasr.corpus.formats import ManifestError, format_of
from kidasr.corpus.formats.format import joined, text_lines
from kidasr.corpus.manifest import Utterance, read_manifest
from kidasr.errors import KidasrError, truncate
from kidasr.recognition.inputs import AUDIO
from kidasr.recognition.score import Prediction

#: Endings of the formats with a line for each utterance, which are read as manifests are.
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz")

EXPECTED = "a file ending in .jsonl, .csv, .tsv, .trn, .ctm or .txt (Kaldi's text)"

#: Names that other tools give these columns: ESPnet, NeMo, Hugging Face. kidasr's own come first.
HYPOTHESIS = ("hypothesis", "hyp", "pred_text", "prediction", "predicted_text", "pred")
REFERENCE = ("reference", "ref", "ref_text", "target", "ground_truth")
IDS = ("utterance_id", *ALIASES["utterance_id"], "uttid", "key", "id")

#: ``the words (utterance-id)``.
_TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*", re.DOTALL)
#: Alternatives in a ``.trn``, of which sclite takes the best: ``{ uh / um / @ }``.
_ALTERNATIVES = re.compile(r"\{[^{}]*/[^{}]*\}")

#: How many examples a message names.
SHOWN = 5


class Columns(Group):
    """The names of columns in the files with a line for each utterance; None: found by the names that are usual."""

    utterance_id: Text | None
    hypothesis: Text | None
    reference: Text | None


class Word(NamedTuple):
    """A word with its time in a recording."""

    start_sec: float
    duration_sec: float
    text: str


@dataclass(frozen=True)
class Heard:
    """A transcript in a file."""

    #: The file's name for the utterance: its id, or its recording.
    name: str
    text: str
    #: Its location, for messages: ``"H.trn:17"``.
    source: str
    #: Its words, if the file has their times.
    words: Sequence[Word] = ()


class _Found(NamedTuple):
    """The columns of rows of one shape."""

    name: str
    hypothesis: str
    reference: str | None


def read_heard(path: str, columns: Columns) -> list[Heard]:
    """The transcripts in a file, in order.

    Args:
        path: The file.
        columns: Names of columns.

    Raises:
        KidasrError: If it is missing, empty, in no known format or not UTF-8; for a line that can't be read; if an utterance
            is there twice.
    """
    found: list[Heard] = []
    seen: dict[str, str] = {}
    for one in _reader(path)(path, columns):
        if one.name in seen:
            raise KidasrError(
                f"{one.source}: {truncate(repr(one.name))} is already at {seen[one.name]}; expected: each utterance once"
            )
        seen[one.name] = one.source
        found.append(one)
    if not found:
        raise KidasrError(f"{truncate(path)}: no transcripts")
    return found


def _reader(path: str) -> Callable[[str, Columns], Iterator[Heard]]:
    name = path.lower()
    if not os.path.exists(path):  # noqa: PTH110
        raise KidasrError(f"{truncate(path)}: no such file; expected: {EXPECTED}")
    if name.endswith(TABLES):
        return _of_table
    plain = Path(name.removesuffix(".gz"))
    if plain.suffix in (".trn", ".ctm"):
        return _of_trn if plain.suffix == ".trn" else _of_ctm
    if plain.suffix in (".txt", ".text") or plain.name == "text":
        return _of_kaldi
    raise KidasrError(f"{truncate(path)}: unknown file type; expected: {EXPECTED}")


def _of_table(path: str, columns: Columns) -> Iterator[Heard]:
    for source, row, of in _rows(path, columns):
        name, text = row.get(of.name), row.get(of.hypothesis)
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise KidasrError(f"{source}: {of.name}={truncate(repr(name))}; expected: the utterance's id")
        if not isinstance(text, str):
            raise KidasrError(f'{source}: {of.hypothesis}={truncate(repr(text))}; expected: a text ("" for no words)')
        yield Heard(str(name), text, source)


def _rows(path: str, columns: Columns) -> Iterator[tuple[str, Mapping[str, Any], _Found]]:
    """The lines of a file, each with its source and its columns."""
    known: dict[tuple[str, ...], _Found] = {}
    wanted = {"utterance_id": columns.utterance_id or "id", "text": columns.hypothesis or "hypothesis"}
    for source, row in format_of(path).rows(path, wanted):
        if isinstance(row, ManifestError):
            raise row
        shape = tuple(row)
        if shape not in known:
            known[shape] = _columns(row, columns, source)
        yield source, row, known[shape]


def _columns(row: Mapping[str, Any], columns: Columns, source: str) -> _Found:
    """Which columns are the id, the hypothesis and the reference.

    A column ``text`` (or ``sentence``, ...) is the reference beside a hypothesis, and otherwise the hypothesis.
    """
    texts = ("text", *ALIASES["text"])
    hypothesis = _one_of(row, columns.hypothesis, "hypothesis", HYPOTHESIS, source)
    reference = _one_of(row, columns.reference, "reference", REFERENCE, source)
    if hypothesis is None:
        hypothesis = _one_of(row, None, "hypothesis", [name for name in texts if name != reference], source)
    elif reference is None:
        reference = _one_of(row, None, "reference", [name for name in texts if name != hypothesis], source)
    name = _one_of(row, columns.utterance_id, "utterance_id", IDS, source)
    name = name or _one_of(row, None, "utterance_id", ("audio_path", *ALIASES["audio_path"]), source)
    for field, column in (("utterance_id", name), ("hypothesis", hypothesis)):
        if column is None:
            raise KidasrError(
                f"{source}: no {field}; this line has: {truncate(', '.join(row)) or 'nothing'} (fields.{field}=NAME says "
                "which column it is)"
            )
    return _Found(str(name), str(hypothesis), reference)


def _one_of(row: Mapping[str, Any], typed: str | None, field: str, usual: Sequence[str], source: str) -> str | None:
    """The column of a field: the one that was typed, or the one with a usual name."""
    if typed is not None:
        if typed not in row:
            raise KidasrError(f"{source}: fields.{field}={typed}: no such column; this line has: {truncate(', '.join(row))}")
        return typed
    there = [name for name in usual if name in row]
    if len(there) > 1 and there[0] != usual[0]:  # kidasr's own name is no doubt meant
        ways = " or ".join(f"fields.{field}={name}" for name in there)
        raise KidasrError(f"{source}: {field} could be the column {joined(there)}; expected: {ways}")
    return there[0] if there else None


def _of_trn(path: str, _: Columns) -> Iterator[Heard]:
    for line, text in text_lines(Path(path)):
        source = f"{truncate(path)}:{line}"
        if not text.strip() or text.startswith(";;"):
            continue
        match = _TRN.fullmatch(text)
        if match is None:
            shown = truncate(repr(text.strip()), 80)
            raise KidasrError(f"{source}: no utterance id at the end: {shown}; expected: the words (utterance-id)")
        if _ALTERNATIVES.search(match[1]):
            raise KidasrError(f"{source}: alternatives {{ a / b }} are not scored; expected: one of them")
        yield Heard(match[2], match[1].strip(), source)


def _of_kaldi(path: str, _: Columns) -> Iterator[Heard]:
    for line, text in text_lines(Path(path)):
        if text.strip():
            name, *words = text.split(maxsplit=1)
            yield Heard(name, words[0].strip() if words else "", f"{truncate(path)}:{line}")


def _of_ctm(path: str, _: Columns) -> Iterator[Heard]:
    words: dict[str, list[Word]] = {}
    first: dict[str, tuple[str, str]] = {}
    for line, text in text_lines(Path(path)):
        source = f"{truncate(path)}:{line}"
        if not text.strip() or text.lstrip().startswith(";;"):
            continue
        parts = text.split()
        if len(parts) < 5:
            raise KidasrError(
                f"{source}: {len(parts)} columns; expected: recording channel start duration word [confidence]"
            )
        name, channel, start, duration, word = parts[:5]
        if word.startswith("<ALT"):
            raise KidasrError(f"{source}: alternatives ({word}) are not scored; expected: one of them")
        times = [_seconds(one) for one in (start, duration)]
        if None in times:
            raise KidasrError(f"{source}: start {start}, duration {duration}; expected: seconds, from 0 up")
        where, other = first.setdefault(name, (source, channel))
        if channel != other:
            raise KidasrError(
                f"{source}: channel {channel} of {truncate(name)}, which has channel {other} at {where}; expected: one "
                "channel of each recording"
            )
        words.setdefault(name, []).append(Word(times[0] or 0.0, times[1] or 0.0, word))
    for name, spoken in words.items():
        spoken.sort(key=lambda one: one.start_sec)
        yield Heard(name, " ".join(one.text for one in spoken), first[name][0], spoken)


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def has_references(path: str, columns: Columns) -> bool:
    """Whether a file of transcripts holds references as well."""
    if not path.lower().endswith(TABLES):
        return False
    return any(of.reference is not None for _, _, of in _rows(path, columns))


def read_references(
    path: str, columns: Columns, names: Mapping[str, str], buckets: AgeBuckets, speakers: str
) -> tuple[list[Utterance], bool]:
    """The references in a file, with speakers and ages where it has them.

    Args:
        path: What :func:`read_heard` reads (its texts are the references, or its column of references), or any other
            corpus that kidasr reads.
        columns: Names of columns.
        names: The user's names of a manifest's fields, ``data.fields``.
        buckets: The age buckets.
        speakers: ``"unknown"``: speakers are not looked for.

    Returns:
        The utterances, and whether their speakers are known. Where they are not, each utterance is a speaker of its own.

    Raises:
        KidasrError: If it can't be read.
    """
    plain = Path(path.lower().removesuffix(".gz"))
    if plain.suffix == ".ctm":
        raise KidasrError(f"{truncate(path)}: a .ctm has no references; expected: a .trn or a manifest")
    if plain.suffix in (".trn", ".txt", ".text"):
        heard = read_heard(path, columns)
        return [_text_alone(one) for one in heard], False
    if not path.lower().endswith(TABLES):
        return read_manifest(path, names, buckets, "unknown" if speakers == "unknown" else "known"), speakers != "unknown"
    found = next(((row, of) for _, row, of in _rows(path, columns)), None)
    if found is None:
        raise KidasrError(f"{truncate(path)}: no references")
    row, of = found
    if "normalized_reference" in row and "age_bucket" in row:
        return _of_predictions(path, buckets), True
    names = {**names, "text": of.reference or of.hypothesis}
    if of.name not in ("audio_path", *ALIASES["audio_path"]):
        names["utterance_id"] = of.name
    speaker = (names.get("speaker_id", "speaker_id"), *(ALIASES["speaker_id"] if names.get("speaker_id") else ()))
    known = speakers != "unknown" and any(name in row for name in speaker)
    utterances = read_manifest(path, names, buckets, "known" if known else "unknown", audio="unknown")
    return [_without(one, of.hypothesis) for one in utterances], known


def _text_alone(one: Heard) -> Utterance:
    """An utterance of which nothing but the reference is known."""
    return Utterance(one.name, one.name, "", one.text, UNKNOWN, None, None, None, None, one.source)


def _of_predictions(path: str, buckets: AgeBuckets) -> list[Utterance]:
    """The utterances of ``predictions.jsonl``, as they were when it was written."""
    found = []
    for source, row in format_of(path).rows(path, {}):
        if isinstance(row, ManifestError):
            raise row
        try:
            one = Prediction(**row)
        except TypeError as error:
            raise KidasrError(f"{source}: not a prediction: {error}") from error
        if one.age_bucket not in buckets.order:
            raise KidasrError(
                f"{source}: age_bucket={truncate(repr(one.age_bucket))}; expected: {', '.join(buckets.names)} "
                "(data.age_buckets=[...] sets the buckets)"
            )
        found.append(
            Utterance(
                utterance_id=one.utterance_id,
                speaker_id=one.speaker_id,
                audio_path=one.audio_path,
                text=one.reference,
                age_bucket=one.age_bucket,
                age=None,
                duration_sec=one.duration_sec,
                gender=None,
                split=None,
                source=source,
                extra=one.extra,
                start_sec=one.start_sec,
                end_sec=one.end_sec,
            )
        )
    return found


#: Columns of ``predictions.jsonl``, which are written anew.
_OWN = frozenset(one.name for one in fields(Prediction))


def _without(utterance: Utterance, hypothesis: str) -> Utterance:
    """An utterance whose other columns are those of nothing that a prediction has."""
    rest = {name: value for name, value in (utterance.extra or {}).items() if name != hypothesis and name not in _OWN}
    return replace(utterance, extra=rest or None)


@dataclass(frozen=True)
class Matched:
    """The transcripts of a set."""

    #: By utterance id.
    texts: Mapping[str, str]
    #: The utterances without one.
    missing: Sequence[str]
    #: What the file names the utterances by, if it is not their ids.
    by: str = ""
    #: Words at times at which there is no utterance.
    outside: int = 0


def match(utterances: Sequence[Utterance], heard: Sequence[Heard], what: str) -> Matched:
    """Find the utterance of each transcript: by its id, or else by the path or the name of its recording.

    The words of a ``.ctm`` that names recordings go to the utterance that is the part at their middle.

    Args:
        utterances: The set.
        heard: The transcripts of a file.
        what: The set, for messages.

    Raises:
        KidasrError: If transcripts are of no utterance of the set.
    """
    by, ours = "", {one.utterance_id: [one] for one in utterances}
    name_of: Callable[[str], str] = _same
    if not any(one.name in ours for one in heard):
        for other, of_utterance, of_heard in _NAMINGS:
            theirs: dict[str, list[Utterance]] = {}
            for utterance in utterances:
                theirs.setdefault(of_utterance(utterance), []).append(utterance)
            timed = all(one.words for one in heard)
            if any(of_heard(one.name) in theirs for one in heard) and (timed or max(map(len, theirs.values())) == 1):
                by, name_of, ours = other, of_heard, theirs
                break
    unknown = [one for one in heard if name_of(one.name) not in ours]
    if unknown:
        few = joined(repr(one.name) for one in unknown[:SHOWN])
        raise KidasrError(
            f"{unknown[0].source}: {len(unknown)} of {len(heard)} transcripts are of no utterance of {what}: {few}; "
            f"expected: ids such as {joined(repr(one.utterance_id) for one in utterances[:2])}"
        )
    if twice := [name for name, times in Counter(name_of(one.name) for one in heard).items() if times > 1]:
        second = [one for one in heard if name_of(one.name) == twice[0]][1]
        raise KidasrError(
            f"{second.source}: a second transcript of {truncate(repr(twice[0]))}; expected: each utterance once"
        )
    texts: dict[str, str] = {}
    outside = 0
    for one in heard:
        parts = ours[name_of(one.name)]
        if by and one.words and any((part.start_sec, part.end_sec) != (None, None) for part in parts):
            placed = [next((part for part in parts if _holds(part, word)), None) for word in one.words]
            outside += placed.count(None)
            for part in parts:
                spoken = [word.text for word, of in zip(one.words, placed, strict=True) if of is part]
                texts[part.utterance_id] = " ".join(spoken)
        elif len(parts) > 1:
            raise KidasrError(f"{one.source}: {len(parts)} utterances of {what} are of this recording; expected: their ids")
        else:
            texts[parts[0].utterance_id] = one.text
    return Matched(texts, [one.utterance_id for one in utterances if one.utterance_id not in texts], by, outside)


def _holds(part: Utterance, word: Word) -> bool:
    """Whether the middle of a word is in a part of its recording."""
    middle = word.start_sec + word.duration_sec / 2
    return (part.start_sec or 0.0) <= middle < (float("inf") if part.end_sec is None else part.end_sec)


def _same(name: str) -> str:
    return name


def _stem(name: str) -> str:
    """The name of a recording without its folder and its ending."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in AUDIO else path.name


#: What a file may name its utterances by: in words, of an utterance, and of what the file says.
_NAMINGS: Sequence[tuple[str, Callable[[Utterance], str], Callable[[str], str]]] = (
    ("recording and part", lambda one: one.audio_key, _same),
    ("path of the recording", lambda one: os.path.abspath(one.audio_path), os.path.abspath),  # noqa: PTH100
    ("name of the recording", lambda one: _stem(one.audio_path), _stem),
)
