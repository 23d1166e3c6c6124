"""Transcribing recordings of any length, with the micro model and its corpus."""

import csv
import json
import logging
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra.utils import instantiate

from kidasr.config import check_config
from kidasr.corpus.audio import SAMPLE_RATE_HZ
from kidasr.errors import KidasrError
from kidasr.model.as_trained import pieces_as_trained
from kidasr.recognition.inputs import recordings_of
from kidasr.recognition.transcribe import Transcriber
from tests.conftest import MICRO, composed, read_jsonl

CORPUS = MICRO.parent / "corpus"
PAUSE_SEC = 0.8


def transcribe(folder: Path, *options: str) -> list[dict[str, object]]:
    cfg = composed("job=transcribe", f"model.name_or_path={MICRO}", "max_sec=3", *options)
    cfg.job.output_dir = str(folder)
    check_config(cfg)
    instantiate(cfg.job).run()
    return read_jsonl(folder / "transcripts.jsonl")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one clip, one recording of six clips with pauses in a subfolder, and a file that is no recording."""
    folder = tmp_path_factory.mktemp("recordings")
    clips = [CORPUS / row["audio_path"] for row in read_jsonl(CORPUS / "adults.jsonl")[:6]]
    samples = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    assert soundfile.info(clips[0]).samplerate == SAMPLE_RATE_HZ
    pause = np.zeros(round(PAUSE_SEC * SAMPLE_RATE_HZ), dtype=np.float32)
    (folder / "monday").mkdir()
    soundfile.write(folder / "short.wav", samples[0], SAMPLE_RATE_HZ)
    joined = np.concatenate([part for one in samples for part in (one, pause)])
    soundfile.write(folder / "monday" / "long.flac", joined, SAMPLE_RATE_HZ)
    (folder / "broken.wav").write_bytes(b"RIFF of nothing")
    (folder / "notes.txt").write_text("not a recording")
    return folder


def test_recordings_of_any_length_become_transcripts_with_times(
    recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        rows = transcribe(tmp_path / "out", f"input={recordings}", "formats=[csv,txt,srt,vtt]")
    assert "passed over 1 files" in caplog.text and "broken.wav" in caplog.text
    assert [json.loads(line)["audio_path"] for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()] == [
        str(recordings / "broken.wav")
    ]
    by_name = {Path(str(row["audio_path"])).name: row for row in rows}
    assert by_name.keys() == {"short.wav", "long.flac"}
    long = by_name["long.flac"]
    segments: list[dict[str, float]] = long["segments"]  # type: ignore[assignment]
    assert len(segments) >= 3, "cut at pauses"
    assert all(0 < one["end_sec"] - one["start_sec"] <= 3 for one in segments)
    assert all(one["end_sec"] <= after["start_sec"] for one, after in pairwise(segments))
    assert segments[-1]["end_sec"] <= float(str(long["duration_sec"]))
    assert long["text"] == " ".join(str(one["text"]) for one in segments if one["text"])
    short = str(by_name["short.wav"]["text"])
    assert str(long["text"]).split()[:2] == short.split()[:2], "the first of its clips is the short recording"
    with (tmp_path / "out" / "transcripts.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(segments) + 1
    blocks = (tmp_path / "out" / "srt" / "monday_long.srt").read_text().strip().split("\n\n")
    assert len(blocks) == sum(bool(one["text"]) for one in segments)
    assert blocks[0].splitlines()[0] == "1" and " --> 00:00:0" in blocks[0]
    assert (tmp_path / "out" / "vtt" / "monday_long.vtt").read_text().startswith("WEBVTT\n\n00:00:0")
    assert (tmp_path / "out" / "txt" / "short.txt").read_text() == f"{short}\n"


def test_what_is_done_is_not_done_again(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transcribe(tmp_path, f"input={recordings / 'short.wav'}")
    before = (tmp_path / "transcripts.jsonl").read_text()
    (tmp_path / "transcripts.jsonl").write_text(before + '{"key": "cut o')  # by a kill
    asked: list[int] = []
    call = Transcriber.__call__

    def counted(self: Transcriber, dataset: object, **options: bool) -> object:
        asked.append(len(dataset))  # type: ignore[arg-type]
        return call(self, dataset, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Transcriber, "__call__", counted)
    transcribe(tmp_path, f"input={recordings}/*.wav")
    assert asked == [0], "the broken one is all that was left"
    assert (tmp_path / "transcripts.jsonl").read_text() == before


def test_the_speech_detector_is_needed_for_long_recordings_alone(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    assert len(transcribe(tmp_path, f"input={recordings / 'short.wav'}")) == 1
    with pytest.raises(KidasrError, match=r"^a recording of more than max_sec=3: needs the package silero-vad; pip install"):
        transcribe(tmp_path, f"input={recordings}/monday")


def test_pieces_are_as_long_as_the_training_utterances_of_a_model_of_short_input(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = shutil.copytree(MICRO, tmp_path / "model")
    said = {"padding": "longest", "trailing_silence_sec": 0.2, "mask": True, "group_by_length": True}
    trained_sec = {"median": 1.4, "p95": 2.2, "longest": 2.8}
    (model / "kidasr.json").write_text(json.dumps({"padding": said, "trained_sec": trained_sec}))
    options = (f"model.name_or_path={model}", "max_sec=null", f"input={recordings}/monday")
    (row,) = transcribe(tmp_path / "out", *options)
    lengths = [one["end_sec"] - one["start_sec"] for one in row["segments"]]  # type: ignore[attr-defined]
    assert len(lengths) >= 6 and max(lengths) < 2.21, "a piece for each of the clips"
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    joined, rate_hz = soundfile.read(recordings / "monday" / "long.flac")
    (tmp_path / "some").mkdir()
    for name in ("a", "b"):
        soundfile.write(tmp_path / "some" / f"{name}.wav", joined[: round(2.5 * rate_hz)], rate_hz)
    rows = transcribe(tmp_path / "whole", *options[:2], f"input={tmp_path}/some")
    assert [len(row["segments"]) for row in rows] == [1, 1]  # type: ignore[arg-type]
    assert caplog.text.count("recordings of up to 15 s are transcribed whole") == 1
    (model / "kidasr.json").write_text(
        json.dumps({"padding": {**said, "padding": "max_length"}, "trained_sec": trained_sec})
    )
    assert pieces_as_trained(str(model)) == pieces_as_trained(str(MICRO)) == 15


def test_a_manifest_without_transcripts_names_parts_of_recordings(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"file,start,end\n{recordings}/monday/long.flac,0,1.5\n{recordings}/short.wav,,\n")
    found = list(recordings_of([str(tmp_path / "m.csv")]).values())
    assert [(one.start_sec, one.end_sec) for one in found] == [(0.0, 1.5), (None, None)]
    (tmp_path / "m.csv").write_text(f"file,start,end\n{recordings}/short.wav,2,1\n")
    with pytest.raises(KidasrError, match=r"m\.csv:2: end=1 with a start of 2 s; expected: an end after the start"):
        recordings_of([str(tmp_path / "m.csv")])


@pytest.mark.parametrize(
    ("given", "told"),
    [("nowhere.wav", "no such file or folder"), ("empty", "no recordings"), ("*.wav", "no recordings")],
)
def test_no_recordings_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, told: str) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KidasrError, match=told):
        recordings_of([given])
