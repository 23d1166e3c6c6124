"""Long recordings after training on short utterances: `python -m tests.benchmarks.long_recordings NAME=FOLDER ...`.

Joins real utterances of one speaker (`../shared`, or any manifest) to recordings of 20, 40 and 60 seconds, once with 0.2 to
1 s of silence between the utterances and once with none besides the utterances' own. Each model transcribes them, on input
as it was trained, in pieces of several lengths (`max_sec` of `job=transcribe`). For reference, each utterance by itself, and
transformers' own decoding of long recordings (`--transformers`). Prints a table of errors by kind and writes a JSON file.
The intervals are for other speakers. `python -m tests.benchmarks.long_recordings --help` lists the options.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from kidasr.corpus.audio import SAMPLE_RATE_HZ, AudioError, Samples, load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.segment import Span
from kidasr.evidence.speakers import change_interval, rate_interval
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import Padding
from kidasr.model.as_trained import padding_as_trained
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from kidasr.recognition.long_form import transcribe_recordings
from kidasr.recognition.score import Prediction, compare
from kidasr.recognition.speech import speech_detector
from kidasr.recognition.transcribe import Transcriber
from kidasr.report.tables import Table, interval, percent, points
from kidasr.runs.environment import has_bfloat16_instructions
from kidasr.training.device import prepare_cpu
from tests.conftest import KIDS, TINY_EN

#: Lengths of the recordings, in turn.
LENGTHS_SEC = (20.0, 40.0, 60.0)
PAUSES_SEC = (0.2, 1.0)
PADDED = "transformers, padded"


@dataclass(frozen=True)
class Joined:
    """Recordings and the utterances that they are made of."""

    recordings: list[Utterance]
    parts: list[Utterance]


def utterances_of(manifest: Path, speakers: int) -> dict[str, list[Utterance]]:
    """The utterances of the first speakers of a manifest, by speaker."""
    found: dict[str, list[Utterance]] = {}
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        speaker = str(row["speaker_id"])
        if speaker not in found and len(found) == speakers:
            continue
        one = Utterance.of_recording(str(manifest.parent / row["audio_path"]), str(row["utterance_id"]))
        one = replace(one, speaker_id=speaker, text=row["text"])
        found.setdefault(speaker, []).append(replace(one, duration_sec=len(load_audio(one)) / SAMPLE_RATE_HZ))
    return found


def join(of_speakers: dict[str, list[Utterance]], folder: Path, pauses_sec: tuple[float, float], seed: int = 1) -> Joined:
    """Write recordings in which a speaker says several utterances, with pauses drawn evenly from a range."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    made: list[Utterance] = []
    for speaker, utterances in of_speakers.items():
        samples: list[Samples] = []
        texts: list[str] = []
        for place, one in enumerate(utterances):
            pause = np.zeros(round(rng.uniform(*pauses_sec) * SAMPLE_RATE_HZ) if samples else 0, dtype=np.float32)
            samples += [pause, load_audio(one)]
            texts.append(one.text)
            length_sec = sum(map(len, samples)) / SAMPLE_RATE_HZ
            if length_sec >= LENGTHS_SEC[len(made) % len(LENGTHS_SEC)] or place == len(utterances) - 1:
                path = folder / f"{len(made):03}.flac"
                soundfile.write(path, np.concatenate(samples), SAMPLE_RATE_HZ)
                recording = Utterance.of_recording(str(path), path.stem)
                made.append(replace(recording, speaker_id=speaker, text=" ".join(texts), duration_sec=length_sec))
                samples, texts = [], []
    return Joined(made, [one for utterances in of_speakers.values() for one in utterances])


def remembered(detect: Callable[[Samples], list[Span]]) -> Callable[[Samples], list[Span]]:
    """The detector, which looks at each recording once."""
    known: dict[bytes, list[Span]] = {}

    def find_speech(samples: Samples) -> list[Span]:
        key = samples.tobytes()
        if key not in known:
            known[key] = detect(samples)
        return known[key]

    return find_speech


def in_pieces(
    transcriber: Transcriber,
    padding: Padding,
    recordings: Sequence[Utterance],
    max_sec: float,
    find_speech: Callable[[Samples], list[Span]],
) -> tuple[list[str], list[float]]:
    """Transcripts, and the lengths of the pieces in seconds."""
    texts, lengths = [], []
    for _, found in transcribe_recordings(recordings, transcriber, padding, max_sec, find_speech):
        assert not isinstance(found, AudioError)
        texts.append(found.text)
        lengths += [one.end_sec - one.start_sec for one in found.segments]
    return texts, lengths


def each_by_itself(transcriber: Transcriber, padding: Padding, parts: Sequence[Utterance]) -> list[str]:
    """Transcripts of the utterances that the recordings are made of."""
    order = sorted(range(len(parts)), key=lambda place: parts[place].known_duration_sec)
    dataset = ChildSpeechDataset([parts[place] for place in order], transcriber.recogniser, padding=padding)
    return [text for _, text in sorted(zip(order, transcriber(dataset).texts, strict=True))]


def with_transformers(model: Whisper, recordings: Sequence[Utterance]) -> list[str]:
    """Transcripts by transformers' pipeline: padded to 30 s, and by timestamps from window to window (Radford et al.)."""
    from transformers import WhisperForConditionalGeneration, pipeline

    folder = model.model.name_or_path
    plain = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    transcribe = pipeline(
        "automatic-speech-recognition",
        model=plain,
        tokenizer=model.processor.tokenizer,
        feature_extractor=model.processor.feature_extractor,
    )
    return [str(transcribe(load_audio(one), return_timestamps=True)["text"]) for one in recordings]


def measured(heard: Sequence[Prediction]) -> dict[str, Any]:
    """Errors by kind, and by recording for the intervals."""
    words = sum(one.words for one in heard)
    kinds = {kind: sum(getattr(one, kind) for one in heard) for kind in ("insertions", "deletions", "substitutions")}
    rate = rate_interval([one.speaker_id for one in heard], [one.errors for one in heard], [one.words for one in heard])
    return {"words": words, **kinds, "wer": rate.value, "ci95": rate.ends}


def change(before: Sequence[Prediction], after: Sequence[Prediction]) -> dict[str, Any]:
    """The change of WER from one transcription of the same speakers to another."""
    speakers = sorted({one.speaker_id for one in before})
    errors = [
        [sum(one.errors for one in heard if one.speaker_id == speaker) for speaker in speakers] for heard in (before, after)
    ]
    words = [sum(one.words for one in after if one.speaker_id == speaker) for speaker in speakers]
    found = change_interval(speakers, *errors, words)
    return {"change": found.value, "ci95": found.ends}


def transcribed(name: str, folder: str, sets: dict[str, Joined], options: argparse.Namespace, detect: Any) -> list[Any]:
    """The rows of one model."""
    recogniser = PretrainedWhisper(folder, "en", "transcribe").load()
    padding, scoring = padding_as_trained(folder), recogniser.scoring
    half = torch.bfloat16 if has_bfloat16_instructions() else None
    transcriber = Transcriber(recogniser, 32, 1, options.max_tokens_per_sec, autocast=half)
    rows: list[Any] = []

    def add(pauses: str, how: str, heard: list[Prediction], began: float, pieces: Sequence[float] = ()) -> list[Prediction]:
        row = {"model": name, "padding": padding.describe(), "pauses": pauses, "how": how, **measured(heard)}
        row |= {"sec": time.perf_counter() - began, "pieces": len(pieces)}
        row |= {"piece_sec": [float(one) for one in np.quantile(pieces, [0.5, 1.0])] if len(pieces) else None}
        rows.append(row)
        print(f"{name}, pauses {pauses}, {how}: {percent(row['wer'])}, {row['sec']:.0f} s", file=sys.stderr, flush=True)
        return heard

    began = time.perf_counter()
    parts = next(iter(sets.values())).parts
    alone = add("-", "each utterance", compare(parts, each_by_itself(transcriber, padding, parts), scoring), began)
    for pauses, joined in sets.items():
        by_length = {}
        for max_sec in options.max_sec:
            began = time.perf_counter()
            texts, pieces = in_pieces(transcriber, padding, joined.recordings, max_sec, detect)
            heard = compare(joined.recordings, texts, scoring)
            by_length[max_sec] = add(pauses, f"max_sec={max_sec:g}", heard, began, pieces)
            rows[-1]["against_utterances"] = change(alone, heard)
        for row in rows:
            if row["pauses"] == pauses and options.against in by_length and row["how"].startswith("max_sec="):
                length = float(row["how"].partition("=")[2])
                row["against"] = change(by_length[options.against], by_length[length])
        if options.transformers:
            began = time.perf_counter()
            heard = compare(joined.recordings, with_transformers(recogniser, joined.recordings), scoring)
            add(pauses, PADDED, heard, began)
            rows[-1]["against_utterances"] = change(alone, heard)
    return rows


def table_of(rows: Sequence[dict[str, Any]], against: float) -> Table:
    """All rows."""
    table = Table(
        ["model", "pauses", "pieces", "ins", "del", "sub", "WER", "95% interval", f"change from max_sec={against:g}"]
    )
    for row in rows:
        found = row.get("against")
        told = "-"
        if found and found["change"]:
            ends = found["ci95"]
            told = points(found["change"]) + (f" ({points(ends[0])} to {points(ends[1])})" if ends else "")
        kinds = [str(row[kind]) for kind in ("insertions", "deletions", "substitutions")]
        table.add(row["model"], row["pauses"], row["how"], *kinds, percent(row["wer"]), interval(row["ci95"]), told)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[f"stock={TINY_EN}"], help="NAME=FOLDER, e.g. short=outputs/mine/model")
    parser.add_argument("--manifest", type=Path, default=KIDS / "dev.jsonl", help="utterances with speaker_id and text")
    parser.add_argument("--speakers", type=int, default=40)
    parser.add_argument("--max-sec", type=float, nargs="+", default=[5.0, 8.0, 15.0, 28.0])
    parser.add_argument("--against", type=float, default=15.0, help="the max_sec that the others are compared with")
    parser.add_argument("--min-pause-sec", type=float, default=0.3)
    parser.add_argument("--max-tokens-per-sec", type=float, default=25.0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--transformers", action="store_true", help="also transformers' own decoding of long recordings")
    parser.add_argument("--output", type=Path, default=Path("long_recordings.json"))
    options = parser.parse_args()
    prepare_cpu(options.threads)
    of_speakers = utterances_of(options.manifest, options.speakers)
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            "0.2 to 1 s": join(of_speakers, Path(folder) / "pauses", PAUSES_SEC),
            "none": join(of_speakers, Path(folder) / "none", (0.0, 0.0)),
        }
        for pauses, joined in sets.items():
            lengths = [one.known_duration_sec for one in joined.recordings]
            print(
                f"pauses {pauses}: {len(lengths)} recordings of {min(lengths):.0f} to {max(lengths):.0f} s", file=sys.stderr
            )
        detect = remembered(speech_detector(options.min_pause_sec, "this benchmark"))
        rows = []
        for given in options.models:
            name, _, model = given.partition("=")
            rows += transcribed(name, model, sets, options, detect)
            options.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(table_of(rows, options.against).markdown())


if __name__ == "__main__":
    main()
