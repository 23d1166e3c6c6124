"""Temperature fallback on the micro model."""

from dataclasses import replace

import pytest
import torch

from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.recogniser import Fallback
from kidasr.model.fallback import Judged, compression_ratio, is_bad, is_silence, judge
from kidasr.model.greedy import encode
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from kidasr.recognition.transcribe import Transcriber
from tests.conftest import MICRO, composed

WHISPERS = Fallback((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 2.4, -1.0, 0.6, seed=1)
#: Every transcript is one to decode again, to the last temperature.
ALWAYS = replace(WHISPERS, logprob_threshold=0.0, no_speech_threshold=None)


@pytest.fixture(scope="module")
def whisper() -> Whisper:
    model = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    model.model.eval()
    return model


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    from hydra.utils import instantiate

    return instantiate(composed("data.limit_validation=8").data).load().validation


def transcripts(whisper: Whisper, utterances: list[Utterance], fallback: Fallback | None, batch_size: int = 8) -> list[str]:
    return Transcriber(whisper, batch_size, 1, 25, fallback=fallback)(ChildSpeechDataset(utterances, whisper)).texts


def test_the_rules_are_openais() -> None:
    sure, unsure = Judged(-0.2, 0.9), Judged(-1.2, 0.1)
    assert not is_bad("two red cats", sure, WHISPERS) and is_bad("two red cats", unsure, WHISPERS)
    assert compression_ratio("the cat " * 40) > 2.4 > compression_ratio("two red cats sat on a mat")
    assert is_bad("the cat " * 40, sure, WHISPERS) and not is_silence(sure, WHISPERS), "sure of it, though nothing is said"
    silent = Judged(-1.2, 0.9)
    assert is_silence(silent, WHISPERS) and not is_bad("the cat " * 40, silent, WHISPERS)
    assert not is_silence(silent, replace(WHISPERS, no_speech_threshold=None))


def test_how_sure_a_model_is_is_its_own_log_probability(whisper: Whisper, utterances: list[Utterance]) -> None:
    dataset = ChildSpeechDataset(utterances[:2], whisper)
    batch = whisper.collate([dataset[place]["input_features"] for place in range(2)], [[1], [1]], dataset.padding)
    features, rows = batch["input_features"], [[400, 401, 402], [403]]
    found = judge(whisper.model, encode(whisper.model, features, None, None), whisper.prompt, [5, 1], rows)
    end, generation = whisper.model.generation_config.eos_token_id, whisper.model.generation_config
    for place, targets in enumerate(([400, 401, 402, end], [403])):  # the second was cut off
        tokens = torch.tensor([[*whisper.prompt, *targets[:-1]]])
        with torch.no_grad():
            logits = whisper.model(input_features=features[place : place + 1], decoder_input_ids=tokens).logits[0]
        logits[:, [one for one in generation.suppress_tokens or [] if one >= 0]] = -torch.inf
        start = len(whisper.prompt) - 1
        logits[start, generation.begin_suppress_tokens] = -torch.inf
        expected = logits[start:].log_softmax(-1)[range(len(targets)), targets].mean()
        assert found[place].log_probability == pytest.approx(float(expected), abs=1e-4)


def test_what_is_drawn_depends_on_the_seed_and_the_utterance_alone(whisper: Whisper, utterances: list[Utterance]) -> None:
    plain, drawn = transcripts(whisper, utterances, None), transcripts(whisper, utterances, ALWAYS)
    assert drawn != plain and drawn != transcripts(whisper, utterances, replace(ALWAYS, seed=2))
    assert transcripts(whisper, utterances[::-1], ALWAYS, batch_size=3)[::-1] == drawn
    never = replace(WHISPERS, compression_ratio_threshold=None, logprob_threshold=None)
    assert transcripts(whisper, utterances, never) == plain
    silent = replace(ALWAYS, no_speech_threshold=0.0)
    assert set(transcripts(whisper, utterances, silent)) == {""}
