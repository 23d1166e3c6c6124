"""Utterances, and reading them from a manifest or a corpus in another format."""

import logging
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.columns import LOOKALIKES, Columns, columns_of
from kidasr.corpus.formats import ManifestError, format_of
from kidasr.corpus.formats.format import joined, unreadable
from kidasr.errors import truncate

log = logging.getLogger(__name__)

#: In years; a larger age is in months, or a mistake.
OLDEST_YEARS = 120

#: How far times in a manifest may be apart, or from those of the recording, in seconds: they are rounded.
TOLERANCE_SEC = 0.1

#: The fields that make an utterance a part of its recording.
PART = ("start", "end", "offset", "duration")

EMPTY = frozenset(("",))

#: Values that mean none, as spreadsheets and pandas write them. In a transcript they are words.
MISSING = frozenset(("", "nan", "NaN", "NAN", "null", "Null", "NULL", "none", "None", "NONE", "NA", "N/A", "n/a", "<NA>"))


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording of one child, or a part of one, with its transcript."""

    utterance_id: str
    speaker_id: str
    audio_path: str
    text: str
    #: One of the run's buckets, or ``"unknown"``.
    age_bucket: str
    #: Age in years, if the manifest gives a number.
    age: float | None
    #: Length of the utterance.
    duration_sec: float | None
    gender: str | None
    #: The set that the manifest names, such as ``"train"``.
    split: str | None
    #: Its location, for messages: ``"train.jsonl:17"``.
    source: str
    #: Other fields of its line; copied to ``predictions.jsonl``.
    extra: Mapping[str, Any] | None = None
    #: The part of the recording that it is; None for the whole recording, or to its end.
    start_sec: float | None = None
    end_sec: float | None = None

    @classmethod
    def of_recording(
        cls, audio_path: str, source: str, start_sec: float | None = None, end_sec: float | None = None
    ) -> "Utterance":
        """A recording, or a part of one, of which nothing else is known: to transcribe."""
        return cls(source, source, audio_path, "", UNKNOWN, None, None, None, None, source, None, start_sec, end_sec)

    @property
    def known_duration_sec(self) -> float:
        """The length of an utterance after its check (:class:`kidasr.corpus.audio_check.AudioCheck`)."""
        assert self.duration_sec is not None, f"{self.source}: not checked yet"
        return self.duration_sec

    @property
    def audio_key(self) -> str:
        """Identifies its audio: the recording and the part."""
        return f"{self.audio_path}\0{self.start_sec}\0{self.end_sec}"


class FaultyLine(NamedTuple):
    """A line of a manifest that can't be used."""

    #: The utterance's id, as far as the line tells, or else the line itself: ``"train.jsonl:17"``.
    utterance_id: str
    #: The set of the manifest.
    set: str
    kind: str
    #: The message, which begins with the line.
    error: str


def read_manifest(
    path: str | Path,
    fields: Mapping[str, str],
    buckets: AgeBuckets,
    speakers: Literal["known", "unknown"] = "known",
    faulty: Callable[[str, Mapping[str, Any], ManifestError], None] | None = None,
    audio: Literal["known", "unknown"] = "known",
    most: int | None = None,
) -> list[Utterance]:
    """Read a whole manifest, or a corpus in another format.

    Args:
        path: A manifest (JSON lines, or CSV with a header), or what another module of :mod:`kidasr.corpus.formats` reads.
        fields: The name in the manifest of each field, see ``conf/data/manifest.yaml``; kidasr's own if it isn't there.
        buckets: The run's age buckets.
        speakers: ``"unknown"``: an utterance's speaker is its own id; the manifest's field, if it has one, is extra.
        faulty: Takes the source, the columns and the error of a line that can't be used, which is left out; None: the
            first such line is an error.
        audio: ``"unknown"``: a line with an ``utterance_id`` needs no ``audio_path``, which then is empty: to score texts.
        most: Read only so many utterances, and log nothing; None: all.

    Returns:
        The utterances in order. ``audio_path`` is resolved against the manifest's folder. ``utterance_id`` defaults to the
        audio path as written in the manifest; with ``-start-end`` for a part of a recording.

    Raises:
        ManifestError: If it is missing, empty or in no known format, or, without ``faulty``, for an unusable line.
    """
    name = os.path.expanduser(path)  # noqa: PTH111, a shell does so only at the start of a word
    utterances: list[Utterance] = []
    seen: dict[str, str] = {}
    extra: dict[str, Any] | None = None
    shapes: dict[tuple[str, ...], Columns] = {}
    is_faulty = False
    try:
        kind = format_of(name)
        folder, names = kind.folder(name), kind.names(fields)
        for source, row in kind.rows(name, fields):
            try:
                if isinstance(row, ManifestError):
                    raise row
                shape = tuple(row)
                columns = shapes.get(shape)
                if columns is None:
                    columns = columns_of(shape, names, source)
                    if speakers == "unknown" and columns.speaker_id in row:
                        columns = columns._replace(extra=(*columns.extra, columns.speaker_id))
                    shapes[shape] = columns
                more = {column: row[column] for column in columns.extra} or None
                extra = extra if more == extra else more  # one dict shared by all utterances of a session
                utterance = _utterance(row, source, folder, columns, buckets, extra, speakers, bool(utterances), audio)
                if utterance.utterance_id in seen:
                    which = f"{columns.utterance_id or 'utterance_id'} {truncate(repr(utterance.utterance_id))}"
                    fault = f"{source}: {which} is already used at {seen[utterance.utterance_id]}; expected: unique ids"
                    raise ManifestError(fault, "repeated_id")
            except ManifestError as error:
                if faulty is None:
                    raise
                faulty(source, {} if isinstance(row, ManifestError) else row, error)
                is_faulty = True
                continue
            seen[utterance.utterance_id] = source
            utterances.append(utterance)
            if len(utterances) == most:
                return utterances
    except OSError as error:
        raise unreadable(name, error) from error
    if not utterances and not is_faulty:
        raise ManifestError(f"{truncate(name)}: no utterances")
    _tell_columns(name, list(shapes.values()))
    return utterances


def _tell_columns(name: str, shapes: list[Columns]) -> None:
    """Log the columns that were found under other names, and those that are not used but look like times."""
    renamed = {field: column for columns in shapes for field, column in columns.renamed.items()}
    if renamed:
        which = joined(f"{field} is its column {column!r}" for field, column in renamed.items())
        log.info("data: %s: %s (data.fields maps others)", truncate(name), which)
    if any(columns.start or columns.offset or columns.end for columns in shapes):
        return
    others = {column for columns in shapes for column in columns.extra}
    times = {field: column for field, columns in LOOKALIKES.items() for column in columns if column in others}
    if times:
        log.warning(
            "data: %s: not used: %s; if an utterance is only that part of its recording: %s (in seconds)",
            *(truncate(name), joined(times.values())),
            " ".join(f"data.fields.{field}={column}" for field, column in times.items()),
        )


def _utterance(
    row: Mapping[str, Any],
    source: str,
    folder: str,
    columns: Columns,
    buckets: AgeBuckets,
    extra: Mapping[str, Any] | None,
    speakers: Literal["known", "unknown"],
    is_later: bool,
    audio: Literal["known", "unknown"],
) -> Utterance:
    named = audio == "unknown" and bool(_optional(row, columns.utterance_id, source, missing=EMPTY))
    audio_path = (
        (_optional(row, columns.audio_path, source, EMPTY) or "")
        if named
        else _text(row, columns.audio_path, "audio_path", source)
    )
    if columns.text not in row:
        raise _missing(row, columns.text, "text", source)
    text = row[columns.text]  # an empty transcript is valid
    if not isinstance(text, str):
        raise ManifestError(f"{source}: {columns.text}={truncate(repr(text))}; expected: a string")
    age, age_bucket = _age(row, source, columns, buckets)
    start_sec, end_sec, duration_sec = part_of(row, columns, source)
    whole = start_sec is None and end_sec is None
    utterance_id = _optional(row, columns.utterance_id, source, missing=EMPTY) or (
        audio_path if whole else f"{audio_path}-{start_sec or 0.0}-{'end' if end_sec is None else end_sec}"
    )
    return Utterance(
        utterance_id=utterance_id,
        speaker_id=_speaker(row, columns.speaker_id, source, is_later) if speakers == "known" else utterance_id,
        audio_path=audio_path and os.path.join(folder, audio_path),  # noqa: PTH118, a Path is ten times slower
        text=text,
        age_bucket=age_bucket,
        age=age,
        duration_sec=duration_sec,
        gender=_optional(row, columns.gender, source),
        split=_optional(row, columns.split, source),
        source=source,
        extra=extra,
        start_sec=start_sec,
        end_sec=end_sec,
    )


def part_of(row: Mapping[str, Any], columns: Columns, source: str) -> tuple[float | None, float | None, float | None]:
    """Start and end of a part of a recording, None for the whole recording, and the length of the utterance, in seconds.

    A start with a length is a part, a length alone is that of the recording.

    Raises:
        ManifestError: If one is no time, or they contradict each other.
    """
    duration_sec = _number(row, columns.duration_sec, source)
    if not columns.have_part:
        return None, None, duration_sec
    start, end, offset, duration = (
        _number(row, name, source, f"seconds, a number from 0 up, or null (data.fields.{field}=none if it is no time)")
        for field, name in zip(PART, (columns.start, columns.end, columns.offset, columns.duration), strict=True)
    )
    if start is not None and offset is not None:
        both = f"{columns.start}={start:g} and {columns.offset}={offset:g}"
        raise ManifestError(f"{source}: {both}; expected: one of them, in seconds from the start of the recording")
    lengths = {columns.duration: duration, columns.duration_sec: duration_sec}
    told = {name: length for name, length in lengths.items() if length is not None}
    starts = start if offset is None else offset
    if starts is not None or end is not None:
        began = starts or 0.0
        if end is None and told:
            end = round(began + next(iter(told.values())), 9)
        if end is None:
            return began, None, None
        if end <= began:
            name, value = next(iter(told.items())) if columns.end is None else (columns.end, end)
            what = f"{name}={value:g}"
            raise ManifestError(f"{source}: {what} with a start of {began:g} s; expected: an end after the start")
        told = {"end - start": round(end - began, 9), **told}
    if told and max(told.values()) - min(told.values()) > TOLERANCE_SEC:
        what = " and ".join(f"{name}={length:g}" for name, length in told.items())
        raise ManifestError(
            f"{source}: {what} contradict each other; expected: the same length of the utterance, in seconds"
        )
    length = next(iter(told.values()), None)
    return (starts, None, length) if end is None else (starts or 0.0, end, length)


def _missing(row: Mapping[str, Any], name: str, field: str, source: str) -> ManifestError:
    if name in row:
        fault = f"{source}: {name}={truncate(repr(row[name]))}, which means none; expected: a value"
        return ManifestError(fault, "missing_field")
    hint = f"data.fields.{field}=NAME takes another"
    if any(str(column).lower().endswith((".wav", ".flac", ".ogg", ".mp3")) for column in row):
        hint = "is the first line a header? These look like values"
    return ManifestError(
        f"{source}: field {name!r} is missing; this line has: {truncate(', '.join(row)) or 'nothing'} ({hint})",
        "missing_field",
    )


def _speaker(row: Mapping[str, Any], name: str, source: str, is_later: bool) -> str:
    speaker = _optional(row, name, source, MISSING)
    if speaker and (speaker := speaker.strip()):
        return speaker
    if is_later:
        raise ManifestError(
            f"{source}: field {name!r} is missing or empty, but earlier lines have it; expected: a speaker in each line, "
            "or in none (with data.speakers=unknown)",
            "missing_field",
        )
    if name in row:
        raise _missing(row, name, "speaker_id", source)
    raise ManifestError(
        f"{source}: field {name!r} is missing; this line has: {truncate(', '.join(row))} (data.fields.speaker_id=NAME takes "
        "another, data.speakers=unknown does without speakers)",
        "missing_field",
    )


def _text(row: Mapping[str, Any], name: str, field: str, source: str, missing: frozenset[str] = EMPTY) -> str:
    found = _optional(row, name, source, missing)
    if found is None:
        raise _missing(row, name, field, source)
    return found


def _optional(row: Mapping[str, Any], name: str | None, source: str, missing: frozenset[str] = MISSING) -> str | None:
    if name is None:
        return None
    value = row.get(name)
    if isinstance(value, str):
        return None if value in missing else value
    if value is None or value != value:  # NaN
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ManifestError(f"{source}: {name}={truncate(repr(value))}; expected: a string")
    return str(value)


def _is_missing(value: Any) -> bool:
    """Whether it is null, NaN, or a word for either, such as ``"NA"`` or ``"unknown"``."""
    if isinstance(value, str):
        return value.strip() in MISSING or value.strip().lower() == UNKNOWN
    return value is None or value != value


def _number(
    row: Mapping[str, Any],
    name: str | None,
    source: str,
    expected: str = "a number from 0 up, or null",
    largest: float = sys.float_info.max,
) -> float | None:
    """A non-negative number; None if the field is missing, null, or a word for either, such as ``"unknown"``."""
    value: Any = None if name is None else row.get(name)
    if _is_missing(value):
        return None
    try:
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)  # "1_0" would be 10
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= largest:
        raise ManifestError(f"{source}: {name}={truncate(repr(value))}; expected: {expected}")
    return number


def _age(row: Mapping[str, Any], source: str, columns: Columns, buckets: AgeBuckets) -> tuple[float | None, str]:
    """The age in years, if it is known, and its bucket."""
    if buckets.labels:
        return _labelled_age(row, source, columns, buckets)
    units = 12 if buckets.unit == "months" else 1
    value = row.get(columns.age) if columns.age else None
    hint = " (data.age_order=[...] lists other labels)" if isinstance(value, str) else ""
    if isinstance(value, str) and re.match(r"\s*\d+(\.\d+)?\s*(y|m|;)", value, re.IGNORECASE):
        hint = " (a number without a unit, such as 7, or 7.25 for 7;03)"
    if isinstance(value, int | float) and units == 1 and value > OLDEST_YEARS:
        hint = " (months? data.age_unit=months)"
    expected = f"{buckets.unit} from 0 to {units * OLDEST_YEARS}, or null{hint}"
    age = _number(row, columns.age, source, expected, units * OLDEST_YEARS)
    age = age if age is None else age / units
    return age, _bucket(row, age, source, columns.age_bucket, buckets)


def _labelled_age(row: Mapping[str, Any], source: str, columns: Columns, buckets: AgeBuckets) -> tuple[float | None, str]:
    given = {name: row[name] for name in (columns.age_bucket, columns.age) if name and not _is_missing(row.get(name))}
    for value in given.values():
        label = f"{value:g}" if isinstance(value, float) else str(value).strip()
        if label in buckets.labels and not isinstance(value, bool):
            age = buckets.labels[label]
            return age, label if age is None else buckets.bucket_of(age)
    named = given.get(columns.age_bucket or "")
    if isinstance(named, str) and named in buckets.order:
        return None, named
    if not given:
        return None, UNKNOWN
    name, value = next(iter(given.items()))
    raise ManifestError(
        f"{source}: {name}={truncate(repr(value))}; expected: {', '.join(buckets.labels)}, or null "
        "(the labels of data.age_order or data.age_years)"
    )


def _bucket(row: Mapping[str, Any], age: float | None, source: str, name: str | None, buckets: AgeBuckets) -> str:
    """The bucket that the manifest names if it is one of the run's buckets, or else the bucket of the age."""
    named = None if name is None else row.get(name)
    if isinstance(named, str) and named in buckets.order and named != UNKNOWN:
        return named
    if age is not None:
        return buckets.bucket_of(age)
    if _is_missing(named):
        return UNKNOWN
    raise ManifestError(
        f"{source}: {name}={truncate(repr(named))}; expected: {', '.join(buckets.names)} "
        "(data.age_buckets=[...] sets the buckets)"
    )
