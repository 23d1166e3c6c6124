"""Where in a recording someone speaks."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples
from kidasr.corpus.segment import Span
from kidasr.errors import KidasrError

#: Shortest sound that counts as speech, in seconds. Silero's own 0.25 s would miss a child's "a".
MIN_SPEECH_SEC = 0.1


def speech_detector(min_pause_sec: float, needed_by: str) -> Callable[[Samples], list[Span]]:
    """Silero's voice activity detector (https://github.com/snakers4/silero-vad), whose weights come with the package.

    Args:
        min_pause_sec: Shorter pauses are speech.
        needed_by: What the user typed, for the message.

    Returns:
        A function from samples, shape ``(samples,)``, 16 kHz, to stretches of speech in order.

    Raises:
        KidasrError: If the package is not installed.
    """
    with _one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit.load, which is deprecated
        try:
            from silero_vad import get_speech_timestamps, load_silero_vad
        except ImportError as error:
            raise KidasrError(f"{needed_by}: needs the package silero-vad; pip install 'kidasr[vad]'") from error
        model = load_silero_vad()

    def find_speech(samples: Samples) -> list[Span]:
        with _one_thread(), torch.inference_mode():
            found = get_speech_timestamps(
                torch.from_numpy(samples),
                model,
                min_speech_duration_ms=round(1000 * MIN_SPEECH_SEC),
                min_silence_duration_ms=round(1000 * min_pause_sec),
                speech_pad_ms=0,
            )
        return [Span(one["start"] / SAMPLE_RATE_HZ, one["end"] / SAMPLE_RATE_HZ) for one in found]

    return find_speech


@contextmanager
def _one_thread() -> Iterator[None]:
    """Silero takes 32 ms at a time, for which two threads are a hundred times slower than one. It also sets the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
