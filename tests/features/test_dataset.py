"""The checklist's first test: one utterance is masked differently in two epochs, and never in validation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import WhisperProcessor

from kidasr.corpus.audio import load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.augment import Augmentations
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.log_mel import log_mel
from kidasr.features.specaugment import SpecAugment
from tests.conftest import MICRO


@pytest.fixture(scope="module")
def processor() -> WhisperProcessor:
    return WhisperProcessor.from_pretrained(MICRO)


@pytest.fixture
def spec() -> Augmentations:
    return Augmentations({"specaugment": SpecAugment(27, 100, 1, 1, 0.5)})


def test_an_utterance_is_masked_differently_in_two_epochs_and_alike_in_one(
    utterance: Callable[..., Utterance], processor: WhisperProcessor, spec: Augmentations
) -> None:
    train = ChildSpeechDataset([utterance()], processor, spec, seed=1)
    first, again, second = (train[epoch, 0]["input_features"] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_validation_is_never_masked(utterance: Callable[..., Utterance], processor: WhisperProcessor) -> None:
    validation = ChildSpeechDataset([utterance()], processor)
    clean, _ = log_mel(load_audio(utterance()), processor.feature_extractor)
    assert all(torch.equal(validation[index]["input_features"], clean) for index in (0, (0, 0), (7, 0)))


def test_masks_stay_within_the_recording(
    utterance: Callable[..., Utterance], processor: WhisperProcessor, spec: Augmentations
) -> None:
    one = utterance(duration_sec=1.0)  # 100 of 300 frames
    clean = ChildSpeechDataset([one], processor)[0]["input_features"]
    for epoch in range(20):
        changed = ChildSpeechDataset([one], processor, spec, seed=1)[epoch, 0]["input_features"] != clean
        assert not changed[:, 100:].any()


def test_real_frames_are_those_of_the_recording(utterance: Callable[..., Utterance], processor: WhisperProcessor) -> None:
    for duration_sec, frames in ((1.0, 100), (1.005, 101), (3.0, 300), (3.5, 300)):
        features, real = log_mel(load_audio(utterance(duration_sec=duration_sec)), processor.feature_extractor)
        assert (tuple(features.shape), real) == ((80, 300), frames)


def test_labels_are_whispers(utterance: Callable[..., Utterance], processor: WhisperProcessor) -> None:
    labels = ChildSpeechDataset([utterance(text="red cats")], processor)[0]["labels"]
    assert processor.tokenizer.decode(labels) == "<|startoftranscript|><|notimestamps|>red cats<|endoftext|>"


def test_labels_in_lower_case(utterance: Callable[..., Utterance], processor: WhisperProcessor) -> None:
    labels = [
        ChildSpeechDataset([utterance(text="RED Cats")], processor, lower_case=lower)[0]["labels"] for lower in (True, False)
    ]
    assert [processor.tokenizer.decode(one, skip_special_tokens=True) for one in labels] == ["red cats", "RED Cats"]


def test_a_recording_is_decoded_once_as_long_as_memory_is_granted(
    utterance: Callable[..., Utterance], processor: WhisperProcessor
) -> None:
    pair = [utterance("a", duration_sec=1.0), utterance("b", duration_sec=1.0)]
    fits_one = ChildSpeechDataset(pair, processor, cache_sec=1.5)
    before = [fits_one[place]["input_features"] for place in (0, 1)]
    Path(pair[0].audio_path).unlink()
    assert torch.equal(fits_one[0]["input_features"], before[0])
    assert torch.equal(fits_one[1]["input_features"], before[1])
    Path(pair[1].audio_path).unlink()
    with pytest.raises(KidasrError):
        fits_one[1]
