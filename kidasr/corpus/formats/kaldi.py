"""Kaldi and ESPnet data folders: ``wav.scp``, ``text``, ``utt2spk``, and ``segments`` for parts of recordings.

Also read by the recipe :mod:`kidasr.corpus.recipes.kaldi`, which leaves out what can't be used; here it is an error.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kidasr.corpus.formats.format import Format, ManifestError, Row, audio_path, text_lines
from kidasr.errors import truncate

#: Of each optional field: files that map ids to it, by utterance or by speaker; the first that has a value counts.
OPTIONAL = {
    "age": ("utt2age", "spk2age"),
    "gender": ("utt2gender", "spk2gender"),
    "duration_sec": ("utt2dur",),
}

#: An id's value in a table, and its source.
Table = dict[str, tuple[str, str]]


class Unusable(NamedTuple):
    """An utterance that can't be used."""

    utterance_id: str
    #: As written in ``wav.scp``; empty if it is not there.
    audio_path: str
    #: One of few.
    reason: str
    #: The reason with its place, and what is expected.
    message: str


class Kaldi(Format):
    """A data folder whose recordings are files.

    Its ids, and the columns of its files, are those of https://kaldi-asr.org/doc/data_prep.html.
    """

    expected = "a Kaldi folder (wav.scp, text, utt2spk)"

    def recognises(self, name: str) -> bool:
        return os.path.isfile(os.path.join(name, "wav.scp"))  # noqa: PTH113, PTH118

    def names(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        return {}

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        for one in utterances(Path(name)):
            if isinstance(one, Unusable):
                raise ManifestError(one.message)
            source, row = one
            yield source, {**row, "audio_path": audio_path(row["audio_path"], name)}


def utterances(folder: Path) -> Iterator[tuple[str, dict[str, Any]] | Unusable]:
    """The utterances of a data folder in the order of ``segments``, or else of ``wav.scp``; texts without one last.

    Yields:
        The source and row of an utterance, with the path as in ``wav.scp`` and texts for numbers; or why it can't be used.

    Raises:
        ManifestError: If a table is missing or can't be read.
    """
    recordings = _table(folder / "wav.scp")
    texts, speakers = _required(folder, "text"), _required(folder, "utt2spk")
    optional = {field: [_table_of(folder / file) for file in files] for field, files in OPTIONAL.items()}
    has_parts = (folder / "segments").is_file()
    listed = "segments" if has_parts else "wav.scp"
    parts = _parts(folder / "segments") if has_parts else _whole(recordings)
    seen = set()
    for utterance, source, recording, times in parts:
        seen.add(utterance)
        path, path_source = recordings.get(recording, ("", source))
        unusable = (
            ("no recording in wav.scp", f"{source}: recording {truncate(recording)} is not in wav.scp")
            if recording not in recordings
            else _unusable_path(path, path_source)
            or _missing(utterance, texts, "text", "no transcript", source)
            or _missing(utterance, speakers, "utt2spk", "no speaker in utt2spk", source)
        )
        if unusable:
            yield Unusable(utterance, path, *unusable)
            continue
        speaker = speakers[utterance][0]
        row = {"utterance_id": utterance, "audio_path": path, **times, "text": texts[utterance][0], "speaker_id": speaker}
        for field, tables in optional.items():
            values = [
                table[key][0]
                for file, table in zip(OPTIONAL[field], tables, strict=True)
                if (key := speaker if file.startswith("spk") else utterance) in table
            ]
            if any(tables):
                row[field] = values[0] if values else None
        if has_parts and "duration_sec" in row:
            row["duration_sec"] = None  # the length in segments is exact
        yield source, row
    for utterance, (_, source) in texts.items():
        if utterance not in seen:
            known = f"expected: an utterance of {listed} (Kaldi's utils/fix_data_dir.sh removes others)"
            message = f"{source}: {truncate(utterance)} is not in {listed}; {known}"
            yield Unusable(utterance, "", "no recording in wav.scp or segments", message)


def _required(folder: Path, file: str) -> Table:
    if not (folder / file).is_file():
        raise ManifestError(f"{truncate(folder)}: a Kaldi folder without {file}; expected: wav.scp, text, utt2spk")
    return _table(folder / file)


def _table_of(path: Path) -> Table:
    """An optional file; empty if it isn't there."""
    return _table(path) if path.is_file() else {}


def _table(path: Path) -> Table:
    """A file of lines ``ID REST``: by id, the rest and its source."""
    table: Table = {}
    for line, text in text_lines(path):
        if not text.strip():
            continue
        source = f"{truncate(path)}:{line}"
        key, *rest = text.strip().split(maxsplit=1)
        if key in table:
            raise ManifestError(f"{source}: {truncate(key)} is already at {table[key][1]}; expected: each id once")
        table[key] = (rest[0] if rest else "", source)
    return table


def _unusable_path(path: str, source: str) -> tuple[str, str] | None:
    """Reason and message if a line of ``wav.scp`` names no file."""
    if path.endswith("|"):
        reason, what = "wav.scp has a command, not a file", f"a command, {truncate(path, 80)!r}"
    elif path.rpartition(":")[2].isdigit() and ".ark:" in path:
        reason, what = "wav.scp has a place in an archive, not a file", f"a place in an archive, {truncate(path, 80)!r}"
    elif not path:
        reason, what = "wav.scp has no path", "no path"
    else:
        return None
    wanted = "expected: the path of an audio file (ESPnet's scripts/audio/format_wav_scp.sh writes the files)"
    return reason, f"{source}: {what}; {wanted}"


def _missing(utterance: str, table: Table, file: str, reason: str, source: str) -> tuple[str, str] | None:
    if utterance in table:
        return None
    return reason, f"{source}: {truncate(utterance)} has no line in {file}; expected: one"


def _whole(recordings: Table) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Id, source, recording and no times of each utterance that is a whole recording."""
    for utterance, (_, source) in recordings.items():
        yield utterance, source, utterance, {}


def _parts(segments: Path) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Id, source, recording, and start and end of each utterance: lines ``UTTERANCE RECORDING START END``."""
    for utterance, (rest, source) in _table(segments).items():
        columns = rest.split()
        if len(columns) != 3:
            wanted = "expected: UTTERANCE RECORDING START END"
            if len(columns) == 4:
                wanted += " (a channel of a recording: write it to a file of its own)"
            raise ManifestError(f"{source}: {1 + len(columns)} columns; {wanted}")
        recording, start, end = columns
        ends = None if end in ("-1", "-1.0") else end  # to the end of the recording
        yield utterance, source, recording, {"start": start, "end": ends}
