"""Kaldi and ESPnet data folders: ``wav.scp``, ``text``, ``utt2spk``, and ``segments`` for parts of recordings."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kidasr.corpus.formats.format import Format, ManifestError, Row, audio_path, first_of, text_lines
from kidasr.errors import truncate

#: Of each optional field: files that map ids to it, by speaker or by utterance.
OPTIONAL = {
    "age": ("spk2age", "utt2age"),
    "gender": ("spk2gender", "utt2gender"),
    "duration_sec": ("utt2dur",),
}


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
        folder = Path(name)
        recordings = _table(folder / "wav.scp")
        paths = {recording: audio_path(_path(path, source), name) for recording, (path, source) in recordings.items()}
        segments, texts, speakers = folder / "segments", _required(folder, "text"), _required(folder, "utt2spk")
        optional = {
            field: (path.name.startswith("spk"), _table(path))
            for field, files in OPTIONAL.items()
            if (path := first_of(folder, files))
        }
        utterances = _parts(segments, paths) if segments.is_file() else _whole(recordings, paths)
        listed = "segments" if segments.is_file() else "wav.scp"
        seen = set()
        for utterance, source, where in utterances:
            seen.add(utterance)
            row: dict[str, Any] = {"utterance_id": utterance, **where}
            for field, table in (("text", texts), ("speaker_id", speakers)):
                if utterance not in table:
                    file = "text" if field == "text" else "utt2spk"
                    raise ManifestError(f"{source}: {truncate(utterance)} has no line in {file}; expected: one")
                row[field] = table[utterance][0]
            if segments.is_file() and "duration_sec" in optional:
                row["duration_sec"] = None  # the length in segments is exact
            for field, (by_speaker, table) in optional.items():
                value, _ = table.get(row["speaker_id"] if by_speaker else utterance, (None, ""))
                row.setdefault(field, value)
            yield source, row
        for utterance, (_, source) in texts.items():
            if utterance not in seen:
                known = f"expected: an utterance of {listed} (Kaldi's utils/fix_data_dir.sh removes others)"
                raise ManifestError(f"{source}: {truncate(utterance)} is not in {listed}; {known}")


def _required(folder: Path, file: str) -> dict[str, tuple[str, str]]:
    if not (folder / file).is_file():
        raise ManifestError(f"{truncate(folder)}: a Kaldi folder without {file}; expected: wav.scp, text, utt2spk")
    return _table(folder / file)


def _table(path: Path) -> dict[str, tuple[str, str]]:
    """A file of lines ``ID REST``: by id, the rest and its source."""
    table: dict[str, tuple[str, str]] = {}
    for line, text in text_lines(path):
        if not text.strip():
            continue
        source = f"{truncate(path)}:{line}"
        key, *rest = text.strip().split(maxsplit=1)
        if key in table:
            raise ManifestError(f"{source}: {truncate(key)} is already at {table[key][1]}; expected: each id once")
        table[key] = (rest[0] if rest else "", source)
    return table


def _path(path: str, source: str) -> str:
    if path.endswith("|"):
        what = f"a command, {truncate(path, 80)!r}"
    elif path.rpartition(":")[2].isdigit() and ".ark:" in path:
        what = f"a place in an archive, {truncate(path, 80)!r}"
    elif not path:
        what = "no path"
    else:
        return path
    wanted = "expected: the path of an audio file (ESPnet's scripts/audio/format_wav_scp.sh writes the files)"
    raise ManifestError(f"{source}: {what}; {wanted}")


def _whole(recordings: Mapping[str, tuple[str, str]], paths: Mapping[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, source and recording of each utterance that is a whole recording."""
    for utterance, (_, source) in recordings.items():
        yield utterance, source, {"audio_path": paths[utterance]}


def _parts(segments: Path, paths: Mapping[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, source, and recording, start and end of each utterance: lines ``UTTERANCE RECORDING START END``."""
    for utterance, (rest, source) in _table(segments).items():
        columns = rest.split()
        if len(columns) != 3:
            wanted = "expected: UTTERANCE RECORDING START END"
            if len(columns) == 4:
                wanted += " (a channel of a recording: write it to a file of its own)"
            raise ManifestError(f"{source}: {1 + len(columns)} columns; {wanted}")
        recording, start, end = columns
        if recording not in paths:
            raise ManifestError(f"{source}: recording {truncate(recording)} is not in wav.scp")
        ends = None if end in ("-1", "-1.0") else end  # to the end of the recording
        yield utterance, source, {"audio_path": paths[recording], "start": start, "end": ends}
