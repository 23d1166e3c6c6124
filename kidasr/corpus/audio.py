"""Reading recordings, or parts of them: any rate, mono or stereo, converted to 16 kHz mono."""

import io
import os
import re
import stat
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import soundfile

from kidasr.corpus.manifest import TOLERANCE_SEC, Utterance
from kidasr.errors import KidasrError, truncate

#: Whisper's sampling rate.
SAMPLE_RATE_HZ = 16_000

EXPECTED = "expected: WAV, FLAC, OGG or MP3"

#: Plausible sampling rates, from poor telephones to studios.
RATES_HZ = range(4_000, 400_000)

#: Largest plausible sample; allows for scaling as 32-bit integers. The features of much larger samples overflow.
LARGEST_SAMPLE = 1e10

#: How much shorter than expected a recording may be, besides ``TOLERANCE_SEC``, as a fraction: encoders and manifests round.
TOLERANCE = 0.1

#: In bytes.
LARGEST_OGG_PAGE = 65_307

#: libsndfile's log line for a WAV file with fewer bytes of samples than its header says.
_CUT_WAV = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)

#: The end of the path of a recording inside another file, such as a table: ``FILE#bytes=FIRST-END``.
_INSIDE = re.compile(r"#bytes=(\d+)-(\d+)$")

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]


class AudioError(KidasrError):
    """An unusable recording; the message gives the manifest line, the utterance, the file and the error."""


class Header(NamedTuple):
    """What a recording's header says, and what is wrong with it."""

    rate_hz: int
    frames: int
    problem: str | None


def file_of(audio_path: str) -> str:
    """The file that holds a recording."""
    return _INSIDE.sub("", audio_path)


def decode(utterance: Utterance) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
    """Decode an utterance by libsndfile through soundfile, as it is stored. Of a part of a recording, only that is read.

    Returns:
        The samples, shape ``(samples, channels)``, float32 in about [-1, 1], and their rate in Hz.

    Raises:
        AudioError: If the file can't be read, is cut short, or has no samples or invalid ones; or for a part outside it.
    """
    with _opened(utterance) as (recording, _):
        rate_hz = recording.samplerate
        first, frames = _part(utterance, rate_hz, recording.frames)
        if first:
            recording.seek(first)
        samples = recording.read(-1 if _is_whole(utterance) else frames, dtype="float32", always_2d=True)
    if not len(samples):
        raise _bad(utterance, " has no samples")
    if len(samples) < frames - TOLERANCE_SEC * rate_hz:
        raise _bad(utterance, f" is cut short: {len(samples) / rate_hz:.2f} of {frames / rate_hz:.2f} s")
    if not np.abs(samples).max() <= LARGEST_SAMPLE:  # also true for NaN
        raise _bad(utterance, " has samples that are NaN, infinite or too large")
    return samples, rate_hz


def load_audio(utterance: Utterance) -> Samples:
    """Load the samples of an utterance: shape ``(samples,)``, float32 in about [-1, 1], 16 kHz, channels averaged.

    Decoded by :func:`decode`, resampled by torchaudio's windowed sinc; a part of a recording as a file of its own.

    Raises:
        AudioError: See :func:`decode`.
    """
    samples, rate_hz = decode(utterance)
    mono: Samples = samples.mean(axis=1)
    # Rounded to 25 Hz: a filter between two rates without a common divisor takes gigabytes. Common rates are not changed.
    rate_hz = 25 * round(rate_hz / 25)
    if rate_hz != SAMPLE_RATE_HZ:
        import torch  # slow to import
        from torchaudio.functional import resample

        mono = resample(torch.from_numpy(mono), rate_hz, SAMPLE_RATE_HZ).numpy()
    return mono


def measured_sec(utterance: Utterance, window_sec: float, headers: MutableMapping[str, Header] | None = None) -> float:
    """The length of an utterance by the header of its recording, in seconds, without decoding it.

    Args:
        utterance: The utterance.
        window_sec: Its maximum length.
        headers: Headers by audio path, which are read once, for recordings of many utterances.

    Raises:
        AudioError: If the file can't be read, is empty or cut short, or the utterance is not inside it or is too long.
    """
    header = None if headers is None else headers.get(utterance.audio_path)
    if header is None:
        header = _header(utterance)
        if headers is not None:
            headers[utterance.audio_path] = header
    if header.problem:
        raise _bad(utterance, header.problem)
    _, frames = _part(utterance, header.rate_hz, header.frames)
    if not frames:
        raise _bad(utterance, " has no samples")
    lasts_sec = frames / header.rate_hz
    if lasts_sec > window_sec:
        advice = (
            "the model's window (start and end in the manifest take a part; job=prepare corpus=manifest "
            "corpus.root=MANIFEST segment=vad cuts at pauses)"
        )
        raise _bad(utterance, f" lasts {lasts_sec:.1f} s; expected: up to {window_sec:g} s, {advice}")
    told_sec = utterance.duration_sec
    if told_sec is not None and lasts_sec < (1 - TOLERANCE) * told_sec - TOLERANCE_SEC:
        raise _bad(utterance, f" lasts {lasts_sec:.2f} s, but the manifest says {told_sec:g} s: is it cut short?")
    return lasts_sec


def _header(utterance: Utterance) -> Header:
    with _opened(utterance) as (recording, tail):
        rate_hz, frames, remarks = recording.samplerate, recording.frames, recording.extra_info
        is_cut_ogg = recording.format == "OGG" and not _has_last_page(tail)
    problem = None
    if rate_hz not in RATES_HZ:
        problem = f" has {rate_hz} samples per second; expected: {RATES_HZ.start} to {RATES_HZ.stop}"
    elif not frames:
        problem = " has no samples"
    elif cut := _CUT_WAV.search(remarks):
        promised, found = int(cut[1]), int(cut[2])
        # The header of a WAV file that was written to a pipe gives the largest size that the format allows.
        if found < promised < 0x7FFFF000 and (1 - found / promised) * frames * promised / found > TOLERANCE_SEC * rate_hz:
            problem = f" is cut short: {found} of {promised} bytes of samples"
    elif is_cut_ogg:
        problem = " is cut short: its last page is not marked as the last"
    return Header(rate_hz, frames, problem)


def _is_whole(utterance: Utterance) -> bool:
    return utterance.start_sec is None and utterance.end_sec is None


def _part(utterance: Utterance, rate_hz: int, frames: int) -> tuple[int, int]:
    """The first frame of an utterance and their number, in a recording of ``frames``."""
    if _is_whole(utterance):
        return 0, frames
    lasts_sec, start_sec, end_sec = frames / rate_hz, utterance.start_sec or 0.0, utterance.end_sec
    if start_sec >= lasts_sec:
        raise _bad(utterance, f" lasts {lasts_sec:.2f} s, but the utterance starts at {start_sec:g} s")
    if end_sec is not None and end_sec > lasts_sec + TOLERANCE_SEC:
        raise _bad(utterance, f" lasts {lasts_sec:.2f} s, but the utterance ends at {end_sec:g} s")
    first = round(start_sec * rate_hz)
    end = frames if end_sec is None else min(round(end_sec * rate_hz), frames)
    return first, max(0, end - first)


def _has_last_page(tail: bytes) -> bool:
    """Whether an OGG file's last page is complete and flagged as the end of the stream (RFC 3533, section 6).

    Args:
        tail: The last bytes of the file, two of the largest pages.
    """
    page = tail.rpartition(b"OggS")[2]  # starts at the version byte
    if len(page) < 23:
        return False
    segments = page[22]
    return bool(page[1] & 4) and len(page) >= 23 + segments + sum(page[23 : 23 + segments])


@contextmanager
def _opened(utterance: Utterance) -> Iterator[tuple[soundfile.SoundFile, bytes]]:
    """The recording, and its last bytes if it is OGG.

    Opened by descriptor, so that libsndfile detects the format by content, not by name, and the OS reports path errors.
    """
    inside = _INSIDE.search(utterance.audio_path)
    try:
        descriptor = os.open(file_of(utterance.audio_path), os.O_RDONLY | os.O_NONBLOCK)  # don't block on a pipe
    except FileNotFoundError as error:
        raise no_such_file(utterance) from error
    except (OSError, ValueError) as error:
        raise _bad(utterance, f" can't be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _bad(utterance, " is not a file")
        first, end = (int(inside[1]), int(inside[2])) if inside else (0, status.st_size)
        if not first < end <= status.st_size:
            raise _bad(utterance, " is empty, 0 bytes" if first == end else " is not inside the file")
        content = io.BytesIO(os.pread(descriptor, end - first, first)) if inside else descriptor
        with soundfile.SoundFile(content, **({} if inside else {"closefd": False})) as recording:
            size = min(end - first, 2 * LARGEST_OGG_PAGE)
            yield recording, os.pread(descriptor, size, end - size) if recording.format == "OGG" else b""
    except (soundfile.SoundFileError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        reason = str(error).rpartition(": ")[2].strip().rstrip(".") or type(error).__name__
        raise _bad(utterance, f" can't be read: {reason}; {EXPECTED}") from error
    finally:
        os.close(descriptor)


def is_there(utterance: Utterance) -> bool:
    """Whether the file with its recording exists."""
    try:
        return os.path.exists(file_of(utterance.audio_path))  # noqa: PTH110
    except ValueError:
        return False


def no_such_file(utterance: Utterance) -> AudioError:
    """The error for a recording that does not exist."""
    return _bad(utterance, ": no such file (audio paths are relative to the manifest)")


def _bad(utterance: Utterance, reason: str) -> AudioError:
    path, name = truncate(utterance.audio_path), truncate(utterance.utterance_id)
    who = "" if path.endswith(name) else f"{name}: "
    return AudioError(f"{utterance.source}: {who}{path}{truncate(reason)}")
