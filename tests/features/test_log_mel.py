"""Features cut to the utterance are the extractor's own, as far as they go."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from kidasr.features.log_mel import Padding, log_mel

EXTRACTOR = WhisperFeatureExtractor()  # 80 mels, 30 s


@pytest.mark.parametrize("silence_sec", [0.0, 0.5])
@pytest.mark.parametrize("samples", [160, 1_000, 16_000, 51_234, 479_999, 480_000])
def test_a_cut_input_is_the_beginning_of_the_padded_one(samples: int, silence_sec: float) -> None:
    speech = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    padded = EXTRACTOR(speech, sampling_rate=16_000, return_tensors="pt").input_features[0]
    features, real_frames = log_mel(speech, EXTRACTOR, Padding("longest", silence_sec, True, True))
    frames = features.shape[1]
    torch.testing.assert_close(features, padded[:, :frames], atol=1e-4, rtol=0)
    wanted = min(samples / 160 + 100 * silence_sec, 3000)
    assert frames % 2 == 0 and wanted <= frames < wanted + 2
    assert real_frames == -(-samples // 160)
