"""The runs of one process make the features of a validation set once, as long as its recordings stay as they are."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from kidasr.corpus.manifest import Utterance
from kidasr.features import dataset
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.model.pretrained import PretrainedWhisper
from tests.conftest import MICRO

SHORT = Padding("longest", 0.2, mask=True, group_by_length=True)


def test_a_second_run_reads_no_recording_of_the_same_set(
    utterance: Callable[..., Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = dataset.load_audio

    def counted(one: Utterance) -> Any:
        read.append(one.utterance_id)
        return load(one)

    monkeypatch.setattr(dataset, "load_audio", counted)
    utterances = [utterance("one", duration_sec=0.5), utterance("two", duration_sec=0.8)]

    def features(padding: Padding = SHORT) -> list[Any]:
        whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
        examples = ChildSpeechDataset(utterances, whisper, cache_sec=10, padding=padding)
        return [examples[place]["input_features"] for place in range(len(examples))]

    first = features()
    assert read == ["one", "two"]
    assert all(one.equal(other) for one, other in zip(first, features(), strict=True)) and len(read) == 2
    assert features(FULL_WINDOW)[0].shape != first[0].shape and len(read) == 4
    os.utime(utterances[0].audio_path, (1, 1))
    features()
    assert len(read) == 6, "a recording has changed on disk"
