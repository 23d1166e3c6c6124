from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kidasr.corpus.manifest import Utterance
from kidasr.features.audio import AudioError, check_audio, load_audio


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1), (96_000, 2)])
def test_any_format_rate_and_channels_come_as_16_khz_mono(
    tmp_path: Path, utterance: Callable[..., Utterance], ending: str, rate_hz: int, channels: int
) -> None:
    if ending in ("mp3", "ogg") and rate_hz == 96_000:
        pytest.skip("the codec has no such rate")
    path = tmp_path / f"tone.{ending}"
    tone = 0.3 * np.sin(2 * np.pi * 500 * np.arange(rate_hz) / rate_hz)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate_hz)
    samples = load_audio(utterance(audio_path=str(path)))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(16_000, abs=2500 if ending == "mp3" else 2)
    middle = samples[4000:12_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * 2 == pytest.approx(500, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.3, rel=0.1)


def test_stereo_is_averaged(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    path = tmp_path / "s.wav"
    soundfile.write(path, np.tile([0.5, -0.1], (1600, 1)), 16_000)
    assert load_audio(utterance(audio_path=str(path))) == pytest.approx(0.2, abs=1e-3)


def test_what_is_no_recording_is_one_line(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    path = tmp_path / "t.flac"
    path.write_text("no audio at all", encoding="utf-8")
    with pytest.raises(AudioError, match=r"^m\.jsonl:1: .*t\.flac can't be read: [^\n]*; accepted: WAV, FLAC, OGG or MP3$"):
        load_audio(utterance(audio_path=str(path)))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    with pytest.raises(AudioError, match="holds no samples"):
        load_audio(utterance(audio_path=str(tmp_path / "empty.wav")))


def test_missing_and_long_recordings_are_found_before_training(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    good = utterance("good", duration_sec=1.0)
    check_audio([good], window_sec=3)
    with pytest.raises(AudioError, match=r"^m\.jsonl:1: .*gone\.wav: no such file"):
        check_audio([good, utterance("x", audio_path=str(tmp_path / "gone.wav"))], window_sec=3)
    long = utterance("long", duration_sec=3.5)
    for told in (long, replace(long, duration_sec=None)):  # by the manifest, or by the file itself
        with pytest.raises(AudioError, match=r"long\.wav lasts 3\.5 s; accepted: up to 3 s"):
            check_audio([told], window_sec=3)
