"""Which column of a manifest is which field."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kidasr.corpus.formats.format import ManifestError, joined

REQUIRED = ("audio_path", "text", "speaker_id")

#: Names that other tools give kidasr's fields: Common Voice, Hugging Face, NeMo, lhotse. They count where a manifest has no
#: column of the configured name and ``data.fields`` does not map the field.
ALIASES = {
    "audio_path": ("audio_filepath", "file_name", "path", "audio", "wav", "audio_file", "filename", "file"),
    "text": ("sentence", "transcription", "transcript"),
    "speaker_id": ("client_id", "speaker", "spk_id"),
    "utterance_id": ("utt_id",),
    "gender": ("sex",),
    "start": ("start_sec",),
    "end": ("end_sec",),
    "offset": ("offset_sec",),
}

#: Columns that look as if utterances were parts of recordings. They are not used: in many corpora the parts are cut already.
LOOKALIKES = {
    "start": ("start_time", "begin_time", "begin", "segment_start", "start_ms"),
    "end": ("end_time", "stop", "segment_end", "end_ms"),
}


class Columns(NamedTuple):
    """The column of each field in rows of the same shape; None for an optional field without one."""

    audio_path: str
    text: str
    speaker_id: str
    utterance_id: str | None
    age: str | None
    age_bucket: str | None
    duration_sec: str | None
    gender: str | None
    split: str | None
    start: str | None
    end: str | None
    offset: str | None
    duration: str | None
    #: Whether there is a column that may make an utterance a part of its recording, or give its length.
    have_part: bool
    #: The columns of no field.
    extra: tuple[str, ...]
    #: Fields found under another tool's name.
    renamed: Mapping[str, str]


FIELDS = Columns._fields[:13]


def known_names(fields: Mapping[str, str]) -> frozenset[str]:
    """All names by which a column would be recognised."""
    return frozenset(
        [*(fields.get(field, field) for field in FIELDS), *(name for names in ALIASES.values() for name in names)]
    )


def columns_of(row: Sequence[str], fields: Mapping[str, str], source: str) -> Columns:
    """The columns of the fields in rows with these columns.

    Args:
        row: The columns.
        fields: The user's name of each field that isn't kidasr's own.
        source: The first row, for the message.

    Raises:
        ManifestError: If two columns could be the same field; says how to choose one.
    """
    names = {field: fields.get(field, field) for field in FIELDS}
    present = frozenset(row)
    found = {field: name for field, name in names.items() if name in present}
    renamed: dict[str, str] = {}
    for field, others in ALIASES.items():
        if field in found or names[field] != field:
            continue
        possible = [name for name in others if name in present and name not in names.values()]
        if len(possible) > 1:
            ways = " or ".join(f"data.fields.{field}={name}" for name in possible)
            raise ManifestError(f"{source}: {field} could be the column {joined(possible)}; expected: {ways}")
        if possible:
            renamed[field] = possible[0]
    found |= renamed
    columns = {field: found.get(field, names[field] if field in REQUIRED else None) for field in FIELDS}
    return Columns(
        **columns,  # type: ignore[arg-type]
        have_part=any(field in found for field in ("start", "end", "offset", "duration")),
        extra=tuple(name for name in row if name not in found.values() and name not in names.values()),
        renamed=renamed,
    )
