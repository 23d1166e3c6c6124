"""Files with transcripts: tables, text and subtitles."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kidasr.durable import write_text
from kidasr.recognition.long_form import Segment, Transcript


def write_csv(folder: Path, transcripts: Mapping[str, Transcript]) -> None:
    """Write ``transcripts.csv``, a line for each segment."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["audio_path", "start_sec", "end_sec", "text"])
    for one in transcripts.values():
        writer.writerows([one.audio_path, segment.start_sec, segment.end_sec, segment.text] for segment in one.segments)
    write_text(folder / "transcripts.csv", table.getvalue())


def as_text(segments: Sequence[Segment]) -> str:
    """The words, a line for each segment."""
    return "".join(f"{one.text}\n" for one in segments if one.text)


def as_srt(segments: Sequence[Segment]) -> str:
    """SubRip subtitles."""
    blocks = [
        f"{number}\n{_time(one.start_sec, ',')} --> {_time(one.end_sec, ',')}\n{one.text}\n"
        for number, one in enumerate((one for one in segments if one.text), start=1)
    ]
    return "\n".join(blocks)


def as_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT subtitles (W3C)."""
    escaped = [(one, one.text.replace("&", "&amp;").replace("<", "&lt;")) for one in segments if one.text]
    blocks = [f"{_time(one.start_sec, '.')} --> {_time(one.end_sec, '.')}\n{text}\n" for one, text in escaped]
    return "\n".join(["WEBVTT\n", *blocks])


#: Formats with one file for each recording.
EACH: Mapping[str, Callable[[Sequence[Segment]], str]] = {"txt": as_text, "srt": as_srt, "vtt": as_vtt}


def write_each(folder: Path, kind: str, transcripts: Mapping[str, Transcript]) -> None:
    """Write a file for each recording into a folder named after the format.

    Args:
        folder: The job's folder.
        kind: One of :data:`EACH`.
        transcripts: By the name of the file, without its ending.
    """
    for name, one in transcripts.items():
        path = folder / kind / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, EACH[kind](one.segments))


def _time(seconds: float, point: str) -> str:
    """``00:01:02,345``."""
    milliseconds = round(1000 * seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
