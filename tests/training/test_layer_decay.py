"""Layer-wise learning-rate decay: the rate of each parameter, through the real job."""

from pathlib import Path

import pytest

from kidasr.config.checks import ConfigError
from kidasr.errors import Stopped
from kidasr.training.layer_decay import depths, names_of
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import job, read_json
from tests.jobs.test_train import same, trainers, weights  # noqa: F401  a fixture
from tests.training.test_half_precision import RUN, stopped_at


def test_depths_of_a_whisper_with_an_encoder_of_three_layers_and_a_decoder_of_two() -> None:
    expected = {
        "model.encoder.conv1.weight": 3,
        "model.encoder.embed_positions.weight": 3,
        "model.encoder.layers.0.self_attn.q_proj.weight": 2,
        "model.encoder.layers.2.fc1.lora_A.default.weight": 0,
        "model.encoder.layer_norm.bias": 0,
        "model.decoder.embed_tokens.weight": 2,
        "model.decoder.layers.0.final_layer_norm.weight": 1,
        "model.decoder.layers.1.encoder_attn.v_proj.bias": 0,
        "model.decoder.layer_norm.weight": 0,
        "proj_out.weight": 0,
    }
    assert depths(expected) == expected
    with pytest.raises(ConfigError, match=r"^optim\.layer_decay: the model has no layers of an encoder and a decoder"):
        depths(["out.weight"])


def test_each_parameter_has_its_rate_and_the_schedule_multiplies_all(
    tmp_path: Path,
    trainers: list[ChildSpeechTrainer],  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    options = (*RUN, "optim.layer_decay=0.5", "optim.learning_rate=8e-4", "trainer.logging_steps=1")
    job(tmp_path / "whole", *options).run()
    trainer = trainers[0]
    assert trainer.optimizer is not None
    model, layers = trainer.model, trainer.recogniser.model.config.encoder_layers
    names, depth = names_of(model), depths(names_of(model).values())
    groups = trainer.optimizer.param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(held) == len(set(held)) == sum(parameter.requires_grad for parameter in model.parameters())
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["initial_lr"] == pytest.approx(8e-4 * 0.5 ** depth[name]), name
            assert (group["weight_decay"] > 0) == (parameter.dim() > 1), name
    history = read_json(tmp_path / "whole" / "metrics.json")["history"]
    assert max(entry.get("learning_rate", 0) for entry in history) == pytest.approx(8e-4), "the highest rate is logged"
    lowest = 8e-4 * 0.5**layers
    assert f"layer-wise learning rates: from 8.00e-04 in the last layers to {lowest:.2e} before the first" in caplog.text

    stopped_at(6, monkeypatch)
    with pytest.raises(Stopped):
        job(tmp_path / "stopped", *options).run()
    job(tmp_path / "stopped", *options).run()
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
