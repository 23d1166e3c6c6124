"""Noise, rooms, levels and codecs, as measured on what comes out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kidasr.corpus.audio import SAMPLE_RATE_HZ
from kidasr.features.augment import Draw
from kidasr.features.augmentations.codec import encoded
from kidasr.features.augmentations.level import power
from tests.features.augmentations.everything import augmentation, augmented, decibel, draws, recording


@pytest.mark.parametrize("kind", ["white", "pink", "brown", "babble", "folder"])
def test_noise_has_the_signal_to_noise_ratio_that_was_drawn(kind: str, tmp_path: Path) -> None:
    samples = 0.3 * recording()
    keys = {"kinds": [kind]} if kind != "folder" else {"folder": str(tmp_path)}
    soundfile.write(tmp_path / "hum.flac", 0.1 * np.sin(np.arange(4_000)), 8_000)  # shorter, at another rate
    one = augmentation("noise", p=1.0, **keys)
    for draw, noisy in zip(draws(8), augmented(one, samples, 8), strict=True):
        told = (one.drawn(draw) or {})["SNR"]
        assert decibel(power(samples) / power(noisy - samples)) == pytest.approx(float(told.split()[0]), abs=0.1)


def test_colored_noise_falls_with_frequency() -> None:
    samples = 0.1 * recording()
    for kind, falls_db in (("white", 0), ("pink", 10), ("brown", 20)):
        added = augmentation("noise", kinds=[kind], snr_db=[0, 0], p=1.0)(samples, Draw(1, 0, "u")) - samples
        spectrum = np.abs(np.fft.rfft(added, SAMPLE_RATE_HZ)) ** 2
        decade = decibel(spectrum[200:400].mean() / spectrum[2000:4000].mean())
        assert decade == pytest.approx(falls_db, abs=2), "dB a decade"


def test_reverb_decays_as_long_as_its_room_and_keeps_length_and_level() -> None:
    samples = np.zeros(2 * SAMPLE_RATE_HZ, dtype=np.float32)
    samples[: SAMPLE_RATE_HZ // 2] = 0.1 * np.random.default_rng(1).standard_normal(SAMPLE_RATE_HZ // 2)
    for decay_sec in (0.2, 0.4, 0.8):
        one = augmentation("reverb", decay_sec=[decay_sec, decay_sec], direct_db=[0, 0], p=1.0)
        wet = one(samples, Draw(1, 0, "u"))
        assert len(wet) == len(samples) and power(wet) == pytest.approx(power(samples), rel=1e-3)
        # The level of the echo, in steps of a twentieth of the decay, from the end of the sound on.
        step = round(decay_sec * SAMPLE_RATE_HZ / 20)
        levels_db = [decibel(power(wet[start : start + step])) for start in range(8_100, 8_100 + 10 * step, step)]
        slope = np.polyfit(np.arange(10) / 20 * decay_sec, levels_db, 1)[0]
        assert -60 / slope == pytest.approx(decay_sec, rel=0.25)


def test_reverb_of_a_recorded_room_begins_at_its_direct_sound(tmp_path: Path) -> None:
    response = np.zeros(3_000)
    response[[500, 1_300]] = 1, 0.5
    soundfile.write(tmp_path / "room.wav", response, SAMPLE_RATE_HZ, subtype="FLOAT")
    click = np.zeros(4_000, dtype=np.float32)
    click[100] = 0.5
    wet = augmentation("reverb", folder=str(tmp_path), p=1.0)(click, Draw(1, 0, "u"))
    assert np.flatnonzero(np.abs(wet) > 1e-4).tolist() == [100, 900]
    assert wet[900] / wet[100] == pytest.approx(0.5, rel=1e-3)


def test_gain_is_the_one_that_was_drawn_and_stays_within_full_scale() -> None:
    samples, one = 0.1 * recording(), augmentation("gain", p=1.0)
    for draw, louder in zip(draws(8), augmented(one, samples, 8), strict=True):
        told = (one.drawn(draw) or {})["gain"]
        assert decibel(power(louder) / power(samples)) == pytest.approx(float(told.split()[0]), abs=0.1)
    assert np.abs(augmentation("gain", gain_db=[40, 40], p=1.0)(samples, Draw(1, 0, "u"))).max() == pytest.approx(1)


@pytest.mark.parametrize(("codec", "band_hz"), [("mu_law", 4_000), ("gsm", 4_000), ("mp3", 8_000)])
def test_a_codec_limits_the_band_adds_noise_and_moves_nothing(codec: str, band_hz: int) -> None:
    samples = recording()
    heard = encoded(samples, codec)
    assert len(heard) == len(samples)
    assert np.corrcoef(samples, heard)[0, 1] > 0.9, "a shift of a few samples would be near 0"
    assert 10 < decibel(power(samples) / power(samples - heard)) < 45
    before, after = (np.abs(np.fft.rfft(one, SAMPLE_RATE_HZ)) ** 2 for one in (samples, heard))
    if band_hz < 8_000:
        above = slice(band_hz + 300, None)
        assert after[above].sum() < 0.1 * before[above].sum()
