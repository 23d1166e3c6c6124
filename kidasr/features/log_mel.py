"""Whisper's input: log-mel features, by transformers' own feature extractor."""

import torch
from transformers import WhisperFeatureExtractor

from kidasr.features.audio import SAMPLE_RATE_HZ, Samples


def log_mel(samples: Samples, extractor: WhisperFeatureExtractor) -> tuple[torch.Tensor, int]:
    """Log-mel features of one utterance, padded to the model's window.

    Args:
        samples: Shape ``(samples,)``, 16 kHz.
        extractor: The checkpoint's feature extractor.

    Returns:
        Features of shape ``(mel_bins, window_frames)``, float32, 10 ms a frame, and the number of real frames, those that
        the recording itself fills.
    """
    features = extractor(samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features[0]
    return features, min(-(-len(samples) // extractor.hop_length), features.shape[1])
