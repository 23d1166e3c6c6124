"""A part of a recording is read, checked, kept and played as if it were a file of its own."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio import load_audio
from kidasr.corpus.audio_check import AudioCheck
from kidasr.corpus.manifest import Utterance, read_manifest
from kidasr.corpus.sets import Sets
from kidasr.evidence.runs import read_run
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from kidasr.report.browser import browser_data
from kidasr.runs.sweeps import SWEEP
from kidasr.training.fine_tune import FineTune
from kidasr.training.zero_shot import shared_file
from tests.bad_input import Row, assert_line
from tests.conftest import MICRO, composed, job, read_jsonl

FIELDS = {str(name): str(name) for name in composed().data.fields}
SHORT = Padding("longest", 0.2, mask=True, group_by_length=True)


@pytest.fixture(scope="module")
def whisper() -> Whisper:
    return PretrainedWhisper(str(MICRO), "en", "transcribe").load()


def of(path: Path, start_sec: float | None = None, end_sec: float | None = None, **fields: Any) -> Utterance:
    own = {"utterance_id": "u", "speaker_id": "s", "audio_path": str(path), "text": "two red cats", "age_bucket": "5-6"}
    rest = {"age": None, "duration_sec": None, "gender": None, "split": None, "source": "m.jsonl:1"}
    return Utterance(**{**own, **rest, "start_sec": start_sec, "end_sec": end_sec, **fields})


def noise(frames: int, channels: int = 1) -> np.ndarray[Any, Any]:
    return 0.1 * np.random.default_rng(frames).standard_normal((frames, channels))


def check(*utterances: Utterance, window_sec: float = 3.0) -> tuple[list[Utterance], list[str]]:
    """The utterances after the check of their recordings, and the errors."""
    sets, bad = AudioCheck("error", 0, None).find(Sets(list(utterances), [], [], {}, False), window_sec)
    return sets.train, [one.error for one in bad]


def three_tones(folder: Path) -> Path:
    """A second each of 300, 600 and 1200 Hz, in one recording."""
    time_sec = np.arange(16_000) / 16_000
    path = folder / "session.flac"
    soundfile.write(path, np.concatenate([0.3 * np.sin(2 * np.pi * hz * time_sec) for hz in (300, 600, 1200)]), 16_000)
    return path


@pytest.mark.parametrize(
    ("names", "fields"),
    [(("start", "end"), {}), (("offset", "duration"), {}), (("from", "to"), {"start": "from", "end": "to"})],
    ids=["start and end", "offset and duration", "names of one's own"],
)
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_each_text_is_trained_on_with_its_own_part(
    tmp_path: Path, names: tuple[str, str], fields: dict[str, str], ending: str
) -> None:
    three_tones(tmp_path)
    rows = []
    for number, word in enumerate(("one", "two", "three")):
        times = (number, 1 if "duration" in names else number + 1)
        row = {"audio_path": "session.flac", "text": word, "speaker_id": "s", **dict(zip(names, times, strict=True))}
        rows.append(row)
    path = tmp_path / f"m.{ending}"
    table = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(map(json.dumps, rows) if ending == "jsonl" else table), encoding="utf-8")
    utterances = read_manifest(path, {**FIELDS, **fields}, AgeBuckets())
    heard = [np.argmax(np.abs(np.fft.rfft(load_audio(one)))) for one in utterances]
    assert heard == [300, 600, 1200], "whole seconds, so that a bin is 1 Hz"
    assert [one.duration_sec for one in utterances] == [1, 1, 1]
    assert len({one.utterance_id for one in utterances}) == 3


@given(
    frames=st.integers(1000, 20_000),
    part=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    rate_hz=st.sampled_from([16_000, 8_000, 44_100]),
    ending=st.sampled_from(["wav", "flac"]),
    channels=st.sampled_from([1, 2]),
)
def test_a_part_is_bit_identical_to_the_cut_file(
    tmp_path_factory: pytest.TempPathFactory,
    frames: int,
    part: tuple[int, int],
    rate_hz: int,
    ending: str,
    channels: int,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    first = part[0] * (frames - 200) // 1000
    end = first + 100 + part[1] * (frames - first - 100) // 1000
    long, cut = folder / f"long.{ending}", folder / f"cut.{ending}"
    samples = noise(frames, channels)
    soundfile.write(long, samples, rate_hz)
    soundfile.write(cut, samples[first:end], rate_hz)
    ours = load_audio(of(long, first / rate_hz, end / rate_hz))
    assert np.array_equal(ours, load_audio(of(cut))), "to the sample"


@pytest.mark.parametrize("padding", [FULL_WINDOW, SHORT], ids=["full window", "short input"])
def test_the_features_of_a_part_are_those_of_the_cut_file(tmp_path: Path, whisper: Whisper, padding: Padding) -> None:
    samples = noise(48_000)
    soundfile.write(tmp_path / "long.flac", samples, 16_000)
    soundfile.write(tmp_path / "cut.flac", samples[5000:30_000], 16_000)
    pair = [of(tmp_path / "long.flac", 5000 / 16_000, 30_000 / 16_000), of(tmp_path / "cut.flac")]
    part, cut = (ChildSpeechDataset([one], whisper, padding=padding)[0]["input_features"] for one in pair)
    assert torch.equal(part, cut)


@pytest.mark.parametrize(("ending", "within"), [("ogg", 0.0), ("mp3", 1e-3)])
def test_a_part_of_a_lossy_recording_is_that_of_the_decoded_whole(tmp_path: Path, ending: str, within: float) -> None:
    path = tmp_path / f"long.{ending}"
    soundfile.write(path, noise(160_000)[:, 0], 16_000)
    whole = load_audio(of(path))
    part = load_audio(of(path, 4.0, 5.5))
    assert np.abs(part - whole[64_000:88_000]).max() <= within


def test_a_part_to_the_end_and_one_that_is_rounded_past_it(tmp_path: Path) -> None:
    path = three_tones(tmp_path)
    (to_end, rounded), errors = check(of(path, 2.5), of(path, 2.5, 3.05, utterance_id="v"))
    assert not errors and (to_end.duration_sec, len(load_audio(to_end)), len(load_audio(rounded))) == (0.5, 8000, 8000)


#: Start and end, in seconds, of a part of a recording of 1.5 s.
PARTS = {
    "that starts after its end": Row((2.0, 2.5), "m.jsonl:1: u: FILE lasts 1.50 s, but the utterance starts at 2 s"),
    "that ends after its end": Row((1.0, 2.5), "m.jsonl:1: u: FILE lasts 1.50 s, but the utterance ends at 2.5 s"),
    "shorter than a sample": Row((1.0, 1.00001), "m.jsonl:1: u: FILE has no samples"),
    "longer than the window": Row((0.1, 1.4), "m.jsonl:1: u: FILE lasts 1.3 s; expected: up to 1 s, the model's window..."),
    "rounded up to its end": Row((1.0, 1.55), note="used to the end of the recording"),
    "shorter than the window, of a recording that is longer": Row((0.2, 0.9)),
}


@pytest.mark.parametrize("row", PARTS.values(), ids=list(PARTS))
def test_a_part_is_checked_before_training(utterance: Callable[..., Utterance], row: Row) -> None:
    one = replace(utterance(), start_sec=row.given[0], end_sec=row.given[1], duration_sec=None)
    _, errors = check(one, window_sec=1.0)
    assert len(errors) == (row.line is not None)
    if row.line is not None:
        assert_line(errors[0], row.line, one.audio_path)


def test_the_header_of_a_long_recording_is_read_once_for_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = three_tones(tmp_path)
    opened: list[Any] = []
    original = soundfile.SoundFile.__init__

    def count(self: Any, *arguments: Any, **options: Any) -> None:
        opened.append(arguments)
        original(self, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", count)
    parts = [of(path, n / 500, n / 500 + 0.5, utterance_id=f"u{n}") for n in range(1000)]
    sets = Sets(parts, [], [], {}, False)
    found, bad = AudioCheck("error", 0, 0).find(sets, 3.0)
    assert not bad and found.train[7].duration_sec == 0.5 and len(opened) <= 4


def test_two_parts_of_a_recording_are_never_taken_for_each_other(tmp_path: Path, whisper: Whisper) -> None:
    """They have the same id in two sets, as rows numbered in two manifests have."""
    path = three_tones(tmp_path)
    pair = [of(path, 0, 1, duration_sec=1.0), of(path, 1, 2, duration_sec=1.0)]
    examples = [ChildSpeechDataset([one], whisper, cache_sec=10, padding=SHORT)[0] for one in pair]
    assert not torch.equal(*(one["input_features"] for one in examples)), "kept by the process"
    assert examples[0]["key"] != examples[1]["key"], "kept encodings"
    (tmp_path / "sweep").mkdir()
    for one in pair:
        AudioCheck("error", 0, None).find(Sets([one], [], [], {}, False), 3.0, shared_in=tmp_path / "sweep")
    assert len(list((tmp_path / "sweep").glob("audio_check-*"))) == 2
    (tmp_path / "sweep" / SWEEP).touch()
    tune = FineTune(**job(tmp_path / "sweep" / "run", "debug=smoke").arguments)
    depends_on = tune._scores_depend_on(tune._training_arguments())
    shared = {shared_file(tmp_path / "sweep", depends_on, [one]) for one in pair}
    assert len(shared) == 2, "the scores before training"


def test_predictions_and_report_have_the_part(tmp_path: Path) -> None:
    path = three_tones(tmp_path)
    rows = [
        {"audio_path": path.name, "text": "cats", "speaker_id": f"s{n}", "age": 6, "start": n, "end": n + 1, "split": split}
        for n, split in enumerate(("train", "dev", "train"))
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    whole = ("data=manifest", "model=micro", f"data.train={tmp_path / 'm.jsonl'}", "debug=smoke", "trainer.zero_shot=false")
    job(tmp_path / "run", *whole).run()
    (prediction,) = read_jsonl(tmp_path / "run" / "predictions.jsonl")
    assert (prediction["start_sec"], prediction["end_sec"], prediction["utterance_id"]) == (1, 2, "session.flac-1.0-2.0")
    run = read_run(tmp_path / "run")
    embedded, linked = (
        browser_data({"run": [run]}, tmp_path / "run", 10, megabytes)["utterances"][0]["audio"] for megabytes in (1, 0)
    )
    assert linked == "../session.flac#t=1.000,2.000"
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(embedded.partition("base64,")[2])))
    assert (len(samples), rate_hz) == (16_000, 16_000)
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 600, "the second tone"
