"""Log-mel features to look at, made without a model."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from kidasr.corpus.audio import Samples


def spectrogram(samples: Samples) -> tuple[torch.Tensor, int]:
    """Whisper's log-mel features of samples at 16 kHz, shape ``(80, frames)``, and the number of real frames."""
    from kidasr.features.log_mel import log_mel
    from kidasr.features.padding import Padding

    return log_mel(samples, _extractor(), Padding("longest", 0.0, mask=False, group_by_length=False))


@cache
def _extractor() -> Any:
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor()
