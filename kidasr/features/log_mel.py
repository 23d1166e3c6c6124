"""Whisper's input: log-mel features from transformers' feature extractor."""

import torch
from transformers import WhisperFeatureExtractor

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples
from kidasr.features.padding import FULL_WINDOW, Padding


def log_mel(
    samples: Samples, extractor: WhisperFeatureExtractor, padding: Padding = FULL_WINDOW
) -> tuple[torch.Tensor, int]:
    """Log-mel features of one utterance.

    Args:
        samples: Shape ``(samples,)``, 16 kHz.
        extractor: The checkpoint's feature extractor.
        padding: Length of the silence after the utterance. It does not change the frames before it.

    Returns:
        Features of shape ``(mel_bins, frames)``, float32, 10 ms per frame, and the number of real frames, which are covered
        by the recording.
    """
    frames = padding.frames(len(samples), extractor)
    # The last frames depend on the two frames after them.
    max_length = min((frames + 2) * extractor.hop_length, extractor.n_samples)
    features = extractor(
        samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", padding="max_length", max_length=max_length
    ).input_features[0, :, :frames]
    return features, min(-(-len(samples) // extractor.hop_length), frames)


def on_full_window(features: torch.Tensor, window_frames: int) -> torch.Tensor:
    """Log-mel features of a batch, with silence after each utterance.

    Whisper's features have a floor, 80 dB below their highest value, which silence is at. So they are those of the
    recordings padded to the window, if silence follows each recording in the batch, or else nearly so.

    Args:
        features: Shape ``(batch, mel_bins, frames)``, 0 after the end of an utterance.
        window_frames: Number of frames of the result.
    """
    is_filled = features.ne(0).any(1, keepdim=True)
    is_real = is_filled.flip(-1).cummax(-1).values.flip(-1)
    silence = features.masked_fill(~is_real, torch.inf).amin((1, 2), keepdim=True)
    whole = torch.where(is_real, features, silence)
    rest = silence.expand(-1, features.shape[1], max(0, window_frames - features.shape[-1]))
    return torch.cat([whole, rest], dim=-1)
