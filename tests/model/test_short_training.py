"""Training on short input: the loss and gradients are transformers' own, and a frozen encoder costs no backward pass."""

from pathlib import Path

import hydra
import pytest
import torch

from kidasr.batching.collator import Collator
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.short_input import WhisperForConditionalGeneration
from kidasr.model.whisper import Whisper
from tests.conftest import MICRO, TINY_EN, composed, real_data


def inputs_of(whisper: Whisper) -> dict[str, torch.Tensor]:
    """Four utterances of different length."""
    cfg = composed("data.limit_validation=4", "padding=longest")
    utterances, padding = hydra.utils.instantiate(cfg.data).load().validation, hydra.utils.instantiate(cfg.padding)
    dataset = ChildSpeechDataset(utterances, whisper.processor, padding=padding)
    inputs = Collator(whisper.model.config.decoder_start_token_id, padding.mask)([dataset[place] for place in range(4)])
    assert "frame_mask" in inputs
    return inputs


@pytest.mark.parametrize("model_dir", [MICRO, pytest.param(TINY_EN, marks=real_data)], ids=["micro", "tiny.en"])
def test_the_loss_in_training_and_every_gradient_are_transformers_own(model_dir: Path) -> None:
    whisper = PretrainedWhisper(str(model_dir), "en", "transcribe").load()
    model = whisper.model.train()
    inputs = inputs_of(whisper)
    found = {}
    for name, forward in (("kidasr", model), ("transformers", super(WhisperForConditionalGeneration, model).forward)):
        model.zero_grad()
        loss = forward(**inputs).loss
        loss.backward()
        found[name] = {
            "loss": loss.detach(),
            **{key: one.grad for key, one in model.named_parameters() if one.grad is not None},
        }
    assert len(found["kidasr"]) > 40
    torch.testing.assert_close(found["kidasr"], found["transformers"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_a_frozen_encoder_keeps_nothing_for_the_backward_pass(activation_checkpointing: bool) -> None:
    whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    inputs, encoder = inputs_of(whisper), whisper.model.train().get_encoder()
    if activation_checkpointing:
        whisper.model.gradient_checkpointing_enable({"use_reentrant": False})
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    for frozen in (False, True):
        encoder.requires_grad_(not frozen)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoded = encoder(inputs["input_features"], frame_mask=inputs["frame_mask"]).last_hidden_state
        assert encoded.requires_grad != frozen
        assert bool(kept) != frozen or activation_checkpointing, (
            "which hands on what it may compute again, in vain if frozen"
        )
