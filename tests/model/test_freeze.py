"""The checklist's second test: requires_grad flips at the step. How training behaves around it: training/test_train.py."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import WhisperForConditionalGeneration

from kidasr.model.components import components
from kidasr.model.freeze import Freeze
from kidasr.model.pretrained import PretrainedWhisper
from tests.conftest import MICRO


@pytest.fixture
def model() -> WhisperForConditionalGeneration:
    return PretrainedWhisper(str(MICRO), "en", "transcribe").load().model


def flags(model: WhisperForConditionalGeneration) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in model.get_encoder().named_parameters()}


def at(step: int) -> tuple[Any, Any, Any]:
    """What the Trainer hands to a callback (arguments, state, control), of which this one reads the step."""
    return None, SimpleNamespace(global_step=step), None


def test_the_encoder_is_frozen_from_the_start_to_the_step(
    model: WhisperForConditionalGeneration, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = flags(model)
    assert not before["embed_positions.weight"] and sum(before.values()) == len(before) - 1
    callback = Freeze(3).callback()
    callback.on_train_begin(*at(0), model=model)
    assert not any(flags(model).values())
    for step in (1, 2):
        callback.on_step_end(*at(step), model=model)
        assert not any(flags(model).values())
    callback.on_step_end(*at(3), model=model)
    assert flags(model) == before, "the positional table keeps its own flag"
    number = next(part for part in components(model) if part.name == "encoder").trainable
    assert f"step 0: encoder frozen until step 3 ({number:,} parameters)" in caplog.text
    assert f"step 3: encoder unfrozen ({number:,} parameters)" in caplog.text


@pytest.mark.parametrize(
    ("steps", "resumed_at", "frozen"), [(3, 2, True), (3, 3, False), (3, 9, False), (0, 0, False), (-1, 9, True)]
)
def test_where_a_run_begins_or_is_resumed_decides(
    model: WhisperForConditionalGeneration, steps: int, resumed_at: int, frozen: bool
) -> None:
    before = flags(model)
    Freeze(steps).callback().on_train_begin(*at(resumed_at), model=model)
    assert flags(model) == (dict.fromkeys(before, False) if frozen else before)


def test_a_freeze_of_the_whole_run_never_ends(model: WhisperForConditionalGeneration) -> None:
    callback = Freeze(-1).callback()
    callback.on_train_begin(*at(0), model=model)
    callback.on_step_end(*at(10**9), model=model)
    assert not any(flags(model).values())


def test_components_hold_every_parameter_once(model: WhisperForConditionalGeneration) -> None:
    parts = {part.name: part for part in components(model)}
    assert sum(part.parameters for part in parts.values()) == model.num_parameters()
    assert parts["encoder positions"].trainable == 0 < parts["encoder positions"].parameters
    assert parts["encoder"].trainable == parts["encoder"].parameters
