from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kidasr.corpus.audio import load_audio
from kidasr.corpus.manifest import Utterance


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
