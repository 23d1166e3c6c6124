"""A transcript depends on its own recording alone, also where the model repeats itself without end."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from kidasr.recognition.transcribe import Transcriber
from tests.conftest import MICRO

SHORT = Padding("longest", 0.2, mask=True, group_by_length=True)


@pytest.fixture
def looping() -> Whisper:
    """A model that never ends by itself."""
    whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    generation = whisper.model.generation_config
    generation.suppress_tokens = [*generation.suppress_tokens, generation.eos_token_id]
    return whisper


@pytest.fixture
def utterances(utterance: Callable[..., Utterance]) -> list[Utterance]:
    return [utterance(f"u{tenths}", duration_sec=tenths / 10) for tenths in (5, 8, 12, 20, 29)]


def transcriber(whisper: Whisper, **options: Any) -> Transcriber:
    defaults: dict[str, Any] = {"batch_size": 1, "num_beams": 1, "max_tokens_per_sec": 10}
    return Transcriber(whisper, **{**defaults, **options})


@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize("padding", [FULL_WINDOW, SHORT], ids=["window", "short"])
def test_a_runaway_is_bounded_by_its_own_seconds_whatever_its_batch(
    looping: Whisper, utterances: list[Utterance], padding: Padding, num_beams: int
) -> None:
    dataset = ChildSpeechDataset(utterances, looping, padding=padding)
    alone = transcriber(looping, num_beams=num_beams)(dataset).texts
    # Of this model a token is a byte.
    assert [len(text.encode()) <= bound for text, bound in zip(alone, (5, 8, 12, 20, 29), strict=True)] == [True] * 5
    assert len(alone[-1]) > 20, "the longest is no shorter than it may be"
    if num_beams == 1:
        for batch_size in (2, 5):
            assert transcriber(looping, batch_size=batch_size)(dataset).texts == alone
    assert all(len(text) <= 4 for text in transcriber(looping, max_tokens=4)(dataset).texts)


def test_several_processes_share_the_work_and_the_loss_is_of_all(looping: Whisper, utterances: list[Utterance]) -> None:
    dataset = ChildSpeechDataset(utterances, looping, padding=SHORT)
    whole = transcriber(looping, batch_size=2)(dataset, with_loss=True)
    shares: list[list[Any]] = []

    def gather(own: list[Any], share: Callable[[list[Any]], None]) -> list[Any]:
        share(own)
        return own

    from kidasr.recognition import transcribe

    collected: dict[int, list[list[Any]]] = {}
    for process in (0, 1):
        one = transcriber(looping, batch_size=2, processes=2, process=process)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transcribe, "gather_object", partial(gather, share=collected.setdefault(process, []).append))
            one(dataset, with_loss=True)
    shares = [collected[0][0] + collected[1][0], collected[0][1] + collected[1][1]]
    assert [text for _, text in sorted(shares[0])] == whole.texts
    assert sum(loss * number for loss, number in shares[1]) / len(dataset) == pytest.approx(whole.loss, rel=1e-6)


def test_the_model_is_left_as_it_was_and_a_stop_is_asked_for_before_each_batch(
    looping: Whisper, utterances: list[Utterance]
) -> None:
    asked: list[bool] = []
    looping.model.train()
    dataset = ChildSpeechDataset(utterances, looping, padding=SHORT)
    transcriber(looping, batch_size=2, stop=lambda: asked.append(torch.is_grad_enabled()))(dataset)
    assert len(asked) == 3 and looping.model.training

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcriber(looping, stop=stop)(dataset)
    assert looping.model.training
