"""Length of the model's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeFloat

from kidasr.corpus.audio import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor

#: Frames of the features in a second: one every 10 ms.
FRAMES_PER_SEC = 100


class Padding:
    """Length of the model's input. The arguments are the keys of the ``padding`` group.

    Args:
        padding: As in the feature extractor. ``max_length`` pads every utterance to the model's window,
            ``longest`` only to the longest utterance of its batch.
        trailing_silence_sec: Silence after each utterance; only with ``longest``, since a full window has plenty.
        mask: Whether to mask the padding in every attention, so that no utterance depends on the others in its batch; only
            with ``longest``.
        group_by_length: Whether to batch utterances of similar length in training; only with ``longest``.
    """

    def __init__(
        self,
        padding: Literal["max_length", "longest"],
        trailing_silence_sec: NonNegativeFloat,
        mask: bool,
        group_by_length: bool,
    ):
        self.is_short = padding == "longest"
        self.trailing_silence_sec = trailing_silence_sec
        self.mask = mask
        self.group_by_length = group_by_length and self.is_short

    @staticmethod
    def groups(config: Mapping[str, Any]) -> bool:
        """Whether the ``padding`` group of a config batches utterances of similar length."""
        return bool(config.get("group_by_length")) and config.get("padding") == "longest"

    def describe(self) -> str:
        """A short description for the log."""
        if not self.is_short:
            return "max_length, every utterance is padded to the model's window"
        return f"longest, an utterance and {self.trailing_silence_sec:g} s of silence, padded to the longest of its batch"

    def frames(self, samples: int, extractor: WhisperFeatureExtractor) -> int:
        """Number of input frames for this many samples: the full window, or an even number of 10-ms frames."""
        if not self.is_short:
            return extractor.nb_max_frames
        wanted = samples + self.trailing_silence_sec * SAMPLE_RATE_HZ
        pairs = -(-wanted // (2 * extractor.hop_length))  # the encoder takes frames two by two
        return min(2 * int(pairs), extractor.nb_max_frames)


#: Whisper's own padding.
FULL_WINDOW = Padding("max_length", 0.0, mask=False, group_by_length=False)
