"""How long the model's input is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat

from kidasr.corpus.audio import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor


class Padding:
    """How long the model's input is; the arguments are the keys of the ``padding`` group.

    Args:
        padding: In the feature extractor's terms: ``max_length``, the model's window, whatever was said; ``longest``, the
            utterance alone, padded to the longest of its batch.
        trailing_silence_sec: Silence after each utterance; of ``longest`` only, as the window has plenty.
        mask: Whether the padding of a batch is kept out of every attention, so that no utterance depends on the others of
            its batch; of ``longest`` only.
        group_by_length: Whether a batch of training has utterances of similar length; of ``longest`` only.
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

    def describe(self) -> str:
        """How long the input is, for the log."""
        if not self.is_short:
            return "max_length, every utterance is padded to the model's window"
        return f"longest, an utterance and {self.trailing_silence_sec:g} s of silence, padded to the longest of its batch"

    def frames(self, samples: int, extractor: WhisperFeatureExtractor) -> int:
        """Frames of the model's input for so many samples: all of the window, or an even number of 10-ms frames."""
        if not self.is_short:
            return extractor.nb_max_frames
        wanted = samples + self.trailing_silence_sec * SAMPLE_RATE_HZ
        pairs = -(-wanted // (2 * extractor.hop_length))  # the encoder takes frames two by two
        return min(2 * int(pairs), extractor.nb_max_frames)


#: Whisper's own way.
FULL_WINDOW = Padding("max_length", 0.0, mask=False, group_by_length=False)
