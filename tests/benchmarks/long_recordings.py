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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import soundfile

import kidasr.recognition.speech
from kidasr.config import check_config
from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples, load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.segment import Span
from kidasr.evidence.speakers import change_interval, rate_interval
from kidasr.model.as_trained import padding_as_trained
from kidasr.model.whisper import scoring
from kidasr.recognition.score import Prediction, compare
from kidasr.report.tables import Table, interval, percent, points
from kidasr.training.device import prepare_cpu
from tests.conftest import KIDS, TINY_EN, composed, read_jsonl

#: Lengths of the recordings, in turn.
LENGTHS_SEC = (20.0, 40.0, 60.0)
#: Pauses between the utterances, drawn evenly.
PAUSES_SEC = {"0.2 to 1 s": (0.2, 1.0), "none": (0.0, 0.0)}

EACH, PADDED = "each utterance by itself", "transformers"

Detector = Callable[[Samples], list[Span]]


def utterances_of(manifest: Path, speakers: int) -> dict[str, list[Utterance]]:
    """The utterances of the first speakers of a manifest, by speaker."""
    found: dict[str, list[Utterance]] = {}
    for row in read_jsonl(manifest):
        speaker = str(row["speaker_id"])
        if speaker not in found and len(found) == speakers:
            continue
        one = Utterance.of_recording(str(manifest.parent / row["audio_path"]), str(row["utterance_id"]))
        found.setdefault(speaker, []).append(replace(one, speaker_id=speaker, text=row["text"]))
    return found


def join(of_speakers: dict[str, list[Utterance]], folder: Path, pauses_sec: tuple[float, float]) -> list[Utterance]:
    """Write recordings in which a speaker says several utterances."""
    rng = np.random.default_rng(1)
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
    return made


@contextmanager
def each_looked_at_once() -> Iterator[None]:
    """Let the speech detector look at each recording once, however often it is transcribed."""
    original, known = kidasr.recognition.speech.speech_detector, dict[tuple[float, bytes], list[Span]]()

    def detector(min_pause_sec: float, needed_by: str) -> Detector:
        detect = original(min_pause_sec, needed_by)

        def find_speech(samples: Samples) -> list[Span]:
            key = (min_pause_sec, samples.tobytes())
            if key not in known:
                known[key] = detect(samples)
            return known[key]

        return find_speech

    kidasr.recognition.speech.speech_detector = detector
    try:
        yield
    finally:
        kidasr.recognition.speech.speech_detector = original


def transcribed(model: str, recordings: Sequence[Utterance], *overrides: str) -> tuple[list[Prediction], list[float]]:
    """What `job=transcribe` writes, with its errors, and the lengths of the pieces in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.jsonl"
        manifest.write_text("\n".join(json.dumps({"audio_path": one.audio_path}) for one in recordings), encoding="utf-8")
        cfg = composed("job=transcribe", f"input={manifest}", f"model.name_or_path={model}", *overrides)
        cfg.job.output_dir = str(Path(folder) / "out")
        check_config(cfg)
        hydra.utils.instantiate(cfg.job).run()
        rows = {row["audio_path"]: row for row in read_jsonl(Path(folder) / "out" / "transcripts.jsonl")}
    found = [rows[one.audio_path] for one in recordings]
    pieces = [piece["end_sec"] - piece["start_sec"] for row in found for piece in row["segments"]]
    return compare(recordings, [row["text"] for row in found], scoring("en")), pieces


def by_transformers(model: str, recordings: Sequence[Utterance]) -> list[Prediction]:
    """By transformers' own pipeline: padded to 30 s, from window to window by the model's timestamps."""
    from transformers import pipeline

    transcribe: Any = pipeline("automatic-speech-recognition", model=model)
    texts = [str(transcribe(load_audio(one), return_timestamps=True)["text"]) for one in recordings]
    return compare(recordings, texts, scoring("en"))


def measured(heard: Sequence[Prediction]) -> dict[str, Any]:
    """Errors by kind; the interval is for other speakers."""
    speakers, errors, words = ([getattr(one, name) for one in heard] for name in ("speaker_id", "errors", "words"))
    kinds = {kind: sum(getattr(one, kind) for one in heard) for kind in ("insertions", "deletions", "substitutions")}
    rate = rate_interval(speakers, errors, words)
    return {"words": sum(words), **kinds, "wer": rate.value, "ci95": rate.ends}


def change(before: Sequence[Prediction], after: Sequence[Prediction]) -> dict[str, Any]:
    """The change of WER from one transcription of the same speakers to another."""
    speakers = sorted({one.speaker_id for one in after})
    sums = [
        [sum(getattr(one, name) for one in heard if one.speaker_id == speaker) for speaker in speakers]
        for heard, name in ((before, "errors"), (after, "errors"), (after, "words"))
    ]
    found = change_interval(speakers, *sums)
    return {"change": found.value, "ci95": found.ends}


def rows_of(
    name: str, model: str, of_speakers: dict[str, list[Utterance]], joined: dict[str, list[Utterance]], options: Any
) -> Iterator[dict[str, Any]]:
    """The measurements of a model, one by one."""
    common = [f"min_pause_sec={options.min_pause_sec}", *options.override]
    about = {"model": name, "input": padding_as_trained(model).describe()}

    def row(pauses: str, how: str, heard: list[Prediction], began: float, **more: Any) -> dict[str, Any]:
        sec = round(time.perf_counter() - began, 1)
        print(f"{name}, pauses {pauses}, {how}: {percent(measured(heard)['wer'])}, {sec} s", file=sys.stderr, flush=True)
        return {**about, "pauses": pauses, "how": how, **measured(heard), "sec": sec, **more}

    began = time.perf_counter()
    parts = [one for utterances in of_speakers.values() for one in utterances]
    alone, _ = transcribed(model, parts, "max_sec=30", *common)
    yield row("-", EACH, alone, began)
    for pauses, recordings in joined.items():
        by_length: dict[float, list[Prediction]] = {}
        for max_sec in sorted({*options.max_sec, options.against}, key=lambda sec: (sec != options.against, sec)):
            began = time.perf_counter()
            heard, pieces = transcribed(model, recordings, f"max_sec={max_sec}", *common)
            by_length[max_sec] = heard
            more: dict[str, Any] = {}
            if max_sec != options.against:
                more["against"] = change(by_length[options.against], heard)
            median, longest = (round(float(one), 2) for one in np.quantile(pieces, [0.5, 1.0]))
            more |= {"pieces": len(pieces), "median_sec": median, "longest_sec": longest, "apart": change(alone, heard)}
            yield row(pauses, f"max_sec={max_sec:g}", heard, began, **more)
        if options.transformers:
            began = time.perf_counter()
            heard = by_transformers(model, recordings)
            yield row(pauses, PADDED, heard, began, against=change(by_length[options.against], heard))


def table_of(rows: Sequence[dict[str, Any]], against: float) -> Table:
    """All rows, as given."""
    columns = ["model", "pauses", "pieces", "insertions", "deletions", "substitutions", "WER", "95% interval"]
    table = Table([*columns, f"change from max_sec={against:g}"])
    for row in rows:
        found = row.get("against")
        ends = found["ci95"] if found else None
        told = f"{points(found['change'])} ({points(ends[0])} to {points(ends[1])})" if found and ends else "-"
        kinds = [str(row[kind]) for kind in columns[3:6]]
        table.add(row["model"], row["pauses"], row["how"], *kinds, percent(row["wer"]), interval(row["ci95"]), told)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[f"stock={TINY_EN}"], help="NAME=FOLDER, e.g. short=outputs/mine/model")
    parser.add_argument("--manifest", type=Path, default=KIDS / "dev.jsonl", help="utterances with speaker_id and text")
    parser.add_argument("--speakers", type=int, default=40)
    parser.add_argument("--max-sec", type=float, nargs="+", default=[5.0, 8.0, 15.0, 28.0])
    parser.add_argument("--against", type=float, default=15.0, help="the max_sec that the others are compared with")
    parser.add_argument("--pauses", nargs="+", choices=list(PAUSES_SEC), default=list(PAUSES_SEC))
    parser.add_argument("--min-pause-sec", type=float, default=0.3)
    parser.add_argument("--override", nargs="*", default=[], help="further overrides of job=transcribe")
    parser.add_argument("--transformers", action="store_true", help="also transformers' own decoding of long recordings")
    parser.add_argument("--output", type=Path, default=Path("long_recordings.json"))
    options = parser.parse_args()
    prepare_cpu(None)
    of_speakers = utterances_of(options.manifest, options.speakers)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, each_looked_at_once():
        joined = {name: join(of_speakers, Path(folder) / name, PAUSES_SEC[name]) for name in options.pauses}
        for name, recordings in joined.items():
            lengths = [one.known_duration_sec for one in recordings]
            about = f"{len(lengths)} recordings of {min(lengths):.0f} to {max(lengths):.0f} s"
            print(f"pauses {name}: {about}, {sum(lengths) / 60:.0f} minutes", file=sys.stderr)
        for given in options.models:
            name, _, model = given.partition("=")
            for row in rows_of(name, model, of_speakers, joined, options):
                rows.append(row)
                options.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(table_of(rows, options.against).markdown())


if __name__ == "__main__":
    main()
