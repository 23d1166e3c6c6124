"""Whisper's input: log-mel features, by transformers' own feature extractor."""

from typing import Literal

import torch
from transformers import WhisperFeatureExtractor

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples


class Padding:
    """How long the model's input is; the arguments are the keys of the ``padding`` group.

    Args:
        padding: In the feature extractor's terms: ``max_length``, the model's window, whatever was said; ``longest``, the
            utterance alone, padded to the longest of its batch.
        trailing_silence_sec: Silence after each utterance; of ``longest`` only, as the window has plenty.
        mask: Whether the padding of a batch is kept out of every attention, so that no utterance depends on the others of
            its batch; of ``longest`` only.
        group_by_length: Whether a batch of training has utterances of similar length; of ``longest`` only.
        max_new_tokens_per_sec: With ``longest``, a transcript has no more tokens than this times the seconds of its batch: a
            bound for a model that is not used to short input and repeats itself without end.
    """

    def __init__(
        self,
        padding: Literal["max_length", "longest"],
        trailing_silence_sec: float,
        mask: bool,
        group_by_length: bool,
        max_new_tokens_per_sec: float,
    ):
        self.is_short = padding == "longest"
        self.trailing_silence_sec = trailing_silence_sec
        self.mask = mask
        self.group_by_length = group_by_length and self.is_short
        self.max_new_tokens_per_sec = max_new_tokens_per_sec

    def frames(self, samples: int, extractor: WhisperFeatureExtractor) -> int:
        """Frames of the model's input for so many samples: all of the window, or an even number of 10-ms frames."""
        if not self.is_short:
            return extractor.nb_max_frames
        wanted = samples + self.trailing_silence_sec * SAMPLE_RATE_HZ
        pairs = -(-wanted // (2 * extractor.hop_length))  # the encoder takes frames two by two
        return min(2 * int(pairs), extractor.nb_max_frames)


#: Whisper's own way.
FULL_WINDOW = Padding("max_length", 0.0, mask=False, group_by_length=False, max_new_tokens_per_sec=0.0)


def log_mel(
    samples: Samples, extractor: WhisperFeatureExtractor, padding: Padding = FULL_WINDOW
) -> tuple[torch.Tensor, int]:
    """Log-mel features of one utterance.

    Args:
        samples: Shape ``(samples,)``, 16 kHz.
        extractor: The checkpoint's feature extractor.
        padding: How far the utterance is followed by silence. The features are the same, as far as they go.

    Returns:
        Features of shape ``(mel_bins, frames)``, float32, 10 ms a frame, and the number of real frames, those that the
        recording itself fills.
    """
    frames = padding.frames(len(samples), extractor)
    # The last frames look two frames ahead.
    max_length = min((frames + 2) * extractor.hop_length, extractor.n_samples)
    features = extractor(
        samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", padding="max_length", max_length=max_length
    ).input_features[0, :, :frames]
    return features, min(-(-len(samples) // extractor.hop_length), frames)
