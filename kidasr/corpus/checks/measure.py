"""Measuring recordings: level, noise, clipping, pauses and content, with numpy alone."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

#: Length of a frame, in seconds.
FRAME_SEC = 0.02

#: Level of frames without a signal, in dB of full scale; below the last bit of 16-bit samples.
FLOOR_DB = -100.0

#: Frames of less than this are digital silence, which says nothing of the noise of a microphone.
DIGITAL_SILENCE_DB = -90.0

#: Percentiles of the frames' levels that stand for noise and for speech, in the manner of NIST's ``stnr``.
NOISE_PERCENTILE, SPEECH_PERCENTILE = 5, 95

#: Speech is at most so far below the loudest frames; soft consonants are.
SPEECH_RANGE_DB = 35.0

#: Below this distance between noise and speech, pauses can't be told from speech.
MIN_CONTRAST_DB = 8.0

#: Frames of the window in which most must be speech: 100 ms, so that a click is no speech.
SMOOTHED_FRAMES = 5


class Sound(NamedTuple):
    """What was measured of the samples."""

    #: Largest sample of the mean of all channels, which the model hears, and the level of speech (a high percentile of
    #: 20-ms frames), in dB of full scale.
    peak_db: float
    level_db: float
    #: Estimated signal-to-noise ratio: speech against a low percentile of the frames.
    snr_db: float
    #: Share of samples at the ceiling.
    clipped: float
    #: Silence before and after the speech, and the longest pause in it, in seconds; zero where noise hides pauses.
    lead_sec: float
    trail_sec: float
    pause_sec: float
    #: Hash of the samples, the same for a WAV file and a FLAC file of them.
    content: bytes


@dataclass(slots=True)
class Recording:
    """What is known of one recording."""

    #: The fault that makes it unusable, such as ``truncated``, and its message; empty if it is good.
    fault: str = ""
    error: str = ""
    lasts_sec: float = 0.0
    rate_hz: int = 0
    #: None if it was not decoded.
    sound: Sound | None = None
    #: Hash of the file, if it was compared with others byte by byte.
    file: bytes | None = None

    @property
    def speech_sec(self) -> float:
        """Its length without the silence at its ends, as far as that is known."""
        silence_sec = self.sound.lead_sec + self.sound.trail_sec if self.sound else 0.0
        return max(self.lasts_sec - silence_sec, FRAME_SEC)


def measure(samples: Array, rate_hz: int) -> Sound:
    """Measure a recording.

    Args:
        samples: Shape ``(samples, channels)``, float32, at least one sample.
        rate_hz: Sampling rate.
    """
    mono = samples.mean(axis=1)
    clipped = clipping(samples)
    levels = frame_levels(mono, rate_hz)
    audible = levels[levels > DIGITAL_SILENCE_DB]
    noise_db, level_db = (
        (float(np.percentile(audible, percent)) for percent in (NOISE_PERCENTILE, SPEECH_PERCENTILE))
        if len(audible)
        else (FLOOR_DB, FLOOR_DB)
    )
    lead_sec, trail_sec, pause_sec = pauses(levels, noise_db, level_db)
    return Sound(
        _db(float(np.abs(mono).max())),
        level_db,
        level_db - noise_db,
        clipped,
        lead_sec,
        trail_sec,
        pause_sec,
        blake2b(samples.tobytes(), digest_size=16).digest(),
    )


def _db(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, 10 ** (FLOOR_DB / 20))))


def clipping(samples: Array) -> float:
    """The share of samples at the ceiling: zero if they are no more than those just below it.

    Few samples of speech are near the largest one, so clipping leaves a spike at the end of the distribution of
    amplitudes, also if the recording was made quieter afterwards. A sine has no such spike.
    """
    amplitude = np.abs(samples).ravel()
    peak = float(amplitude.max())
    ceiling = min(peak, 1.0)  # a lossy codec overshoots the ceiling
    top = int((amplitude >= 0.99 * ceiling).sum())
    below = int(((amplitude >= 0.95 * ceiling) & (amplitude < 0.98 * ceiling)).sum())
    return top / len(amplitude) if top >= 10 and top > 3 * below else 0.0


def frame_levels(mono: Array, rate_hz: int) -> Array:
    """Level of each 20-ms frame in dB of full scale, without the mean of the recording; at least one frame."""
    length = max(1, min(len(mono), round(FRAME_SEC * rate_hz)))
    frames = (mono - mono.mean())[: len(mono) // length * length].reshape(-1, length)
    levels: Array = 10 * np.log10(np.einsum("ij,ij->i", frames, frames) / length + 10 ** (FLOOR_DB / 10))
    return levels


def pauses(levels: Array, noise_db: float, level_db: float) -> tuple[float, float, float]:
    """Silence before and after the speech, and the longest pause in it, in seconds.

    A frame is speech if it is above a level between noise and speech, and so are most of its neighbours.
    """
    contrast_db = level_db - noise_db
    if contrast_db < MIN_CONTRAST_DB:
        return 0.0, 0.0, 0.0
    loud = levels > max(noise_db + contrast_db / 3, level_db - SPEECH_RANGE_DB)
    window = min(SMOOTHED_FRAMES, len(loud))
    speech = np.flatnonzero(2 * np.convolve(loud, np.ones(window), "same") > window)
    if not len(speech):
        return 0.0, 0.0, 0.0
    lead, trail = speech[0], len(loud) - 1 - speech[-1]
    pause = int(np.diff(speech).max(initial=1)) - 1
    return float(lead * FRAME_SEC), float(trail * FRAME_SEC), pause * FRAME_SEC
