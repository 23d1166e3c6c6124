"""Each kind of bad recording gives its message, each odd but valid one is used; one key sets the policy for bad ones."""

import logging
import os
import pickle
import re
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

from kidasr.corpus.audio import AudioError, load_audio
from kidasr.corpus.audio_check import AudioCheck, BadAudio
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.sets import Sets
from kidasr.features.augment import Augmentations
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.specaugment import SpecAugment
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from tests.bad_input import Row, assert_line
from tests.conftest import MICRO, as_nobody

WINDOW_SEC = 3.0


def tone(duration_sec: float = 1.5, rate_hz: int = 16_000) -> np.ndarray[Any, Any]:
    return 0.3 * np.sin(2 * np.pi * 500 * np.arange(round(duration_sec * rate_hz)) / rate_hz)


def sound(samples: Any = None, rate_hz: int = 16_000, **how: Any) -> Callable[[Path], None]:
    """A function that writes a recording."""
    return lambda path: soundfile.write(path, tone(rate_hz=rate_hz) if samples is None else samples, rate_hz, **how)


def cut(write: Callable[[Path], None], share: float = 0.5) -> Callable[[Path], None]:
    """A function that writes a recording and truncates its file."""

    def write_cut(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return write_cut


def with_rate(rate_hz: int) -> Callable[[Path], None]:
    """A function that writes a WAV file with this rate in its header."""

    def write(path: Path) -> None:
        sound()(path)
        content = bytearray(path.read_bytes())
        content[24:28] = rate_hz.to_bytes(4, "little")
        path.write_bytes(content)

    return write


def streamed(path: Path) -> None:
    """A WAV file as written to a pipe: its header gives the largest size that the format allows."""
    sound()(path)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)


def spiked(value: float) -> Callable[[Path], None]:
    samples = tone()
    samples[1000] = value
    return sound(samples, subtype="FLOAT")


def nothing(path: Path) -> None:
    pass


#: Function that writes the file, file name, and optionally the length in the manifest, in seconds.
AUDIO = {
    # bad
    "a missing file": Row((nothing, "a.wav"), "m.jsonl:1: u: FILE: no such file (audio paths are relative to the manifest)"),
    "a folder": Row((Path.mkdir, "a.wav"), "m.jsonl:1: u: FILE is not a file"),
    "a pipe": Row((os.mkfifo, "a.wav"), "m.jsonl:1: u: FILE is not a file"),
    "no bytes": Row((Path.touch, "a.wav"), "m.jsonl:1: u: FILE is empty, 0 bytes"),
    "no samples": Row((sound(np.zeros(0)), "a.wav"), "m.jsonl:1: u: FILE has no samples"),
    "not audio": Row(
        (lambda path: path.write_text("hello " * 99, encoding="utf-8"), "a.flac"),
        "m.jsonl:1: u: FILE can't be read: ...; expected: WAV, FLAC, OGG or MP3",
    ),
    "a pickle": Row(
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "a.wav"),
        "m.jsonl:1: u: FILE can't be read: ...; expected: WAV, FLAC, OGG or MP3",
    ),
    "WAV cut short": Row((cut(sound()), "a.wav"), "m.jsonl:1: u: FILE is cut short: 23978 of 48000 bytes of samples"),
    "FLAC cut short": Row(
        (cut(sound()), "a.flac"),
        "m.jsonl:1: u: FILE can't be read: ...; expected: WAV, FLAC, OGG or MP3",
    ),
    "MP3 cut short": Row((cut(sound()), "a.mp3"), "m.jsonl:1: u: FILE is cut short: ... of 1.50 s"),
    "OGG cut short": Row(
        (cut(sound(np.random.default_rng(1).normal(0, 0.1, 40_000)), 0.9), "a.ogg"),
        "m.jsonl:1: u: FILE is cut short: its last page is not marked as the last",
    ),
    "half as long as the manifest says": Row(
        (sound(tone(0.7)), "a.wav", 1.5),
        "m.jsonl:1: u: FILE lasts 0.70 s, but the manifest says 1.5 s: is it cut short?",
    ),
    "NaN among the samples": Row(
        (spiked(float("nan")), "a.wav"), "m.jsonl:1: u: FILE has samples that are NaN, infinite or too large"
    ),
    "infinite samples": Row(
        (spiked(float("inf")), "a.wav"), "m.jsonl:1: u: FILE has samples that are NaN, infinite or too large"
    ),
    "samples of 1e30": Row((spiked(1e30), "a.wav"), "m.jsonl:1: u: FILE has samples that are NaN, infinite or too large"),
    "longer than the window": Row(
        (sound(tone(3.1)), "a.wav"), "m.jsonl:1: u: FILE lasts 3.1 s; expected: up to 3 s, the model's window..."
    ),
    "longer than the window, though the manifest says less": Row(
        (sound(tone(3.1)), "a.wav", 2.0), "m.jsonl:1: u: FILE lasts 3.1 s; expected: up to 3 s, the model's window..."
    ),
    "a rate of 1 Hz in the header": Row(
        (with_rate(1), "a.wav"), "m.jsonl:1: u: FILE has 1 samples per second; expected: 4000 to 400000"
    ),
    "a NUL in the path": Row((nothing, "a\0.wav"), "m.jsonl:1: u: ...a\\x00.wav can't be read: ..."),
    "a name of 300 characters": Row((nothing, "a" * 300), "m.jsonl:1: u: FILE can't be read: File name too long"),
    "a newline in the path": Row(
        (nothing, "a\nb.wav"), "m.jsonl:1: u: ...a\\nb.wav: no such file (audio paths are relative to the manifest)"
    ),
    # odd but valid
    "0.01 s": Row((sound(tone(0.01)), "a.wav")),
    "as long as the window": Row((sound(tone(3.0)), "a.wav")),
    "silence": Row((sound(np.zeros(24_000)), "a.wav"), note="used as is, with a warning if its transcript has words"),
    "8 kHz": Row((sound(rate_hz=8_000), "a.wav"), note="resampled to 16 kHz"),
    "96 kHz": Row((sound(rate_hz=96_000), "a.flac"), note="resampled to 16 kHz"),
    "44,101 Hz": Row((with_rate(44_101), "a.wav"), note="treated as 44,100 Hz"),
    "stereo whose channels cancel each other out": Row(
        (sound(np.stack([tone(), -tone()], axis=1)), "a.wav"), note="silence"
    ),
    "stereo": Row((sound(np.stack([tone()] * 2, axis=1)), "a.wav"), note="channels averaged"),
    "six channels": Row((sound(np.stack([tone()] * 6, axis=1)), "a.wav"), note="channels averaged"),
    "8 bits": Row((sound(subtype="PCM_U8"), "a.wav")),
    "24 bits": Row((sound(subtype="PCM_24"), "a.flac")),
    "floats": Row((sound(subtype="FLOAT"), "a.wav")),
    "floats of 64 bits": Row((sound(subtype="DOUBLE"), "a.wav")),
    "floats scaled as 16-bit integers": Row((sound(tone() * 32768, subtype="FLOAT"), "a.wav")),
    "clipped": Row((sound(np.sign(tone())), "a.wav")),
    "mu-law": Row((sound(rate_hz=8_000, subtype="ULAW"), "a.wav"), note="resampled to 16 kHz"),
    "WAV named .mp3": Row((sound(format="WAV"), "a.mp3"), note="the content decides"),
    "FLAC named .raw": Row((sound(format="FLAC"), "a.raw"), note="the content decides"),
    "WAV without an extension": Row((sound(format="WAV"), "a"), note="the content decides"),
    "WAV written to a pipe, its length not in the header": Row((streamed, "a.wav")),
    "a name with spaces, Unicode and a quote": Row((sound(), "with 'spaces' né 日本 🎉.wav")),
    "longer than the manifest says": Row((sound(), "a.wav", 0.5), note="used whole, with a warning"),
    "a little shorter than the manifest says": Row((sound(), "a.wav", 1.6)),
}


SHORT_FILES = st.sampled_from(
    [(".wav", "PCM_16"), (".wav", "FLOAT"), (".flac", "PCM_16"), (".ogg", "VORBIS"), (".mp3", None)]
)


@pytest.mark.any_input
@given(kind=SHORT_FILES, damage=st.lists(st.tuples(st.integers(0, 199), st.binary(min_size=1, max_size=4)), max_size=4))
def test_any_damaged_recording_is_read_or_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: tuple[str, str | None], damage: list[tuple[int, bytes]]
) -> None:
    ending, subtype = kind
    path = tmp_path_factory.getbasetemp() / f"damaged{ending}"
    sound(tone(0.3), subtype=subtype)(path)
    content = bytearray(path.read_bytes())
    for place, damaged in damage:
        content[place : place + len(damaged)] = damaged
    path.write_bytes(content)
    one = Utterance("u", "s", str(path), "a", "5-6", None, None, None, None, "m.jsonl:1")
    sets, bad = decoding_all().find(sets_of(one), WINDOW_SEC)
    if bad:
        assert bad[0].error.startswith(f"m.jsonl:1: u: {path}") and bad[0].error.isprintable()
    else:
        assert 0 < len(load_audio(sets.train[0])) <= WINDOW_SEC * 16_000 + 1


@pytest.fixture(scope="module")
def whisper() -> Whisper:
    return PretrainedWhisper(str(MICRO), "en", "transcribe").load()


def recording(tmp_path: Path, utterance: Callable[..., Utterance], row: Row) -> Utterance:
    write, name, *told_sec = row.given
    path = tmp_path / "audio" / name
    path.parent.mkdir()
    write(path)
    return replace(utterance(), audio_path=str(path), duration_sec=told_sec[0] if told_sec else None)


def sets_of(*train: Utterance, validation: tuple[Utterance, ...] = ()) -> Sets:
    return Sets(list(train), list(validation), list(validation), {}, False)


def decoding_all(on_bad_audio: Any = "error", max_bad_fraction: float = 0.5) -> AudioCheck:
    return AudioCheck(on_bad_audio, max_bad_fraction, None)


@pytest.mark.parametrize("row", [row for row in AUDIO.values() if row.line], ids=[k for k, row in AUDIO.items() if row.line])
def test_a_bad_recording_is_one_line_before_training(tmp_path: Path, utterance: Callable[..., Utterance], row: Row) -> None:
    one = recording(tmp_path, utterance, row)
    _, bad = decoding_all().find(sets_of(one), WINDOW_SEC)
    assert [(entry.set, entry.utterance_id, entry.audio_path) for entry in bad] == [("train", "u", one.audio_path)]
    assert row.line is not None
    assert_line(bad[0].error, row.line, one.audio_path)


@pytest.mark.parametrize(
    "row", [row for row in AUDIO.values() if not row.line], ids=[k for k, row in AUDIO.items() if not row.line]
)
def test_an_odd_recording_can_be_used(
    tmp_path: Path, utterance: Callable[..., Utterance], row: Row, whisper: Whisper
) -> None:
    one = recording(tmp_path, utterance, row)
    sets, bad = decoding_all().find(sets_of(one), WINDOW_SEC)
    assert not bad
    samples = load_audio(sets.train[0])
    assert len(samples) / 16_000 == pytest.approx(sets.train[0].duration_sec, abs=0.11)
    for padding in (FULL_WINDOW, Padding("longest", 0.0, True, True)):
        masks = Augmentations({"specaugment": SpecAugment(27, 100, 2, 2, 0.5)})
        features = ChildSpeechDataset(sets.train, whisper, masks, padding=padding)[0, 0]
        assert torch.isfinite(features["input_features"]).all()


def test_a_recording_without_permission_is_one_line(utterance: Callable[..., Utterance]) -> None:
    one = utterance()
    Path(one.audio_path).chmod(0)
    with as_nobody():
        _, bad = decoding_all().find(sets_of(one), WINDOW_SEC)
    assert_line(bad[0].error, "m.jsonl:1: u: FILE can't be read: Permission denied", one.audio_path)


def test_only_headers_are_read_of_a_large_corpus(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    broken = recording(tmp_path, utterance, AUDIO["NaN among the samples"])
    assert not AudioCheck("error", 0, 1.4).find(sets_of(broken), WINDOW_SEC)[1]
    assert AudioCheck("error", 0, 1.6).find(sets_of(broken), WINDOW_SEC)[1]
    assert not AudioCheck("error", 0, None).find(sets_of(broken), WINDOW_SEC, decode=False)[1]
    with pytest.raises(AudioError, match="NaN, infinite"):  # in training
        load_audio(broken)


def test_by_default_one_bad_recording_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    good = utterances(20)
    bad = [BadAudio("train", "u7", "x", "LINE")]
    with pytest.raises(AudioError, match=r"^LINE \(data\.on_bad_audio=skip leaves them out\)$"):
        decoding_all().leave_out(sets_of(*good), bad, "LIST")
    both = [*bad, BadAudio("train", "u8", "x", "OTHER")]
    with pytest.raises(AudioError, match=r"^LINE \(2 bad recordings in all, listed in LIST; data\.on_bad_audio=skip leaves"):
        decoding_all().leave_out(sets_of(*good), both, "LIST")


def utterances(number: int) -> list[Utterance]:
    return [Utterance(f"u{n}", "s", "x", "", "5-6", None, 1.0, None, None, f"m:{n}") for n in range(number)]


def test_skipping_is_counted_and_said_and_leaves_the_other_set_alone(caplog: pytest.LogCaptureFixture) -> None:
    same = utterances(20)  # the same ids in both sets
    bad = [BadAudio("train", "u7", "x", "LINE"), BadAudio("train", "u8", "x", "OTHER")]
    sets, counts = decoding_all("skip").leave_out(sets_of(*same, validation=tuple(same)), bad, "LIST")
    assert [one.utterance_id for one in sets.train] == [f"u{n}" for n in range(20) if n not in (7, 8)]
    assert sets.validation == same and counts == {"train": 2, "validation": 0}
    assert caplog.messages == [
        "data: train: 2 of 20 recordings are bad and left out (data.on_bad_audio=skip), listed in LIST; the first: LINE"
    ]


@pytest.mark.parametrize(("max_bad_fraction", "number", "stops"), [(0.1, 2, False), (0.1, 3, True), (1.0, 20, True)])
def test_too_many_bad_recordings_of_a_set_stop_the_run(max_bad_fraction: float, number: int, stops: bool) -> None:
    sets = sets_of(*utterances(20), validation=tuple(utterances(200)))
    bad = [BadAudio("train", f"u{n}", "x", f"LINE {n}") for n in range(number)]
    check = decoding_all("skip", max_bad_fraction)
    if stops:
        line = f"data.max_bad_fraction={max_bad_fraction:g}: train: {number} of 20 recordings are bad, listed in LIST; the"
        with pytest.raises(AudioError, match=re.escape(line)):
            check.leave_out(sets, bad, "LIST")
    else:
        assert len(check.leave_out(sets, bad, "LIST")[0].train) == 20 - number


def test_what_the_evaluations_hear_can_not_be_left_out_altogether() -> None:
    sets = Sets(utterances(9), utterances(9), utterances(1), {}, False)
    with pytest.raises(AudioError, match=r"^data\.limit_validation: all 1 recordings are bad, listed in LIST$"):
        decoding_all("skip").leave_out(sets, [BadAudio("validation", "u0", "x", "LINE")], "LIST")


def test_silence_with_words_and_recordings_longer_than_told_are_warnings(
    tmp_path: Path, utterance: Callable[..., Utterance], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    sound(np.zeros(16_000))(tmp_path / "quiet.wav")
    silent = replace(utterance(), audio_path=str(tmp_path / "quiet.wav"), duration_sec=1.0)
    wordless = replace(silent, text=" ")
    decoding_all().find(sets_of(utterance("fine"), wordless), WINDOW_SEC)
    assert not caplog.messages
    longer = replace(utterance("longer"), duration_sec=0.5)
    sets, bad = decoding_all().find(sets_of(silent, longer), WINDOW_SEC)
    assert not bad and [one.duration_sec for one in sets.train] == [1.0, 1.5]
    assert [line.partition(", the first")[0] for line in caplog.messages] == [
        "data: train: 1 silent recording(s) whose transcript has words",
        "data: train: 1 recording(s) longer than the manifest says",
    ]


def test_several_processes_look_at_a_share_each(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    train = [utterance(f"u{n}") for n in range(5)]
    for n in (1, 4):
        Path(train[n].audio_path).unlink()
    shares: dict[int, list[Any]] = {}

    def gather(own: list[Any]) -> list[Any]:
        shares[len(shares)] = own
        raise InterruptedError

    for process in (0, 1):
        with pytest.raises(InterruptedError):
            decoding_all().find(sets_of(*train), WINDOW_SEC, gather=gather, processes=2, process=process)
    assert [[place for place, _ in own] for own in shares.values()] == [[0, 2, 4], [1, 3]]
