"""lhotse manifests: cuts, or recordings with supervisions.

Read as JSON lines: lhotse itself imports PyTorch and opens its recordings lazily, while kidasr needs only paths and times,
and refuses what takes more than that to read (commands, mixtures, transforms).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kidasr.corpus.formats.format import Format, ManifestError, Row, audio_path
from kidasr.corpus.formats.json_lines import objects
from kidasr.corpus.set_names import set_of
from kidasr.errors import truncate

ENDINGS = (".jsonl", ".jsonl.gz")

#: How much shorter than its recording an utterance may be and still be the whole of it, in seconds: times are rounded.
ROUNDING_SEC = 1e-3

#: What an utterance takes over from a supervision, by kidasr's name.
TAKEN = {"utterance_id": "id", "text": "text", "speaker_id": "speaker", "gender": "gender", "language": "language"}

#: What lhotse's recipe for CMU Kids calls the age.
AGE = "speaker_age"


class Lhotse(Format):
    """A folder with cuts, or with recordings and supervisions; or a file of cuts."""

    expected = "a lhotse folder (cuts.jsonl.gz, or recordings.jsonl.gz and supervisions.jsonl.gz)"

    def recognises(self, name: str) -> bool:
        if os.path.isdir(name):  # noqa: PTH112
            try:
                return bool(_files(Path(name)))
            except OSError:
                return False
        is_file = name.lower().endswith(ENDINGS) and os.path.isfile(name)  # noqa: PTH113
        return is_file and _is_of_cuts(Path(name))

    def names(self, fields: Mapping[str, str]) -> Mapping[str, str]:
        return {}

    def rows(self, name: str, fields: Mapping[str, str]) -> Iterator[Row]:
        files = [(Path(name), None)] if os.path.isfile(name) else _files(Path(name))  # noqa: PTH113
        folder = self.folder(name)
        for file, recordings in files:
            split = set_of(file.name.partition(".")[0].rpartition("_")[2])
            own = {"split": split} if split else {}
            for source, utterance in _cuts(file) if recordings is None else _supervisions(file, recordings):
                path = audio_path(utterance["audio_path"], folder)
                yield source, {**utterance, "audio_path": path, **own}


def _files(folder: Path) -> list[tuple[Path, Path | None]]:
    """The files of cuts, each with None; or of supervisions, each with that of its recordings."""
    named = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS))
    if cuts := [path for path in named if "cuts" in path.name]:
        return [(path, None) for path in cuts]
    pairs = [
        (path, path.with_name(path.name.replace("supervisions", "recordings")))
        for path in named
        if "supervisions" in path.name
    ]
    if len(pairs) == 1 and len(all_recordings := [path for path in named if "recordings" in path.name]) == 1:
        return [(pairs[0][0], all_recordings[0])]  # lhotse's recipe for CSLU Kids gives the two other beginnings
    return [(path, recordings) for path, recordings in pairs if recordings in named]


def _is_of_cuts(path: Path) -> bool:
    """Whether the first line of a file is a cut."""
    try:
        _, first = next(objects(path), ("", {}))
    except ManifestError:
        return False
    return "supervisions" in first and ("recording" in first or str(first.get("type", "")).endswith("Cut"))


def _cuts(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for source, cut in objects(path):
        if "recording" not in cut or cut.get("tracks"):
            kind = truncate(str(cut.get("type", "a cut without a recording")))
            raise ManifestError(f"{source}: {kind}; expected: MonoCut or MultiCut, with a recording")
        supervisions = cut.get("supervisions")
        if not isinstance(supervisions, list) or len(supervisions) != 1:
            number = len(supervisions) if isinstance(supervisions, list) else "no"
            wanted = "expected: one (cuts.trim_to_supervisions() makes them)"
            raise ManifestError(f"{source}: a cut with {number} supervisions; {wanted}")
        start = _seconds(cut, "start", source)
        yield source, _utterance(supervisions[0], cut["recording"], start, _seconds(cut, "duration", source), source)


def _supervisions(path: Path, recordings: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    known = {str(recording.get("id")): recording for _, recording in objects(recordings)}
    for source, supervision in objects(path):
        recording = known.get(str(supervision.get("recording_id")))
        if recording is None:
            name = truncate(repr(supervision.get("recording_id")))
            raise ManifestError(f"{source}: recording {name} is not in {truncate(recordings)}")
        start, duration = (_seconds(supervision, name, source) for name in ("start", "duration"))
        yield source, _utterance(supervision, recording, start, duration, source)


def _utterance(supervision: Any, recording: Any, start: float, duration: float, source: str) -> dict[str, Any]:
    """The row of an utterance that lasts from ``start`` for ``duration`` seconds of a recording."""
    if not isinstance(supervision, dict) or not isinstance(recording, dict):
        raise ManifestError(f"{source}: not of lhotse; expected: a recording and a supervision")
    custom = supervision.get("custom")
    row = {**custom} if isinstance(custom, dict) else {}
    row |= {name: supervision[column] for name, column in TAKEN.items() if supervision.get(column) is not None}
    if "age" in supervision:
        row["age"] = supervision["age"]
    elif AGE in row:
        row.setdefault("age", row.pop(AGE))
    for field in ("text", "speaker_id"):
        if field not in row:
            raise ManifestError(f"{source}: a supervision without {TAKEN[field]}; expected: one with text and speaker")
    row["audio_path"] = _file(supervision, recording, source)
    whole_sec = _seconds(recording, "duration", source)
    for name in ("start", "end", "offset", "duration", "duration_sec"):
        row.pop(name, None)
    if start > ROUNDING_SEC or duration < whole_sec - ROUNDING_SEC:
        row |= {"start": start, "end": round(start + duration, 9)}
    else:
        row |= {"start": None, "end": None, "duration_sec": whole_sec}
    return row


def _file(supervision: Mapping[str, Any], recording: Mapping[str, Any], source: str) -> str:
    """The path of a recording that is one file and needs no more than decoding."""
    sources = recording.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        raise ManifestError(f"{source}: a recording that is not one file; expected: one source")
    kind, path = sources[0].get("type"), sources[0].get("source")
    if kind != "file" or not isinstance(path, str):
        raise ManifestError(f"{source}: audio of the type {truncate(repr(kind))}; expected: 'file'")
    if recording.get("transforms"):
        raise ManifestError(f"{source}: a recording with transforms; expected: none (save_audios() writes the result)")
    channels, channel = sources[0].get("channels") or [0], supervision.get("channel", 0)
    if len(channels) > 1 and (channel if isinstance(channel, list) else [channel]) != channels:
        which = f"channel {channel} of a recording with {len(channels)}"
        raise ManifestError(f"{source}: {which}; expected: all channels, or recordings of one (save_audios() writes them)")
    return path


def _seconds(row: Mapping[str, Any], name: str, source: str) -> float:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ManifestError(f"{source}: {name}={truncate(repr(value))}; expected: seconds, a number from 0 up")
    return float(value)
