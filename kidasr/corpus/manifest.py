"""Reading manifests: one utterance a line, as JSONL or CSV."""

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.errors import KidasrError


class ManifestError(KidasrError):
    """A manifest that can't be used; names the file, the line, the field, what was wrong and what is accepted."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one child, and what was said in it."""

    utterance_id: str
    speaker_id: str
    audio_path: str
    text: str
    #: One of the run's buckets, or ``"unknown"``.
    age_bucket: str
    #: Age in years, where the manifest gives a number.
    age: float | None
    duration_sec: float | None
    gender: str | None
    #: The manifest's own division, such as ``"train"``.
    split: str | None
    #: Where it was read, for messages: ``"train.jsonl:17"``.
    source: str


def read_manifest(path: str | Path, fields: Mapping[str, str], buckets: AgeBuckets) -> list[Utterance]:
    """Read a manifest, whole.

    Args:
        path: A ``.jsonl`` file (one JSON object a line) or a ``.csv`` file (comma-separated, with a header).
        fields: Name in the manifest of each field of :class:`Utterance` (``age_bucket`` and ``split`` among them).
        buckets: The run's age buckets.

    Returns:
        The utterances in the order of the file. ``audio_path`` is resolved against the manifest's folder;
        ``utterance_id``, where the manifest has none, is the audio path as written there.

    Raises:
        ManifestError: If the file is missing, empty or of another kind, or for a line that can't be used.
    """
    path = Path(path)
    if not path.is_file():
        raise ManifestError(f"{path}: no such file; accepted: a manifest ending in .jsonl or .csv")
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ManifestError(f"{path}: not a manifest by its name; accepted: .jsonl or .csv")
    folder = str(path.parent)
    utterances: list[Utterance] = []
    seen: dict[str, str] = {}
    try:
        for line, row in readers[path.suffix.lower()](path):
            utterance = _utterance(row, f"{path}:{line}", folder, fields, buckets)
            if utterance.utterance_id in seen:
                raise ManifestError(
                    f"{utterance.source}: {fields['utterance_id']} {utterance.utterance_id!r} was used before, at "
                    f"{seen[utterance.utterance_id]}; accepted: each only once"
                )
            seen[utterance.utterance_id] = utterance.source
            utterances.append(utterance)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not text in UTF-8 ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise ManifestError(f"{path}: can't be read: {error.strerror}") from error
    if not utterances:
        raise ManifestError(f"{path}: no utterance in it")
    return utterances


def _read_jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise ManifestError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error
            if not isinstance(row, dict):
                raise ManifestError(f"{path}:{line}: {type(row).__name__}; accepted: a JSON object, {{...}}")
            yield line, row


def _read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise ManifestError(
                        f"{path}:{reader.line_num}: not as many columns as the header's {len(reader.fieldnames or ())}"
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise ManifestError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _utterance(
    row: Mapping[str, Any], source: str, folder: str, fields: Mapping[str, str], buckets: AgeBuckets
) -> Utterance:
    audio_path = _text(row, fields["audio_path"], source)
    text = row.get(fields["text"], "")  # an utterance without words is legal, one without the field is not
    if fields["text"] not in row:
        raise _missing(row, fields["text"], source)
    if not isinstance(text, str):
        raise ManifestError(f"{source}: {fields['text']}={text!r}; accepted: a text")
    age = _number(row, fields["age"], source)
    return Utterance(
        utterance_id=_text(row, fields["utterance_id"], source, default=audio_path),
        speaker_id=_text(row, fields["speaker_id"], source),
        audio_path=os.path.join(folder, audio_path),  # noqa: PTH118, a Path takes ten times as long
        text=text,
        age_bucket=_bucket(row, age, source, fields, buckets),
        age=age,
        duration_sec=_number(row, fields["duration_sec"], source),
        gender=_text(row, fields["gender"], source, default="") or None,
        split=_text(row, fields["split"], source, default="") or None,
        source=source,
    )


def _missing(row: Mapping[str, Any], name: str, source: str) -> ManifestError:
    return ManifestError(
        f"{source}: field {name!r} is missing; this line has: {', '.join(map(str, row)) or 'nothing'} "
        "(data.fields says which of your names is which)"
    )


def _text(row: Mapping[str, Any], name: str, source: str, default: str | None = None) -> str:
    value = row.get(name)
    if value is None or value == "":
        if default is None:
            raise _missing(row, name, source)
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ManifestError(f"{source}: {name}={value!r}; accepted: a text")
    return str(value)


def _number(row: Mapping[str, Any], name: str, source: str) -> float | None:
    """A number that is not negative; None where the field is missing, null or ``"unknown"``."""
    value = row.get(name)
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", UNKNOWN)):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise ManifestError(f"{source}: {name}={value!r}; accepted: a number from 0 up, or null")
    return number


def _bucket(row: Mapping[str, Any], age: float | None, source: str, fields: Mapping[str, str], buckets: AgeBuckets) -> str:
    """The bucket that the manifest names, if it is one of the run's; else the one that holds the age."""
    named = row.get(fields["age_bucket"])
    if isinstance(named, str) and named in buckets.order and named != UNKNOWN:
        return named
    if age is not None:
        return buckets.bucket_of(age)
    if named in (None, "", UNKNOWN):
        return UNKNOWN
    raise ManifestError(
        f"{source}: {fields['age_bucket']}={named!r}; accepted: {', '.join(buckets.names)} "
        "(data.age_buckets=[...] sets the buckets)"
    )
