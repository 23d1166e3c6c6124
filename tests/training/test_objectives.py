"""Objectives other than cross entropy, each by what it changes in real training of the micro Whisper."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from kidasr.batching.collator import Collator
from kidasr.errors import KidasrError
from kidasr.features.augment import Augmentations, WaveformAugmentation
from kidasr.features.augmentations.time_warp import TimeWarp
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.specaugment import SpecAugment
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from kidasr.training.objective import Objective, Step
from kidasr.training.objectives.kl import KlToPretrained
from kidasr.training.objectives.l2_sp import L2StartingPoint
from kidasr.training.objectives.label_smoothing import LabelSmoothing
from kidasr.training.objectives.pif import PerturbationInvariant
from tests.conftest import MICRO, job
from tests.jobs.test_train import same

#: Six steps in two epochs, with a checkpoint in the middle.
SHORT = (
    "padding=longest",
    "data.limit_train=12",
    "data.limit_validation=2",
    "data.tests=null",
    "trainer.max_steps=6",
    "trainer.train_batch_size=4",
    "trainer.zero_shot=false",
    "checkpoint.eval_steps=3",
    "schedule.warmup_steps=0",
    "report=none",
)
SHORT_INPUT = Padding("longest", 0.2, mask=True, group_by_length=True)
THAWED = ("freeze.freeze_encoder_steps=2",)
HALF_FROZEN = ("trainer.bf16=true", "freeze=encoder_all")  # with encodings that are kept
MASKED = ("augment=specaugment",)
RUNS: dict[str, tuple[str, ...]] = {
    "none": THAWED,
    "label_smoothing": (*THAWED, "objective=label_smoothing", "objective.epsilon=0.3"),
    **{f"l2_sp {alpha}": (*THAWED, "objective=l2_sp", f"objective.alpha={alpha}") for alpha in (0, 1, 9)},
    "half": HALF_FROZEN,
    **{f"kl {weight}": (*HALF_FROZEN, "objective=kl", f"objective.weight={weight}") for weight in (0, 1, 9)},
    "kl 9 full": (*HALF_FROZEN, "objective=kl", "objective.weight=9", "objective.full_window=true"),
    "masked": MASKED,
    **{f"pif {weight}": (*MASKED, "objective=pif", f"objective.weight={weight}") for weight in (0, 9)},
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs by name, each made when it is first asked for."""
    folder = tmp_path_factory.mktemp("objectives")

    def run_dir(name: str) -> Path:
        if not (folder / name).exists():
            job(folder / name, *SHORT, *RUNS[name]).run()
        return folder / name

    return run_dir


def weights_at(run_dir: Path, step: int = 6) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / f"checkpoint-{step}" / "model.safetensors")


def whisper_of(run_dir: Path | None = None) -> Whisper:
    """The pretrained model, or that of a run's last step."""
    whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    if run_dir is not None:
        whisper.model.load_state_dict(weights_at(run_dir), strict=False)  # the output layer is the embedding
    whisper.model.eval()
    return whisper


def batch_of(whisper: Whisper, tmp_path: Path, *overrides: str, views: int = 1, padding: Padding | None = None) -> Any:
    arguments = job(tmp_path / "x", *SHORT, *overrides).arguments
    augment = Augmentations({"specaugment": SpecAugment(27, 100, 1, 1, 0.5)}) if views > 1 else None
    padding = padding or arguments["padding"]
    utterances = arguments["data"].load().train
    dataset = ChildSpeechDataset(utterances, whisper, augment, padding=padding, views=views)
    return Collator(whisper, padding)([dataset[place] for place in range(len(dataset))])


@torch.no_grad()
def logits_of(whisper: Whisper, batch: Any) -> torch.Tensor:
    logits: torch.Tensor = whisper.model(**batch, token_logits=True).logits
    return logits


@pytest.mark.parametrize(
    ("zero", "plain", "atol"), [("l2_sp 0", "none", 0.0), ("kl 0", "half", 0.0), ("pif 0", "masked", 1e-5)]
)
def test_a_weight_of_zero_is_cross_entropy(run: Callable[[str], Path], zero: str, plain: str, atol: float) -> None:
    """To the bit; with two views in a batch, to rounding."""
    one, other = weights_at(run(zero)), weights_at(run(plain))
    assert all(torch.allclose(one[name], other[name], atol=atol, rtol=0) for name in one)


def test_label_smoothing_is_pytorchs_and_makes_the_model_less_sure(run: Callable[[str], Path], tmp_path: Path) -> None:
    logits, targets = torch.randn(9, 7, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 7
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(LabelSmoothing(0.2)([logits], targets).mean(), expected)
    batch = batch_of(whisper_of(), tmp_path)
    plain, smooth = (
        logits_of(whisper_of(run(name)), batch).softmax(-1).amax(-1).mean() for name in ("none", "label_smoothing")
    )
    assert smooth < plain - 0.03


def test_l2_sp_keeps_the_weights_near_the_pretrained_ones_the_more_the_higher_alpha(run: Callable[[str], Path]) -> None:
    before = load_file(MICRO / "model.safetensors")

    def moved(name: str) -> float:
        return float(sum((one - before[key].float()).square().sum() for key, one in weights_at(run(name)).items()) ** 0.5)

    assert moved("l2_sp 9") < 0.9 * moved("l2_sp 1") and moved("l2_sp 1") < 0.97 * moved("none")


def test_kl_keeps_the_outputs_near_the_pretrained_models_the_more_the_higher_its_weight(
    run: Callable[[str], Path], tmp_path: Path
) -> None:
    pretrained = whisper_of()
    batch = batch_of(pretrained, tmp_path)
    expected = logits_of(pretrained, batch).log_softmax(-1)

    def divergence(name: str) -> float:
        found = logits_of(whisper_of(run(name)), batch).log_softmax(-1)
        return float(functional.kl_div(found, expected, log_target=True, reduction="batchmean"))

    assert divergence("kl 9") < 0.7 * divergence("kl 1") and divergence("kl 1") < 0.9 * divergence("half")


def test_the_weight_of_kl_falls_to_zero_and_the_divergence_is_from_the_model_at_the_start() -> None:
    objective = KlToPretrained(weight=2.0, until=0.5, full_window=True)
    assert [objective.weight_at(progress) for progress in (0, 0.25, 0.5, 0.9)] == [2, 1, 0, 0]
    model = torch.nn.Linear(3, 5)
    objective.begin(model)
    with torch.no_grad():
        model.weight += 1
    assert objective.pretrained is not None and not torch.equal(next(objective.pretrained.parameters()), model.weight)
    logits, targets = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)), torch.arange(4)
    for pretrained in (logits, logits.flip(0)):
        step = Step([logits], targets, {}, None, None, 0.25, lambda _, found=pretrained, **__: [found])
        of_tokens = objective.token_losses(step) - functional.cross_entropy(logits, targets, reduction="none")
        p = pretrained.softmax(-1)
        torch.testing.assert_close(of_tokens, (p * (p.log() - logits.softmax(-1).log())).sum(-1), atol=1e-6, rtol=1e-5)


def test_the_pretrained_model_may_hear_the_full_window(run: Callable[[str], Path], tmp_path: Path) -> None:
    """Whatever the padding of the batch; the input is that of recordings padded to the window."""
    whisper = whisper_of()
    short, full = (batch_of(whisper, tmp_path, padding=padding) for padding in (SHORT_INPUT, FULL_WINDOW))
    padded = whisper.on_full_window(short)
    assert short["input_features"].shape != full["input_features"].shape
    torch.testing.assert_close(padded["input_features"], full["input_features"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits_of(whisper, padded), logits_of(whisper, full), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits_of(whisper, short), logits_of(whisper, full), atol=1e-2)
    again = whisper.on_full_window(full)
    assert torch.equal(again["input_features"], full["input_features"])
    assert not same(weights_at(run("kl 9")), weights_at(run("kl 9 full")))


def test_l2_sp_is_refused_where_each_process_drops_other_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = whisper_of().model
    monkeypatch.setenv("WORLD_SIZE", "2")
    L2StartingPoint(0.1).begin(model)
    model.config.encoder_layerdrop = 0.1
    with pytest.raises(KidasrError, match=r"^objective=l2_sp: not in several processes with a model that drops layers"):
        L2StartingPoint(0.1).begin(model)


def distance(whisper: Whisper, batch: Any) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name != "durations_sec"}
    with torch.no_grad():
        outputs = whisper.model(**inputs, token_logits=True)
    step = Step([], torch.empty(0), inputs, outputs, batch["durations_sec"], 0.0, lambda _: [])
    return PerturbationInvariant(1.0).distances(step)


def test_pif_makes_the_encodings_of_two_views_more_alike(run: Callable[[str], Path], tmp_path: Path) -> None:
    batch = batch_of(whisper_of(), tmp_path, views=2)
    plain, alike = (distance(whisper_of(run(name)), batch).mean() for name in ("masked", "pif 9"))
    assert alike < 0.9 * plain


@pytest.mark.parametrize("padding", ["longest", "max_length"])
def test_the_distance_of_pif_is_over_the_positions_of_the_recording(tmp_path: Path, padding: str) -> None:
    """What is padding in a batch does not count."""
    whisper = whisper_of()
    batch = batch_of(whisper, tmp_path, f"padding={padding}", views=2)
    found = distance(whisper, batch)
    half = len(found)
    for place in (0, half - 1):
        keep = [place, half + place]
        alone = {name: value[keep] for name, value in batch.items() if name not in ("durations_sec", "label_places")}
        if "frame_mask" in alone:
            positions = int(alone["frame_mask"].sum(1).max())
            alone["frame_mask"] = alone["frame_mask"][:, :positions]
            alone["input_features"] = alone["input_features"][..., : 2 * positions]
        with torch.no_grad():
            one, other = whisper.model(**alone, token_logits=True).encoder_last_hidden_state
        covered = round(50 * batch["durations_sec"][place])
        expected = (one - other)[:covered].square().mean()
        torch.testing.assert_close(found[place], expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("objective", ["kl", "l2_sp", "pif"])
def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path: Path, objective: str) -> None:
    """Two steps of plain gradient descent, since there is no distance before the first."""
    descent = ("optim.optim=sgd", "optim.learning_rate=0.1", "optim.weight_decay=0", "optim.max_grad_norm=0")
    options = (
        *SHORT,
        *descent,
        "trainer.max_steps=2",
        "data.limit_train=8",
        "augment=specaugment",
        "checkpoint.eval_steps=2",
    )
    weight = "objective.alpha=1" if objective == "l2_sp" else "objective.weight=2"
    found = []
    for size in (8, 2):
        batches = (f"trainer.train_batch_size={size}", f"trainer.gradient_accumulation_steps={8 // size}")
        job(tmp_path / str(size), *options, f"objective={objective}", weight, *batches).run()
        found.append(weights_at(tmp_path / str(size), 2))
    one, more = found
    before = load_file(MICRO / "model.safetensors")
    assert all(torch.allclose(one[name], more[name], atol=1e-5) for name in one)
    assert max(float((one[name] - before[name].float()).abs().max()) for name in one) > 1e-3


@pytest.mark.parametrize("name", ["kl 9", "l2_sp 9", "pif 9"])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(run: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    """What is pretrained is the loaded model, not the checkpoint; a weight that falls goes on where it was."""
    shutil.copytree(run(name), tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "checkpoint-6")
    job(tmp_path / "run", *SHORT, *RUNS[name]).run()
    assert same(weights_at(run(name)), weights_at(tmp_path / "run"))


class Longer(WaveformAugmentation):
    max_length_factor = 1.1


class Shorter(WaveformAugmentation):
    def __call__(self, samples: Any, draw: Any) -> Any:
        return samples[: len(samples) - 160 * draw.view]


def test_views_of_different_lengths_are_refused_in_one_line(tmp_path: Path) -> None:
    objective: Objective = PerturbationInvariant(1.0)
    with pytest.raises(KidasrError, match=r"^augment\.speed: changes the length of an utterance, so objective=pif can't"):
        objective.check(Augmentations({"speed": Longer()}))
    with pytest.raises(KidasrError, match=r"^augment\.time_warp: moves sounds in time, so objective=pif can't"):
        objective.check(Augmentations({"time_warp": TimeWarp(80, 0.1, 0.5)}))
    whisper = whisper_of()
    utterances = job(tmp_path / "x", *SHORT).arguments["data"].load().train
    padding = Padding("longest", 0.2, mask=True, group_by_length=True)
    dataset = ChildSpeechDataset(utterances, whisper, Augmentations({"x": Shorter()}), padding=padding, views=2)
    with pytest.raises(KidasrError, match=r"^augment: changes the length of an utterance, so objective=pif can't"):
        distance(whisper, Collator(whisper, padding)([dataset[0], dataset[1]]))


@pytest.mark.parametrize("augment", ["concat", "[vtlp,gain] augment.vtlp.p=0 augment.gain.p=0", "specaugment NO_MASKS"])
def test_views_that_are_alike_are_refused_in_one_line(tmp_path: Path, augment: str) -> None:
    no_masks = "augment.specaugment.num_freq_masks=0 augment.specaugment.num_time_masks=0"
    options = f"augment={augment}".replace("NO_MASKS", no_masks).split()
    with pytest.raises(KidasrError, match=r"would make both views of an utterance alike, and objective=pif compares them"):
        job(tmp_path / "run", *SHORT, "objective=pif", *options).run()
    with pytest.raises(KidasrError, match=r"^adapter\.part=decoder: objective=pif changes the encoder"):
        job(tmp_path / "lora", *SHORT, "objective=pif", *MASKED, "adapter=lora", "adapter.part=decoder")


def test_the_log_says_what_an_objective_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job(tmp_path, *SHORT, *RUNS["kl 1"], "trainer.max_steps=1", "checkpoint.eval_steps=1", "objective.until=0.5").run()
    assert "objective: kl, cross entropy and the divergence from the pretrained model; its weight falls" in caplog.text
    assert "a frozen copy of the pretrained model is kept in memory, 4 MB" in caplog.text
