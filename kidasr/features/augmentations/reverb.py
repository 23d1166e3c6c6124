"""Reverberation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from kidasr.config.schema import Fraction, Text, span
from kidasr.features.augment import Draw, WaveformAugmentation, share_of, uniform
from kidasr.features.augmentations.level import power, within_full_scale
from kidasr.features.augmentations.recordings import folder_mistakes, load_part, recordings_in

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples

#: Silence between the direct sound and the first echo.
FIRST_ECHO_SEC = 0.003

#: The longest impulse response that is used.
LONGEST_SEC = 1.0


class Reverb(WaveformAugmentation):
    """Puts an utterance into a room, by convolution with an impulse response.

    A generated response is the direct sound followed by Gaussian noise that decays exponentially (Polack, 1988), which is
    what late echoes are like. Length and power of the utterance stay; the tail after its end is cut.

    Args:
        folder: A folder of recorded impulse responses to draw from. None: they are generated.
        decay_sec: Of generated rooms, the shortest and the longest time in which the echo falls by 60 dB (RT60).
        direct_db: Of generated rooms, the lowest and the highest ratio of direct sound to echo (DRR).
        p: Share of the utterances that are put into a room.

    Raises:
        KidasrError: If a recording of the folder can't be read.
    """

    def __init__(
        self,
        folder: Text | None,
        decay_sec: Annotated[list[float], span(0.05, 3)],
        direct_db: Annotated[list[float], span(-20, 40)],
        p: Fraction,
    ):
        self.folder, self.decay_sec, self.direct_db, self.p = folder, decay_sec, direct_db, p

    @staticmethod
    def mistakes(keys: Mapping[str, Any]) -> Iterator[str]:
        """A folder without recordings."""
        yield from folder_mistakes("reverb", keys)

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Convolve; the number of samples and their power stay."""
        drawn = self._drawn(draw)
        if drawn is None:
            return samples
        response = _recorded(drawn) if isinstance(drawn, str) else _generated(*drawn, draw.generator("samples of reverb"))
        wet = _convolved(samples, response)
        wet_power = power(wet)
        if not wet_power:
            return samples
        return within_full_scale(wet * np.float32(np.sqrt(power(samples) / wet_power)))

    def _drawn(self, draw: Draw) -> str | tuple[float, float] | None:
        """The recording, or decay time and direct-to-echo ratio."""
        rng = draw.generator("reverb")
        if rng.random() >= self.p:
            return None
        if self.folder is not None:
            responses = recordings_in(self.folder)
            return responses[rng.integers(len(responses))]
        return uniform(rng, self.decay_sec), uniform(rng, self.direct_db)

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """The recording, or decay time and direct-to-echo ratio."""
        drawn = self._drawn(draw)
        if drawn is None:
            return None
        if isinstance(drawn, str):
            return {"room": drawn}
        return {"RT60": f"{drawn[0]:.2f} s", "DRR": f"{drawn[1]:.1f} dB"}

    def describe(self) -> str:
        """The rooms, and how many utterances are put into one."""
        if self.folder is not None:
            return f"rooms of {self.folder}, {share_of(self.p)}"
        (short, long), (low, high) = self.decay_sec, self.direct_db
        return f"rooms with an RT60 of {short:g} to {long:g} s, direct sound {low:g} to {high:g} dB, {share_of(self.p)}"


def _generated(decay_sec: float, direct_db: float, rng: np.random.Generator) -> Samples:
    from kidasr.corpus.audio import SAMPLE_RATE_HZ

    length = round(min(decay_sec, LONGEST_SEC) * SAMPLE_RATE_HZ)
    first = round(FIRST_ECHO_SEC * SAMPLE_RATE_HZ)
    time_sec = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
    response = rng.standard_normal(length, dtype=np.float32) * np.exp(np.float32(-3 * np.log(10) / decay_sec) * time_sec)
    response[:first] = 0
    response /= np.float32(np.sqrt(power(response) * length * 10 ** (direct_db / 10)))
    response[0] = 1
    return response


def _recorded(path: str) -> Samples:
    """A recorded response from its direct sound on, which is its peak."""
    from kidasr.corpus.audio import SAMPLE_RATE_HZ

    response = load_part(path)
    start = int(np.abs(response).argmax())
    return response[start : start + round(LONGEST_SEC * SAMPLE_RATE_HZ)]


def _convolved(samples: Samples, response: Samples) -> Samples:
    """The convolution, cut to the length of the samples."""
    from scipy.fft import irfft, next_fast_len, rfft  # which takes half as long as numpy's and chooses the length

    size = next_fast_len(len(samples) + len(response) - 1, real=True)
    convolved: Samples = irfft(rfft(samples, size) * rfft(response, size), size)[: len(samples)]
    return convolved
