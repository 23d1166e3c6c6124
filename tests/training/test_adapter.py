"""A run with LoRA, through the real job: what is trained, what a checkpoint holds, and how it is resumed."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kidasr.errors import KidasrError, Stopped
from kidasr.training.own_weights import OWN_WEIGHTS
from tests.conftest import MICRO, job, read_json
from tests.jobs.test_train import same, weights
from tests.training.test_half_precision import RUN, stopped_at

LORA = (*RUN, "adapter=lora", "adapter.r=4", "adapter.dropout=0.1", "checkpoint.eval_steps=2", "trainer.zero_shot=true")
ONE_STEP = ("trainer.max_steps=1", "checkpoint.eval_steps=1", "schedule.warmup_steps=0", "trainer.zero_shot=false")
FROZEN = ("freeze=encoder_1000", "freeze.freeze_encoder_steps=4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps with LoRA, whose encoder is frozen for four."""
    folder = tmp_path_factory.mktemp("lora") / "run"
    job(folder, *LORA, *FROZEN).run()
    return folder


def own(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / f"checkpoint-{step}" / OWN_WEIGHTS)


def pretrained() -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(MICRO / "model.safetensors").items()}


def test_it_trains_the_adapters_alone_and_ends_as_a_plain_checkpoint(finished: Path) -> None:
    before, after = pretrained(), weights(finished)
    assert before.keys() <= after.keys() | {"proj_out.weight"}
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    targets = tuple(f"{target}.weight" for target in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"))
    best = own(finished, read_json(finished / "metrics.json")["best_step"])
    trained = {name.partition(".lora_B.")[0] for name, tensor in best.items() if ".lora_B." in name and tensor.any()}
    assert changed == {f"{name}.weight" for name in trained} and all(name.endswith(targets) for name in changed)
    config = read_json(finished / "config.json")
    assert config["optim"]["learning_rate"] == pytest.approx(5e-3), "ten times the default"
    assert read_json(finished / "metrics.json")["zero_shot"]["wer"] is not None


def test_h3_freezes_the_adapters_of_the_encoder_and_then_does_not(finished: Path, tmp_path: Path) -> None:
    at = {step: own(finished, step) for step in (2, 4, 8)}
    encoder = [name for name in at[4] if ".encoder." in name]
    decoder = [name for name in at[4] if ".decoder." in name]
    assert encoder and all(torch.equal(at[2][name], at[4][name]) for name in encoder)
    assert not any(at[4][name].any() for name in encoder if ".lora_B." in name), "it is the pretrained encoder"
    assert not any(torch.equal(at[2][name], at[4][name]) for name in decoder)
    assert not any(torch.equal(at[4][name], at[8][name]) for name in encoder)
    assert read_json(finished / "metrics.json")["frozen_steps"] == 4


def test_a_checkpoint_holds_what_is_trained(finished: Path) -> None:
    folder = finished / "checkpoints" / "checkpoint-8"
    files = {path.name: path.stat().st_size for path in folder.iterdir() if not path.name.startswith(".")}
    trained = sum(tensor.nbytes for tensor in own(finished, 8).values())
    assert "model.safetensors" not in files
    assert trained < files[OWN_WEIGHTS] < trained + 20_000, "and their names"
    assert 2 * trained < files["optimizer.pt"] < 2 * trained + 100_000
    assert sum(files.values()) < 0.5 * (finished / "model" / "model.safetensors").stat().st_size


def test_a_stopped_run_ends_as_one_that_was_not_with_the_best_model(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(5, monkeypatch)
    with pytest.raises(Stopped):
        job(tmp_path, *LORA, *FROZEN).run()
    for _ in range(2):  # the second time, training has ended, and only the best model is loaded
        job(tmp_path, *LORA, *FROZEN).run()
        assert same(weights(finished), weights(tmp_path))
        assert read_json(finished / "metrics.json") == read_json(tmp_path / "metrics.json")
        (tmp_path / "metrics.json").unlink()


def test_a_changed_pretrained_model_is_refused_in_one_line(finished: Path, tmp_path: Path) -> None:
    model, run_dir = tmp_path / "model", tmp_path / "run"
    shutil.copytree(MICRO, model)
    options = (*LORA, *ONE_STEP, f"model.name_or_path={model}", "trainer.bf16=false")
    job(run_dir, *options).run()
    (run_dir / "metrics.json").unlink()
    changed = load_file(model / "model.safetensors")
    changed["model.encoder.conv1.weight"][0, 0, 0] += 0.5
    save_file(changed, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(KidasrError) as told:
        job(run_dir, *options).run()
    line = str(told.value)
    assert "checkpoint-1: an adapter of other pretrained weights than those of model.name_or_path now; expected: " in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "options", [("trainer.bf16=true",), ("trainer.activation_checkpointing=true", "freeze=decoder_all")]
)
def test_it_trains_in_half_precision_and_with_gradient_checkpointing(tmp_path: Path, options: tuple[str, ...]) -> None:
    job(tmp_path, *LORA, *ONE_STEP, *options).run()
    moved = {name for name, tensor in own(tmp_path, 1).items() if ".lora_B." in name and tensor.any()}
    parts = {name.split(".")[1] for name in moved}
    assert parts == ({"encoder"} if "freeze=decoder_all" in options else {"encoder", "decoder"})


def test_a_decoder_that_is_frozen_stays_with_its_embedding(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job(tmp_path, *RUN, *ONE_STEP, "freeze=decoder_all").run()
    before, after = pretrained(), weights(tmp_path)
    stayed = {name for name in after if torch.equal(after[name], before[name])}
    assert stayed == {name for name in after if ".decoder." in name} | {"model.encoder.embed_positions.weight"}
    number = sum(tensor.numel() for name, tensor in after.items() if ".decoder." in name)
    assert f"step 0: decoder frozen for the whole run ({number:,} parameters)" in caplog.text
    assert read_json(tmp_path / "metrics.json")["frozen_steps"] == 0, "which are the encoder's"


def test_adapters_of_a_frozen_part_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KidasrError, match=r"^freeze=encoder_all: the adapter trains nothing but the encoder"):
        job(tmp_path, *LORA, "adapter.part=encoder", "freeze=encoder_all").run()


def test_seeds_draw_other_adapters_and_one_seed_the_same(tmp_path: Path) -> None:
    def first(name: str, *options: str) -> dict[str, torch.Tensor]:
        job(tmp_path / name, *LORA, *ONE_STEP, *options).run()
        return own(tmp_path / name, 1)

    one, again, other = first("one"), first("again"), first("other", "seed=2")
    name = next(name for name in one if ".lora_A." in name)
    assert same(one, again) and not torch.allclose(one[name], other[name], atol=1e-3)
