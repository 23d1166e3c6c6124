"""Reading manifests: one utterance per line, as JSONL or CSV."""

import csv
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.errors import KidasrError, truncate

#: In years; a larger age is in months, or a mistake.
OLDEST_YEARS = 120


class ManifestError(KidasrError):
    """An unusable manifest; the message gives the file, the line, the field, the error and what is expected."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one child, with its transcript."""

    utterance_id: str
    speaker_id: str
    audio_path: str
    text: str
    #: One of the run's buckets, or ``"unknown"``.
    age_bucket: str
    #: Age in years, if the manifest gives a number.
    age: float | None
    duration_sec: float | None
    gender: str | None
    #: The set that the manifest names, such as ``"train"``.
    split: str | None
    #: Its location, for messages: ``"train.jsonl:17"``.
    source: str
    #: Other fields of its line; copied to ``predictions.jsonl``.
    extra: Mapping[str, Any] | None = None

    @property
    def known_duration_sec(self) -> float:
        """The length of a recording after its check (:class:`kidasr.corpus.audio_check.AudioCheck`)."""
        assert self.duration_sec is not None, f"{self.source}: not checked yet"
        return self.duration_sec


def read_manifest(
    path: str | Path,
    fields: Mapping[str, str],
    buckets: AgeBuckets,
    speakers: Literal["known", "unknown"] = "known",
) -> list[Utterance]:
    """Read a whole manifest.

    Args:
        path: A ``.jsonl`` file (one JSON object per line) or a ``.csv`` file (comma-separated, with a header).
        fields: The name in the manifest of each field of :class:`Utterance`, including ``age_bucket`` and ``split``.
        buckets: The run's age buckets.
        speakers: ``"unknown"``: an utterance's speaker is its own id; the manifest's field, if it has one, is extra.

    Returns:
        The utterances in file order. ``audio_path`` is resolved against the manifest's folder. ``utterance_id`` defaults to
        the audio path as written in the manifest.

    Raises:
        ManifestError: If the file is missing, empty or of another type, or for an unusable line.
    """
    path = Path(path)
    name = truncate(path)
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv}
    folder = str(path.parent)
    known = frozenset(fields.values()) - ({fields["speaker_id"]} if speakers == "unknown" else set())
    utterances: list[Utterance] = []
    seen: dict[str, str] = {}
    extra: dict[str, Any] | None = None
    try:
        if not path.is_file():
            what = "not a file" if path.exists() else "no such file"
            raise ManifestError(f"{name}: {what}; expected: a manifest ending in .jsonl or .csv")
        if path.suffix.lower() not in readers:
            raise ManifestError(f"{name}: unknown file type; expected: .jsonl or .csv")
        for line, row in readers[path.suffix.lower()](path):
            more = {column: row[column] for column in _unknown(tuple(row), known)} or None
            extra = extra if more == extra else more  # one dict shared by all utterances of a session
            utterance = _utterance(row, f"{name}:{line}", folder, fields, buckets, extra, speakers, bool(utterances))
            if utterance.utterance_id in seen:
                which = f"{fields['utterance_id']} {truncate(repr(utterance.utterance_id))}"
                before = seen[utterance.utterance_id]
                raise ManifestError(f"{utterance.source}: {which} is already used at {before}; expected: unique ids")
            seen[utterance.utterance_id] = utterance.source
            utterances.append(utterance)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{name}:{_undecodable_line(path)}: not UTF-8: {error.reason}") from error
    except OSError as error:
        raise ManifestError(f"{name}: can't be read: {error.strerror}") from error
    if not utterances:
        raise ManifestError(f"{name}: no utterances")
    return utterances


@lru_cache  # lines of a manifest have the same columns
def _unknown(columns: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    return tuple(column for column in columns if column not in known)


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            try:
                content.decode()
            except UnicodeDecodeError:
                return line
    return line  # a line end inside a character


def _read_jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
                if "\\u" in text and "\\ud" in text.lower():  # half a surrogate pair is valid JSON but not valid text
                    json.dumps(row, ensure_ascii=False).encode()
            except json.JSONDecodeError as error:
                raise ManifestError(f"{truncate(path)}:{line}: not JSON: {error.msg} at column {error.colno}") from error
            except UnicodeEncodeError as error:
                half = repr(error.object[error.start])
                raise ManifestError(f"{truncate(path)}:{line}: {half} is half a surrogate pair; expected: text") from error
            except (ValueError, RecursionError) as error:  # a number with thousands of digits; deep nesting
                raise ManifestError(f"{truncate(path)}:{line}: unreadable JSON: {truncate(error)}") from error
            if not isinstance(row, dict):
                raise ManifestError(f"{truncate(path)}:{line}: {type(row).__name__}; expected: a JSON object, {{...}}")
            yield line, row


def _read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(file, strict=True)
        line = 1  # where a record starts; an unclosed quote swallows the rest of the file
        try:
            header = next(reader, [])
            if twice := [name for name, times in Counter(header).items() if times > 1]:
                raise ManifestError(f"{truncate(path)}:1: column {truncate(repr(twice[0]))} occurs twice; expected: once")
            line = reader.line_num + 1
            for record in reader:
                if record and len(record) != len(header):
                    raise ManifestError(
                        f"{truncate(path)}:{line}: {len(record)} columns; expected: the header's {len(header)}"
                    )
                if record:
                    yield line, dict(zip(header, record, strict=True))
                line = reader.line_num + 1
        except csv.Error as error:
            raise ManifestError(f"{truncate(path)}:{line}: not CSV: {error}; the record starts here") from error


def _utterance(
    row: Mapping[str, Any],
    source: str,
    folder: str,
    fields: Mapping[str, str],
    buckets: AgeBuckets,
    extra: Mapping[str, Any] | None,
    speakers: Literal["known", "unknown"],
    is_later: bool,
) -> Utterance:
    audio_path = _text(row, fields["audio_path"], source)
    text = row.get(fields["text"], "")  # an empty transcript is valid, a missing one is not
    if fields["text"] not in row:
        raise _missing(row, fields["text"], source)
    if not isinstance(text, str):
        raise ManifestError(f"{source}: {fields['text']}={truncate(repr(text))}; expected: a string")
    speaker_id = _speaker(row, fields["speaker_id"], source, is_later) if speakers == "known" else None
    utterance_id = _text(row, fields["utterance_id"], source, default=audio_path)
    age, age_bucket = _age(row, source, fields, buckets)
    return Utterance(
        utterance_id=utterance_id,
        speaker_id=utterance_id if speaker_id is None else speaker_id,
        audio_path=os.path.join(folder, audio_path),  # noqa: PTH118, a Path is ten times slower
        text=text,
        age_bucket=age_bucket,
        age=age,
        duration_sec=_number(row, fields["duration_sec"], source),
        gender=_text(row, fields["gender"], source, default="") or None,
        split=_text(row, fields["split"], source, default="") or None,
        source=source,
        extra=extra,
    )


def _missing(row: Mapping[str, Any], name: str, source: str) -> ManifestError:
    return ManifestError(
        f"{source}: field {name!r} is missing; this line has: {truncate(', '.join(row)) or 'nothing'} "
        "(data.fields maps field names)"
    )


def _speaker(row: Mapping[str, Any], name: str, source: str, is_later: bool) -> str:
    if speaker := _text(row, name, source, default=""):
        return speaker
    if is_later:
        raise ManifestError(
            f"{source}: field {name!r} is missing or empty, but earlier lines have it; expected: a speaker in each line, "
            "or in none (with data.speakers=unknown)"
        )
    raise ManifestError(
        f"{source}: field {name!r} is missing; this line has: {truncate(', '.join(row))} (data.fields maps field names, "
        "data.speakers=unknown does without speakers)"
    )


def _text(row: Mapping[str, Any], name: str, source: str, default: str | None = None) -> str:
    value = row.get(name)
    if value is None or value == "":
        if default is None:
            raise _missing(row, name, source)
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ManifestError(f"{source}: {name}={truncate(repr(value))}; expected: a string")
    return str(value)


def _number(
    row: Mapping[str, Any],
    name: str,
    source: str,
    expected: str = "a number from 0 up, or null",
    largest: float = sys.float_info.max,
) -> float | None:
    """A non-negative number; None if the field is missing, null or ``"unknown"``."""
    value = row.get(name)
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", UNKNOWN)):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= largest:
        raise ManifestError(f"{source}: {name}={truncate(repr(value))}; expected: {expected}")
    return number


def _age(row: Mapping[str, Any], source: str, fields: Mapping[str, str], buckets: AgeBuckets) -> tuple[float | None, str]:
    """The age in years, if it is known, and its bucket."""
    if buckets.labels:
        return _labelled_age(row, source, fields, buckets)
    units = 12 if buckets.unit == "months" else 1
    value = row.get(fields["age"])
    hint = " (data.age_order=[...] lists other labels)" if isinstance(value, str) else ""
    if isinstance(value, int | float) and units == 1 and value > OLDEST_YEARS:
        hint = " (months? data.age_unit=months)"
    expected = f"{buckets.unit} from 0 to {units * OLDEST_YEARS}, or null{hint}"
    age = _number(row, fields["age"], source, expected, units * OLDEST_YEARS)
    age = age if age is None else age / units
    return age, _bucket(row, age, source, fields, buckets)


def _labelled_age(
    row: Mapping[str, Any], source: str, fields: Mapping[str, str], buckets: AgeBuckets
) -> tuple[float | None, str]:
    given = {name: row[name] for name in (fields["age_bucket"], fields["age"]) if row.get(name) not in (None, "", UNKNOWN)}
    for value in given.values():
        label = f"{value:g}" if isinstance(value, float) else str(value).strip()
        if label in buckets.labels and not isinstance(value, bool):
            age = buckets.labels[label]
            return age, label if age is None else buckets.bucket_of(age)
    named = given.get(fields["age_bucket"])
    if isinstance(named, str) and named in buckets.order:
        return None, named
    if not given:
        return None, UNKNOWN
    name, value = next(iter(given.items()))
    raise ManifestError(
        f"{source}: {name}={truncate(repr(value))}; expected: {', '.join(buckets.labels)}, or null "
        "(the labels of data.age_order or data.age_years)"
    )


def _bucket(row: Mapping[str, Any], age: float | None, source: str, fields: Mapping[str, str], buckets: AgeBuckets) -> str:
    """The bucket that the manifest names if it is one of the run's buckets, or else the bucket of the age."""
    named = row.get(fields["age_bucket"])
    if isinstance(named, str) and named in buckets.order and named != UNKNOWN:
        return named
    if age is not None:
        return buckets.bucket_of(age)
    if named in (None, "", UNKNOWN):
        return UNKNOWN
    raise ManifestError(
        f"{source}: {fields['age_bucket']}={truncate(repr(named))}; expected: {', '.join(buckets.names)} "
        "(data.age_buckets=[...] sets the buckets)"
    )
