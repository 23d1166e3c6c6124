"""Additive noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from kidasr.config.schema import Fraction, Text, span
from kidasr.features.augment import Draw, WaveformAugmentation, share_of, uniform
from kidasr.features.augmentations.level import power, within_full_scale
from kidasr.features.augmentations.recordings import folder_mistakes, load_part, recordings_in

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples

Kind = Literal["white", "pink", "brown", "babble"]

#: Exponent of the power spectrum's fall with frequency.
EXPONENTS = {"white": 0, "pink": 1, "brown": 2}

#: Voices in babble.
VOICES = 6

#: The frequency below which a colored noise no longer rises.
LOWEST_HZ = 50


class Noise(WaveformAugmentation):
    """Adds noise at a random signal-to-noise ratio, that of the mean powers of the whole utterance and the noise.

    Args:
        folder: A folder of recordings; a random part of one is added, repeated if it is too short. None: the noise is
            generated.
        kinds: The kinds of generated noise to draw from. ``babble`` is the utterance itself six times over, reversed and
            shifted by random amounts: the level, spectrum and rhythm of speech without its words.
        snr_db: The lowest and the highest signal-to-noise ratio; drawn uniformly.
        p: Share of the utterances that get noise.

    Raises:
        KidasrError: If a recording of the folder can't be read.
    """

    def __init__(
        self,
        folder: Text | None,
        kinds: Annotated[list[Kind], Field(min_length=1)],
        snr_db: Annotated[list[float], span(-20, 100)],
        p: Fraction,
    ):
        self.folder, self.kinds, self.snr_db, self.p = folder, kinds, snr_db, p

    @staticmethod
    def mistakes(keys: Mapping[str, Any]) -> Iterator[str]:
        """A folder without recordings."""
        yield from folder_mistakes("noise", keys)

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Add noise; the number of samples stays. A silent utterance gets none, since no ratio to silence is defined."""
        drawn = self._drawn(draw)
        if drawn is None:
            return samples
        what, snr_db = drawn
        rng = draw.generator("samples of noise")
        if self.folder is not None:
            noise = _part_of(what, len(samples), rng)
        elif what == "babble":
            noise = _babble(samples, rng)
        else:
            noise = _colored(EXPONENTS[what], len(samples), rng)
        signal_power, noise_power = power(samples), power(noise)
        if not signal_power or not noise_power:
            return samples
        gain = np.float32(np.sqrt(signal_power / noise_power) * 10 ** (-snr_db / 20))
        return within_full_scale(samples + gain * noise)

    def _drawn(self, draw: Draw) -> tuple[str, float] | None:
        """The kind of noise, or the recording, and the signal-to-noise ratio."""
        rng = draw.generator("noise")
        if rng.random() >= self.p:
            return None
        sources = self.kinds if self.folder is None else recordings_in(self.folder)
        return str(sources[rng.integers(len(sources))]), uniform(rng, self.snr_db)

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The kind of noise, or the recording, and the signal-to-noise ratio."""
        drawn = self._drawn(draw)
        return None if drawn is None else {"noise": drawn[0], "SNR": f"{drawn[1]:.1f} dB"}

    def describe(self) -> str:
        """The noises, the ratios, and how many utterances get some."""
        low, high = self.snr_db
        what = ", ".join(self.kinds) if self.folder is None else f"recordings of {self.folder}"
        return f"{what} at {low:g} to {high:g} dB, {share_of(self.p)}"


def _colored(exponent: int, samples: int, rng: np.random.Generator) -> Samples:
    """Gaussian noise whose power spectrum falls with frequency to the power of ``exponent``."""
    if not exponent:
        return rng.standard_normal(samples, dtype=np.float32)
    size = max(2, 1 << (samples - 1).bit_length())
    white = rng.standard_normal(size + 2, dtype=np.float32).view(np.complex64)
    hertz = np.maximum(np.arange(size // 2 + 1, dtype=np.float32) * (16_000 / size), LOWEST_HZ)
    shape = 1 / np.sqrt(hertz) if exponent == 1 else 1 / hertz
    noise = np.fft.irfft(white * shape, size)[:samples] * np.float32(np.sqrt(size))
    return noise.astype(np.float32, copy=False)


def _babble(samples: Samples, rng: np.random.Generator) -> Samples:
    backward = samples[::-1]
    return np.sum([np.roll(backward, shift) for shift in rng.integers(len(samples), size=VOICES)], axis=0, dtype=np.float32)


def _part_of(path: str, samples: int, rng: np.random.Generator) -> Samples:
    """A random part of a recording, repeated if it is shorter than ``samples``."""
    import soundfile

    from kidasr.corpus.audio import SAMPLE_RATE_HZ

    try:
        lasts_sec = float(soundfile.info(path).duration)
    except (OSError, soundfile.SoundFileError):
        lasts_sec = 0.0  # load_part says what is wrong
    wanted_sec = samples / SAMPLE_RATE_HZ
    if lasts_sec <= wanted_sec:
        return np.resize(load_part(path), samples)
    start_sec = rng.uniform(0, lasts_sec - wanted_sec)
    return np.resize(load_part(path, start_sec, start_sec + wanted_sec), samples)
