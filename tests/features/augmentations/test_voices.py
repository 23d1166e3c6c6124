"""Augmentations of the voice change what they should by as much as they should, as Praat measures it, and nothing more."""

import numpy as np
import parselmouth
import pytest
import torch

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples
from kidasr.features.augment import Draw
from kidasr.features.augmentations.voice import shift_voice
from kidasr.features.augmentations.vtlp import mel_centers_hz
from kidasr.features.spectrogram import spectrogram
from tests.features.augmentations.everything import augmentation, augmented, draws, recording

#: Pitch of vowels.
VOICES_HZ = (100, 120, 150)

ADULTS = ("adults_00_00", "adults_02_01", "adults_04_02")


def pitch_hz(samples: Samples) -> float:
    found = parselmouth.Sound(samples.astype(float), SAMPLE_RATE_HZ).to_pitch_ac(pitch_floor=60, pitch_ceiling=700)
    hertz = found.selected_array["frequency"]
    return float(np.median(hertz[hertz > 0]))


def vowel(pitch: float, formants: tuple[float, ...] = (700, 1200, 2600)) -> Samples:
    """A second of a vowel: pulses through a resonance for each formant."""
    signal = np.zeros(SAMPLE_RATE_HZ)
    signal[(np.arange(0, 1, 1 / pitch) * SAMPLE_RATE_HZ).astype(int)] = 1.0
    for hertz in formants:
        radius = np.exp(-np.pi * 90 / SAMPLE_RATE_HZ)
        first, second = 2 * radius * np.cos(2 * np.pi * hertz / SAMPLE_RATE_HZ), -(radius**2)
        for n in range(2, len(signal)):
            signal[n] += first * signal[n - 1] + second * signal[n - 2]
    return (0.3 * signal / np.abs(signal).max()).astype(np.float32)


def formants_hz(samples: Samples, ceiling_hz: float = 5500) -> np.ndarray:
    """The first two formants."""
    found = parselmouth.Sound(samples.astype(float), SAMPLE_RATE_HZ).to_formant_burg(maximum_formant=ceiling_hz)
    times = np.linspace(0.2, 0.8, 40)
    return np.array([np.nanmedian([found.get_value_at_time(n, time) for time in times]) for n in (1, 2)])


def test_speed_divides_the_duration_and_multiplies_the_pitch() -> None:
    samples = recording()
    seen = {}
    for draw, faster in zip(draws(), augmented(augmentation("speed"), samples), strict=True):
        factor = (augmentation("speed").drawn(draw) or {"speed": 1.0})["speed"]
        assert len(faster) == pytest.approx(len(samples) / factor, abs=1)
        seen[factor] = faster
    assert set(seen) == {0.9, 1.0, 1.1} and seen[1.0] is samples
    for factor in (0.9, 1.1):
        assert pitch_hz(seen[factor]) / pitch_hz(samples) == pytest.approx(factor, rel=0.02)
    assert augmentation("speed").max_length_factor == pytest.approx(1 / 0.9)
    assert augmentation("speed", factors=[1.1, 1.2]).max_length_factor == 1


@pytest.mark.parametrize("semitones", [-4, 4])
def test_pitch_moves_the_pitch_and_leaves_duration_and_formants(semitones: int) -> None:
    one = augmentation("pitch", semitones=[semitones, semitones], p=1.0)
    ratios = []
    for samples in map(recording, ADULTS):
        shifted = one(samples, Draw(1, 0, "u"))
        assert len(shifted) == len(samples)
        ratios.append(pitch_hz(shifted) / pitch_hz(samples))
    assert np.median(ratios) == pytest.approx(2 ** (semitones / 12), rel=0.03)
    vowels = list(map(vowel, VOICES_HZ))
    before = np.mean([formants_hz(samples) for samples in vowels], axis=0)
    after = np.mean([formants_hz(one(samples, Draw(1, 0, "u"))) for samples in vowels], axis=0)
    assert after / before == pytest.approx([1, 1], abs=0.08), "the pitch moves by 21 to 26%"


def test_adult_to_child_moves_pitch_and_formants_by_a_factor_each() -> None:
    one = augmentation("adult_to_child", pitch_factor=[1.5, 1.5], formant_factor=[1.2, 1.2], p=1.0)
    ratios = [pitch_hz(one(samples, Draw(1, 0, "u"))) / pitch_hz(samples) for samples in map(recording, ADULTS)]
    assert np.median(ratios) == pytest.approx(1.5, rel=0.03)
    adults = list(map(vowel, VOICES_HZ))
    children = [one(samples, Draw(1, 0, "u")) for samples in adults]
    assert list(map(len, children)) == list(map(len, adults))
    before = np.mean([formants_hz(samples) for samples in adults], axis=0)
    after = np.mean([formants_hz(samples, 1.2 * 5500) for samples in children], axis=0)
    assert after / before == pytest.approx([1.2, 1.2], abs=0.08)


def test_a_voice_shifted_by_nothing_is_the_same_voice() -> None:
    samples = recording()
    assert np.abs(shift_voice(samples, 1.0, 1.0) - samples).max() < 1e-3


@pytest.mark.parametrize("warp", [0.9, 1.1])
def test_vtlp_moves_frequencies_and_leaves_time_and_padding(warp: float) -> None:
    centers_hz = mel_centers_hz(80)
    features = torch.from_numpy(np.exp(-(((centers_hz - 1500) / 300) ** 2)).astype(np.float32))[:, None].repeat(1, 50)
    features = features * torch.linspace(0.5, 1, 50)  # a formant that becomes louder
    one = augmentation("vtlp", warp=[warp, warp], p=1.0)
    warped = one(features, 40, Draw(1, 0, "u"))
    assert torch.equal(warped[:, 40:], features[:, 40:])
    peaks_hz = centers_hz[warped[:, :40].argmax(dim=0)]
    assert peaks_hz == pytest.approx(1500 * warp, rel=0.03), "a bin is 3% of it"
    ratio = warped[:, 1:40].amax(dim=0) / features[:, 1:40].amax(dim=0)
    assert float(ratio.max() - ratio.min()) < 1e-4, "each frame's level is its own"
    flat = torch.full((80, 9), 0.3)
    torch.testing.assert_close(one(flat, 9, Draw(1, 0, "u")), flat)


def test_vtlp_on_the_recording_is_the_recording_of_a_shorter_vocal_tract() -> None:
    """A vowel whose formants are 10% higher has the features of the warped vowel, more than those of the vowel itself."""
    (features, frames), (higher, _) = (spectrogram(vowel(120, tuple(f * k for f in (700, 1200, 2600)))) for k in (1.0, 1.1))
    warped = augmentation("vtlp", warp=[1.1, 1.1], p=1.0)(features, frames, Draw(1, 0, "u"))
    distance, before = (float((one - higher)[:, 20:80].abs().mean()) for one in (warped, features))
    assert distance < 0.75 * before


def test_time_warp_moves_a_point_in_time_and_leaves_the_ends_and_the_padding() -> None:
    ramp = torch.arange(300.0).expand(80, 300).contiguous()
    shifts = []
    for draw in draws():
        warped = augmentation("time_warp")(ramp, 200, draw)
        assert warped.shape == ramp.shape and torch.equal(warped[:, 200:], ramp[:, 200:])
        assert (warped[0, 0], warped[0, 199]) == (0, 199) and bool((warped[0, 1:200] >= warped[0, :199]).all())
        shifts.append(float((warped - ramp)[0].abs().max()))
    assert max(shifts) <= 20.01 and max(shifts) > 15, "a tenth of 200 frames"
    assert len(set(shifts)) == len(shifts)
