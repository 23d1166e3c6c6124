"""Another pitch and other formants for the same words: a phase vocoder."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples

#: Samples per frame (32 ms) and from one frame to the next (8 ms).
FRAME, HOP = 512, 128

#: Frames before and after the utterance, so that its ends are in as many frames as the rest.
AROUND = 3

#: Quefrencies kept for the spectral envelope: below the period of a 400-Hz voice.
QUEFRENCIES = 40

Matrix = np.ndarray[Any, np.dtype[np.float32]]


def shift_voice(samples: Samples, pitch_factor: float, formant_factor: float) -> Samples:
    """Multiply the pitch and the formants of a voice; the number of samples stays.

    A phase vocoder (Flanagan and Golden, 1966; Laroche and Dolson, 1999) keeps each frame's place and shortens the frame
    by ``pitch_factor``, which raises all frequencies. If the formants are to move by another factor, the frame's spectral
    envelope, a smoothed cepstrum, is first stretched by the quotient.

    Args:
        samples: Shape ``(samples,)``, 16 kHz.
        pitch_factor, formant_factor: 1.2 is 20% higher.
    """
    shorter = 2 * round(FRAME / pitch_factor / 2)
    factor = FRAME / shorter  # that of whole samples
    frames = -(-len(samples) // HOP) + 2 * AROUND
    before = FRAME // 2 + AROUND * HOP
    padded = np.pad(samples, (before, FRAME + frames * HOP - before - len(samples)))
    spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, FRAME)[: frames * HOP : HOP] * _window(FRAME))
    magnitudes = np.abs(spectrum)
    if abs(formant_factor / factor - 1) > 1e-3:
        lowered = np.log(magnitudes + np.float32(1e-6)) @ _cepstrum()
        magnitudes = magnitudes * np.exp(lowered @ _stretch(factor / formant_factor))
    # In each bin, the phase advances by what the frame's centre frequency has, times the factor.
    phases = np.angle(spectrum)
    bins = np.arange(FRAME // 2 + 1, dtype=np.float32)
    expected = (2 * np.pi * HOP / FRAME) * bins
    off = np.diff(phases, axis=0) - expected
    off -= np.float32(2 * np.pi) * np.round(off / np.float32(2 * np.pi))
    advance = np.fmod(factor * (expected + off), np.float32(2 * np.pi))
    phases = np.concatenate([phases[:1], phases[:1] + np.cumsum(advance, axis=0)])
    turned = np.empty(phases.shape, dtype=np.complex64)
    turned.real, turned.imag = magnitudes * np.cos(phases), magnitudes * np.sin(phases)
    return _overlapped(turned, shorter)[shorter // 2 + AROUND * HOP :][: len(samples)]


def _overlapped(spectrum: np.ndarray[Any, np.dtype[np.complex64]], length: int) -> Samples:
    """Add frames of ``length`` samples, a hop apart."""
    kept = length // 2 + 1
    if kept < spectrum.shape[1]:
        spectrum = spectrum[:, :kept]  # what is above half of the sampling rate
    frames = np.fft.irfft(spectrum, length) * (_window(length) * np.float32(length / FRAME))
    blocks = -(-length // HOP)
    frames = np.pad(frames, ((0, 0), (0, blocks * HOP - length))).reshape(len(frames), blocks, HOP)
    out = np.zeros((len(frames) + blocks, HOP), dtype=np.float32)
    for block in range(blocks):
        out[block : block + len(frames)] += frames[:, block]
    weights = np.pad(_window(length) ** 2, (0, blocks * HOP - length)).reshape(blocks, HOP).sum(axis=0)
    return (out / weights).ravel()


@cache
def _window(length: int) -> Matrix:
    """The square root of a periodic Hann window."""
    return np.sin(np.pi * (np.arange(length) + 0.5) / length).astype(np.float32)


@cache
def _cosines() -> Matrix:
    """The first rows of the cosine transform between a log spectrum and its cepstrum, shape ``(quefrencies, bins)``."""
    quefrencies, bins = np.arange(QUEFRENCIES)[:, None], np.arange(FRAME // 2 + 1)[None]
    return np.cos(2 * np.pi * quefrencies * bins / FRAME).astype(np.float32)


@cache
def _cepstrum() -> Matrix:
    """From a log spectrum to its cepstrum, both of whose sides are added, shape ``(bins, quefrencies)``."""
    weights = np.full(FRAME // 2 + 1, 2.0)
    weights[[0, -1]] = 1.0
    both_sides = np.where(np.arange(QUEFRENCIES) == 0, 1.0, 2.0)
    return ((_cosines() * weights / FRAME).T * both_sides).astype(np.float32)


def _stretch(factor: float) -> Matrix:
    """From a cepstrum to the change of the log spectrum that moves the envelope at ``factor`` times a frequency to it."""
    quefrencies, bins = np.arange(QUEFRENCIES)[:, None], np.arange(FRAME // 2 + 1)[None]
    moved = np.cos(2 * np.pi * quefrencies * np.minimum(factor * bins, FRAME / 2) / FRAME)
    return (moved - _cosines()).astype(np.float32)
