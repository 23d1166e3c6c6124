"""Reading recordings: any rate, mono or stereo, to 16 kHz mono."""

import os
from collections.abc import Iterable

import numpy as np
import soundfile
import torch
from torchaudio.functional import resample

from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError

#: Whisper's sampling rate.
SAMPLE_RATE_HZ = 16_000

ACCEPTED = "accepted: WAV, FLAC, OGG or MP3"

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]


class AudioError(KidasrError):
    """A recording that can't be used; names the manifest's line, the file and what was wrong."""


def load_audio(utterance: Utterance) -> Samples:
    """The samples of an utterance, shape ``(samples,)``, float32 in about [-1, 1], 16 kHz, channels averaged.

    Decoded by libsndfile through soundfile, resampled by torchaudio's windowed sinc.

    Raises:
        AudioError: If the file can't be read or holds no samples.
    """
    path = utterance.audio_path
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{utterance.source}: {path} can't be read: {_reason(error)}; {ACCEPTED}") from error
    if not len(samples):
        raise AudioError(f"{utterance.source}: {path} holds no samples")
    mono: Samples = samples.mean(axis=1)
    if rate_hz != SAMPLE_RATE_HZ:
        mono = resample(torch.from_numpy(mono), rate_hz, SAMPLE_RATE_HZ).numpy()
    return mono


def check_audio(utterances: Iterable[Utterance], window_sec: float) -> None:
    """Make sure before training that every recording is there and fits the model's window, without decoding it.

    Raises:
        AudioError: For the first that is missing, or longer than ``window_sec``.
    """
    files: dict[str, set[str]] = {}
    for utterance in utterances:
        path = utterance.audio_path
        folder, name = os.path.split(path)
        if folder not in files:
            files[folder] = _files_in(folder)
        if name not in files[folder]:
            raise AudioError(f"{utterance.source}: {path}: no such file (audio paths are relative to the manifest)")
        if duration_sec(utterance) > window_sec:
            limit = f"accepted: up to {window_sec:g} s, the model's window"
            raise AudioError(f"{utterance.source}: {path} lasts {duration_sec(utterance):.1f} s; {limit}")


def _files_in(folder: str) -> set[str]:
    """Names of a folder's files: asked once, not for each of half a million recordings, which takes minutes on a cluster."""
    try:
        with os.scandir(folder or ".") as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def duration_sec(utterance: Utterance) -> float:
    """How long a recording is: what the manifest says, else what its header says.

    Raises:
        AudioError: If there is no header that can be read.
    """
    if utterance.duration_sec is not None:
        return utterance.duration_sec
    try:
        return float(soundfile.info(utterance.audio_path).duration)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(
            f"{utterance.source}: {utterance.audio_path} can't be read: {_reason(error)}; {ACCEPTED}"
        ) from error


def _reason(error: Exception) -> str:
    return str(error).rpartition(": ")[2].strip().rstrip(".")
