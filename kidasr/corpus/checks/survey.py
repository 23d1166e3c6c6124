"""Reading all recordings of a corpus, in parallel and without keeping them."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from kidasr.corpus.audio import AudioError, Header, decode, measured_sec
from kidasr.corpus.checks.measure import Recording, measure
from kidasr.corpus.manifest import Utterance
from kidasr.seeding import seed_for

log = logging.getLogger(__name__)

#: Recordings that a thread reads at a time.
CHUNK = 64

#: Bytes of a file that are compared first, at its start, middle and end.
PART_BYTES = 4096

#: The faults of unusable recordings, by words of their messages.
FAULTS = {
    "has no samples": "empty",
    "is empty, 0 bytes": "empty",
    "cut short": "truncated",
    "the model's window": "too_long",
}

Item = TypeVar("Item")
Result = TypeVar("Result")


def survey(utterances: Sequence[Utterance], window_sec: float, decode_sec: float | None, seed: int) -> list[Recording]:
    """Read every header, decode as many seconds as asked for, and compare the rest byte by byte.

    Args:
        utterances: The corpus.
        window_sec: The model's window.
        decode_sec: Seconds of audio to decode; None for all.
        seed: Draws what is decoded, together with each utterance's id.

    Returns:
        What is known of each recording, in order. Unusable recordings are among them.
    """
    if len(utterances) > 10_000:  # this may take minutes
        log.info("check: reading the headers of %s recordings", f"{len(utterances):,}")
    headers: dict[str, Header] = {}
    recordings = _in_threads("reading headers", lambda one: _header(one, window_sec, headers), utterances)
    good = [place for place, one in enumerate(recordings) if not one.fault]
    chosen = drawn(utterances, recordings, good, decode_sec, seed)
    decoded = _in_threads("decoding", lambda place: _decoded(utterances[place], recordings[place]), chosen)
    for place, recording in zip(chosen, decoded, strict=True):
        recordings[place] = recording
    if len(chosen) < len(good):
        _compare_files(utterances, recordings, good)
    hours = sum(recordings[place].lasts_sec for place in chosen) / 3600
    how = "all" if len(chosen) == len(good) else f"{len(chosen):,} ({hours:.3g} hours) of them, drawn by the seed,"
    log.info("check: %s recordings: headers read, %s decoded", f"{len(recordings):,}", how)
    return recordings


def drawn(
    utterances: Sequence[Utterance],
    recordings: Sequence[Recording],
    good: Sequence[int],
    decode_sec: float | None,
    seed: int,
) -> list[int]:
    """The recordings to decode, in order: all, or a sample of so many seconds that depends on the seed and the ids alone."""
    if decode_sec is None or sum(recordings[place].lasts_sec for place in good) <= decode_sec:
        return list(good)
    order = sorted(good, key=lambda place: seed_for("check", seed, utterances[place].utterance_id))
    chosen, total_sec = [], 0.0
    for place in order:
        total_sec += recordings[place].lasts_sec
        if total_sec > decode_sec:
            break
        chosen.append(place)
    return sorted(chosen)


def _in_threads(what: str, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results in order, with a progress bar. Threads suffice: libsndfile and numpy let others run."""
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    results: list[Result] = []
    pool = ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1)))
    try:
        with tqdm(total=len(items), desc=f"check: {what}", unit="recording", leave=False, disable=None, delay=1) as bar:
            for chunk in pool.map(lambda chunk: [function(one) for one in chunk], chunks):
                results += chunk
                bar.update(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


def fault_of(error: AudioError) -> str:
    """The fault of an unusable recording, in a word."""
    return next((fault for words, fault in FAULTS.items() if words in str(error)), "unreadable")


def _header(utterance: Utterance, window_sec: float, headers: dict[str, Header]) -> Recording:
    try:
        lasts_sec = measured_sec(utterance, window_sec, headers)
    except AudioError as error:
        return Recording(fault_of(error), str(error))
    return Recording(lasts_sec=lasts_sec, rate_hz=headers[utterance.audio_path].rate_hz)


def _decoded(utterance: Utterance, recording: Recording) -> Recording:
    try:
        samples, rate_hz = decode(utterance)
    except AudioError as error:
        return Recording(fault_of(error), str(error))
    return Recording(lasts_sec=recording.lasts_sec, rate_hz=rate_hz, sound=measure(samples, rate_hz))


def _compare_files(utterances: Sequence[Utterance], recordings: Sequence[Recording], good: Sequence[int]) -> None:
    """Hash the files that may be equal: those of the same size, and of these those with the same bytes in a few places."""
    sizes = {place: _size(utterances[place]) for place in good}
    candidates = _repeated(sizes)
    parts = _in_threads("comparing files", lambda place: _part(utterances[place]), candidates)
    candidates = _repeated(dict(zip(candidates, parts, strict=True)))
    whole = _in_threads("comparing files", lambda place: _whole(utterances[place]), candidates)
    for place, hashed in zip(candidates, whole, strict=True):
        recordings[place].file = hashed


def _repeated(keys: Mapping[int, object]) -> list[int]:
    times = Counter(keys.values())
    return [place for place, key in keys.items() if key is not None and times[key] > 1]


def _size(utterance: Utterance) -> int | None:
    try:
        return Path(utterance.audio_path).stat().st_size
    except (OSError, ValueError):
        return None


def _part(utterance: Utterance) -> bytes | None:
    """Hash of the size, of a few bytes, and of the segment."""
    try:
        with open(utterance.audio_path, "rb") as file:  # noqa: PTH123, a Path is slower
            size = os.fstat(file.fileno()).st_size
            hashed = blake2b(f"{size} {_segment(utterance)}".encode(), digest_size=16)
            for start in (0, size // 2, max(0, size - PART_BYTES)):
                file.seek(start)
                hashed.update(file.read(PART_BYTES))
    except OSError:
        return None
    return hashed.digest()


def _whole(utterance: Utterance) -> bytes | None:
    hashed = blake2b(_segment(utterance).encode(), digest_size=16)
    try:
        with open(utterance.audio_path, "rb") as file:  # noqa: PTH123
            while block := file.read(1 << 20):
                hashed.update(block)
    except OSError:
        return None
    return hashed.digest()


def _segment(utterance: Utterance) -> str:
    """The part of the file that the utterance is, if it is not all of it."""
    return f"{utterance.start_sec} {utterance.end_sec}"
