"""Whisper on less than its window: no utterance depends on its batch, and on the whole window nothing has changed."""

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import pytest
import torch
import transformers

from kidasr.batching.collator import Collator
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.model.attention import attend
from kidasr.model.greedy import is_plain
from kidasr.model.kept_encodings import KeptEncodings
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.short_input import additive
from kidasr.model.whisper import Whisper
from tests.conftest import KIDS, MICRO, TINY_EN, composed, real_data

LONGEST = Padding("longest", trailing_silence_sec=0.5, mask=True, group_by_length=True)


@pytest.fixture(
    scope="module", params=[MICRO, pytest.param(TINY_EN, marks=[real_data, pytest.mark.real_data])], ids=["micro", "tiny.en"]
)
def whisper(request: pytest.FixtureRequest) -> Iterator[Whisper]:
    whisper = PretrainedWhisper(str(request.param), "en", "transcribe").load()
    whisper.model.eval()
    with torch.inference_mode():
        yield whisper


@pytest.fixture
def utterances(whisper: Whisper) -> list[Utterance]:
    """Of different length: from the embedded corpus, or real children."""
    real = ("data=manifest", f"data.train={KIDS / 'train.jsonl'}", f"data.validation={KIDS / 'dev.jsonl'}")
    overrides = () if whisper.window_sec == 3 else real
    corpus = hydra.utils.instantiate(composed(*overrides, "data.limit_validation=4").data)
    return sorted(corpus.load().validation, key=lambda one: one.duration_sec)


def batch(whisper: Whisper, utterances: list[Utterance], padding: Padding) -> dict[str, torch.Tensor]:
    dataset = ChildSpeechDataset(utterances, whisper, padding=padding)
    collate = Collator(whisper, padding)
    return collate([dataset[place] for place in range(len(dataset))])


def generate(model: Any, inputs: dict[str, torch.Tensor]) -> list[list[int]]:
    inputs = {name: inputs[name] for name in ("input_features", "frame_mask") if name in inputs}
    end = model.config.eos_token_id
    return [[token for token in row if token != end] for row in model.generate(**inputs, max_new_tokens=32).tolist()]


def test_an_utterance_is_heard_alike_alone_and_among_longer_ones(whisper: Whisper, utterances: list[Utterance]) -> None:
    together = batch(whisper, utterances, LONGEST)
    encoder = whisper.model.get_encoder()
    encoded = encoder(together["input_features"], frame_mask=together["frame_mask"]).last_hidden_state
    logits = whisper.model(**together).logits
    for place, one in enumerate(utterances):
        alone = batch(whisper, [one], LONGEST)
        positions, tokens = alone["input_features"].shape[-1] // 2, alone["labels"].shape[1]
        assert together["frame_mask"][place].sum() == positions
        apart = encoder(alone["input_features"]).last_hidden_state[0]
        torch.testing.assert_close(encoded[place, :positions], apart, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(logits[place, :tokens], whisper.model(**alone).logits[0], atol=1e-3, rtol=1e-4)
    transcripts = [generate(whisper.model, batch(whisper, [one], LONGEST))[0] for one in utterances]
    assert generate(whisper.model, together) == transcripts


def test_what_is_generated_is_what_transformers_generates_from_the_same_encoding(
    whisper: Whisper, utterances: list[Utterance]
) -> None:
    """Whisper's own ``generate`` would pad the input; that of any encoder and decoder takes the encoding as it is."""
    stock = transformers.WhisperForConditionalGeneration(whisper.model.config).eval()
    stock.load_state_dict(whisper.model.state_dict())
    stock.generation_config = whisper.model.generation_config
    prompt = torch.tensor([whisper.processor.tokenizer.prefix_tokens])
    for one in utterances:
        inputs = batch(whisper, [one], LONGEST)
        encoded = whisper.model.get_encoder()(inputs["input_features"])
        expected = transformers.GenerationMixin.generate(
            stock, encoder_outputs=encoded, decoder_input_ids=prompt, max_new_tokens=32
        )
        end = stock.config.eos_token_id
        assert generate(whisper.model, inputs)[0] == [
            token for token in expected[0, prompt.shape[1] :].tolist() if token != end
        ]


@pytest.mark.parametrize("padding", [LONGEST, FULL_WINDOW], ids=["short", "window"])
def test_greedy_decoding_writes_what_generate_writes(
    whisper: Whisper, utterances: list[Utterance], padding: Padding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Utterances end at different times, some at their own bound."""
    inputs, bounds = batch(whisper, utterances, padding), [32, 3, 32, 5][: len(utterances)]
    assert is_plain(whisper.model.generation_config)
    texts = whisper.transcribe(inputs, bounds, num_beams=1)
    monkeypatch.setattr("kidasr.model.whisper.is_plain", lambda generation: False)
    assert whisper.transcribe(inputs, bounds, num_beams=1) == texts
    assert len(set(texts)) > 1


@pytest.mark.parametrize("setting", ["repetition_penalty", "no_repeat_ngram_size"])
def test_unusual_generation_settings_are_left_to_generate(setting: str) -> None:
    generation = copy.deepcopy(PretrainedWhisper(str(MICRO), "en", "transcribe").load().model.generation_config)
    assert is_plain(generation)
    setattr(generation, setting, 2)
    assert not is_plain(generation)


@pytest.mark.parametrize("mask", ["none", "causal", "padding"])
def test_attention_in_half_precision_is_that_of_float32(mask: str) -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 3, 7, 16) for _ in range(3))
    padding = additive(torch.arange(7) < torch.tensor([[7], [4]]), torch.float32) if mask == "padding" else None
    module: Any = SimpleNamespace(is_causal=mask == "causal", training=False)
    full, half = (
        attend(module, query.to(kind), key.to(kind), value.to(kind), padding, scaling=1.0)[0].float()
        for kind in (torch.float32, torch.bfloat16)
    )
    torch.testing.assert_close(half, full, atol=0.05, rtol=0.02)


def test_a_kept_encoding_is_exact_whatever_its_batch(whisper: Whisper, utterances: list[Utterance]) -> None:
    """With memory for all, for one or for none, in the same batch and in others."""
    encoder, outputs = whisper.model.get_encoder(), []
    one = batch(whisper, utterances[:1], LONGEST)
    one_bytes = encoder(one["input_features"]).last_hidden_state.nbytes
    together = batch(whisper, utterances, LONGEST)
    for max_bytes in (0, one_bytes, 1e9):
        encoder.kept = kept = KeptEncodings(max_bytes)
        for inputs in (one, together, together, batch(whisper, utterances[:2], LONGEST)):
            hidden = encoder(inputs["input_features"], frame_mask=inputs.get("frame_mask"), keys=inputs["keys"])
            outputs.append(hidden.last_hidden_state[0, : one["input_features"].shape[-1] // 2])
        assert len(kept) == {0: 0, one_bytes: 1}.get(max_bytes, len(utterances))
        logits = whisper.model(**together).logits
        encoder.kept = None
        torch.testing.assert_close(whisper.model(**together).logits, logits, atol=1e-3, rtol=1e-4)
    assert all(torch.equal(outputs[0], later) for later in outputs)


def test_without_the_mask_it_is_not(whisper: Whisper, utterances: list[Utterance]) -> None:
    together = batch(whisper, utterances, LONGEST)
    encoder = whisper.model.get_encoder()
    encoded = encoder(together["input_features"]).last_hidden_state
    alone = batch(whisper, utterances[:1], LONGEST)["input_features"]
    apart = encoder(alone).last_hidden_state[0]
    assert (encoded[0, : len(apart)] - apart).abs().max() > 0.01


def test_on_the_whole_window_it_is_transformers_own_to_the_last_bit(whisper: Whisper, utterances: list[Utterance]) -> None:
    inputs = batch(whisper, utterances, FULL_WINDOW)
    assert "frame_mask" not in inputs
    stock = transformers.WhisperForConditionalGeneration(whisper.model.config).eval()
    stock.load_state_dict(whisper.model.state_dict())
    stock.generation_config = whisper.model.generation_config
    given = {name: inputs[name] for name in ("input_features", "labels")}
    assert torch.equal(whisper.model(**inputs).logits, stock(**given).logits)
    assert generate(whisper.model, inputs) == generate(stock, inputs)


def test_what_is_saved_is_a_plain_whisper(whisper: Whisper, tmp_path: Path) -> None:
    whisper.save(tmp_path)
    stock = transformers.pipeline("automatic-speech-recognition", model=str(tmp_path)).model
    assert type(stock) is transformers.WhisperForConditionalGeneration
    assert stock.config.architectures == ["WhisperForConditionalGeneration"]
    weights = stock.state_dict()
    assert all(torch.equal(weights[name].float(), tensor) for name, tensor in whisper.model.state_dict().items())
