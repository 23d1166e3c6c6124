"""LoRA on a Whisper: what trains, what stays, and that the merged model computes what the unmerged one did."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperForConditionalGeneration as StockWhisper

from kidasr.config.checks import ConfigError
from kidasr.model.freeze import Freeze, FreezeDecoder
from kidasr.model.kept_encodings import is_deterministic
from kidasr.model.lora import Lora
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.unfreeze import check_trains
from kidasr.model.whisper import Whisper
from tests.conftest import MICRO
from tests.model.test_short_training import inputs_of

ALL = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def lora(targets: list[str] = ALL, part: Any = "both", dropout: float = 0.0) -> Lora:
    return Lora(r=4, alpha=8, dropout=dropout, targets=targets, part=part, learning_rate_factor=10)


@pytest.fixture
def whisper() -> Iterator[Whisper]:
    """The micro model; as everywhere in training, randomness comes from torch's default generator."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield PretrainedWhisper(str(MICRO), "en", "transcribe").load()


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def outputs(whisper: Whisper) -> list[torch.Tensor]:
    """Logits on short input with a mask and on the full window, and the loss of a training step."""
    inputs = inputs_of(whisper)
    with torch.no_grad():
        model = whisper.model.eval()
        window = torch.nn.functional.pad(inputs["input_features"], (0, 300 - inputs["input_features"].shape[2]))
        logits = [model(**inputs).logits, model(window, labels=inputs["labels"]).logits]
        return [*logits, model.train()(**inputs).loss]


def test_only_the_adapters_train_and_an_untrained_one_changes_no_bit(whisper: Whisper) -> None:
    model, before, kind = whisper.model, outputs(whisper), type(whisper.model)
    adapter = lora()
    adapter.wrap(model)
    assert type(model) is kind and model.proj_out.weight is model.model.decoder.embed_tokens.weight
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    config = model.config
    of_attention = 4 * 4 * 2 * config.d_model  # four projections of rank 4
    of_encoder_layer = of_attention + 2 * 4 * (config.d_model + config.encoder_ffn_dim)
    of_decoder_layer = 2 * of_attention + 2 * 4 * (config.d_model + config.decoder_ffn_dim)
    number = config.encoder_layers * of_encoder_layer + config.decoder_layers * of_decoder_layer
    assert sum(one.numel() for one in trained.values()) == number
    assert set(adapter.own_weights(model)) == set(trained) and all("lora_" in name for name in trained)
    assert all(torch.equal(one, other) for one, other in zip(before, outputs(whisper), strict=True))


def test_the_merged_model_is_a_plain_one_that_computes_what_the_unmerged_one_did(whisper: Whisper, tmp_path: Path) -> None:
    model, adapter = whisper.model, lora()
    before = state_of(model)
    untrained = outputs(whisper)
    adapter.wrap(model)
    for name in adapter.own_weights(model):
        model.state_dict()[name].normal_(std=0.05)  # as if trained
    base = {name.replace(".base_layer", ""): one for name, one in model.state_dict().items() if ".lora_" not in name}
    assert all(torch.equal(base[name], before[name]) for name in before)
    unmerged = outputs(whisper)
    assert not torch.allclose(unmerged[0], untrained[0], atol=0.1), "the adapters do something"
    adapter.merge(model)
    assert {name: (one.shape, one.dtype) for name, one in model.state_dict().items()} == {
        name: (one.shape, one.dtype) for name, one in before.items()
    }
    assert not hasattr(model, "peft_config") and model.proj_out.weight is model.model.decoder.embed_tokens.weight
    changed = {name for name, one in model.state_dict().items() if not torch.equal(one, before[name])}
    assert changed == {name for name in before if name.endswith(tuple(f"{target}.weight" for target in ALL))}
    for one, other in zip(unmerged, outputs(whisper), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
    whisper.save(tmp_path)
    saved = StockWhisper.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(saved[name], one) for name, one in model.state_dict().items())


@pytest.mark.parametrize(("part", "other"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_adapters_of_one_part_and_of_layers_named_by_their_end(whisper: Whisper, part: str, other: str) -> None:
    model = whisper.model
    lora(["self_attn.q_proj", "fc1"], part).wrap(model)
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    assert len(trained) == 2 * 2 * getattr(model.config, f"{part}_layers")
    assert all(f".{part}." in name and (".self_attn.q_proj." in name or ".fc1." in name) for name in trained)
    frozen: dict[str, Freeze] = {"encoder": Freeze(-1), "decoder": FreezeDecoder(-1)}
    check_trains(model, frozen[other])
    with pytest.raises(
        ConfigError, match=f"^freeze={part}_all: the adapter trains nothing but the {part}, so nothing is left"
    ):
        check_trains(model, frozen[part])


@pytest.mark.parametrize(
    ("targets", "part", "line"),
    [
        (
            ["q_proj", "query"],
            "both",
            "no linear layer query in the model; expected: fc1, fc2, k_proj, out_proj, q_proj, v_proj",
        ),
        (["encoder_attn.q_proj"], "encoder", "no linear layer encoder_attn.q_proj in the encoder; expected: fc1, fc2, "),
        (["proj_out"], "both", "no linear layer proj_out in the model; expected: fc1, "),
        (["proj"], "both", "no linear layer proj in the model; expected: fc1, "),
    ],
)
def test_an_unknown_target_is_one_line_with_what_there_is(
    whisper: Whisper, targets: list[str], part: str, line: str
) -> None:
    with pytest.raises(ConfigError) as told:
        lora(targets, part).wrap(whisper.model)
    assert str(told.value).startswith(f"adapter.targets: {line}")


def test_encodings_are_kept_of_a_frozen_encoder_with_adapters_but_not_if_they_have_dropout(whisper: Whisper) -> None:
    encoder = whisper.model.get_encoder()
    assert is_deterministic(encoder)
    lora(part="decoder", dropout=0.1).wrap(whisper.model)
    assert is_deterministic(encoder)
    with_dropout = PretrainedWhisper(str(MICRO), "en", "transcribe").load().model
    lora(dropout=0.1).wrap(with_dropout)
    assert not is_deterministic(with_dropout.get_encoder())
