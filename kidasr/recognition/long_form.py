"""Transcribing recordings of any length: cut at pauses, transcribed in batches."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kidasr.corpus.audio import SAMPLE_RATE_HZ, AudioError, Samples, load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.segment import Span, cuts
from kidasr.recognition.backends.backend import Transcribes

#: Pieces that are transcribed together, or a few more to the end of a recording. A stop loses at most the work on these.
TOGETHER = 128


@dataclass(frozen=True)
class Segment:
    """A piece of a recording and what is said in it."""

    start_sec: float
    end_sec: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording."""

    audio_path: str
    duration_sec: float
    text: str
    segments: list[Segment]


def transcribe_recordings(
    recordings: Sequence[Utterance],
    transcribe: Transcribes,
    max_sec: float,
    find_speech: Callable[[Samples], list[Span]],
) -> Iterator[tuple[Utterance, Transcript | AudioError]]:
    """Transcribe recordings, or the parts of recordings that utterances are.

    Those of up to ``max_sec`` are transcribed whole. A longer one is cut at its longest pauses, and silence between the
    pieces is not transcribed. A stretch of speech without a pause that is longer than the model's window is cut there.

    Args:
        recordings: What to transcribe.
        transcribe: Transcribes pieces.
        max_sec: The longest piece, up to the model's window.
        find_speech: Finds stretches of speech, see :func:`kidasr.recognition.speech.speech_detector`.

    Yields:
        Each recording, in order, with its transcript, or with why it can't be read.
    """
    left = iter(recordings)
    while True:
        chunk: list[Utterance] = []
        pieces: list[tuple[int, Utterance]] = []
        failed: dict[int, AudioError] = {}
        lengths: dict[int, float] = {}
        while max(len(chunk), len(pieces)) < TOGETHER and (one := next(left, None)) is not None:
            place = len(chunk)
            chunk.append(one)
            try:
                samples = load_audio(one)
            except AudioError as error:
                failed[place] = error
                continue
            lengths[place] = len(samples) / SAMPLE_RATE_HZ
            spans = pieces_of(samples, min(max_sec, transcribe.window_sec), transcribe.window_sec, find_speech)
            pieces += [(place, _part(one, span)) for span in spans]
        if not chunk:
            return
        order = sorted(pieces, key=lambda piece: piece[1].known_duration_sec)
        texts = transcribe([part for _, part in order])
        found: dict[int, list[Segment]] = {place: [] for place in lengths}
        for (place, part), text in zip(order, texts, strict=True):
            start_sec = (part.start_sec or 0.0) - (chunk[place].start_sec or 0.0)
            end_sec = start_sec + part.known_duration_sec
            found[place].append(Segment(round(start_sec, 3), round(end_sec, 3), text))
        for place, one in enumerate(chunk):
            if place in failed:
                yield one, failed[place]
                continue
            segments = sorted(found[place], key=lambda segment: segment.start_sec)
            whole = " ".join(segment.text for segment in segments if segment.text)
            yield one, Transcript(one.audio_path, round(lengths[place], 3), whole, segments)


def pieces_of(
    samples: Samples, max_sec: float, window_sec: float, find_speech: Callable[[Samples], list[Span]]
) -> list[Span]:
    """The pieces of a recording to transcribe; none for one without speech.

    Args:
        samples: The recording, shape ``(samples,)``, 16 kHz.
        max_sec: The longest piece with a pause in it.
        window_sec: The longest piece.
        find_speech: Finds stretches of speech.
    """
    length_sec = len(samples) / SAMPLE_RATE_HZ
    if length_sec <= max_sec:
        return [Span(0.0, length_sec)]
    found = []
    for cut in cuts(find_speech(samples), length_sec, max_sec):
        start_sec, end_sec = cut.span
        number = max(1, -int(-(end_sec - start_sec) // window_sec))
        each = (end_sec - start_sec) / number
        found += [Span(start_sec + n * each, start_sec + (n + 1) * each) for n in range(number)]
    return found


def as_row(key: str, transcript: Transcript) -> dict[str, Any]:
    """A line of ``transcripts.jsonl``, with the key of the recording or the part of it."""
    return {**asdict(transcript), "key": key}


def read_transcripts(path: Path) -> dict[str, Transcript]:
    """The transcripts of an earlier attempt, by key. A line that a kill has cut off is passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        try:
            row = json.loads(line)
            segments = [Segment(**one) for one in row["segments"]]
            found[row["key"]] = Transcript(row["audio_path"], row["duration_sec"], row["text"], segments)
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _part(one: Utterance, span: Span) -> Utterance:
    begun = one.start_sec or 0.0
    start_sec, end_sec = begun + span.start_sec, begun + span.end_sec
    return replace(one, start_sec=start_sec, end_sec=end_sec, duration_sec=end_sec - start_sec)
