"""Every choice of every group composes, each preset is the baseline plus its hypothesis, and nothing heavy is imported."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kidasr.config import check_config
from kidasr.config.checks import parse_config
from kidasr.sweep.submit import _of_this_machine
from tests.conftest import ROOT, composed, run_py

CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in (ROOT / "conf").glob("*/*.yaml")
    if path.parent.name != "local" and path.parts[-2:] != ("corpus", "none.yaml")
)
MANIFESTS = ("data.train=T.jsonl", "data.validation=V.jsonl")

#: Keys that users and sweeps rely on.
CONTRACT = {
    "model": ["name_or_path"],
    "data": ["train", "validation", "test", "limit_train", "limit_validation"],
    "trainer": [
        "max_steps",
        "num_train_epochs",
        "train_batch_size",
        "gradient_accumulation_steps",
        "dataloader_num_workers",
    ],
    "optim": ["optim", "learning_rate", "weight_decay", "max_grad_norm", "layer_decay"],
    "schedule": ["lr_scheduler_type", "warmup_steps"],
    "early_stopping": ["patience"],
    "checkpoint": ["eval_steps", "save_steps", "save_total_limit"],
    "freeze": ["freeze_encoder_steps"],
}


def flat(node: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix.removesuffix("."): node}
    return {path: leaf for name, child in node.items() for path, leaf in flat(child, f"{prefix}{name}.").items()}


@cache
def values(*overrides: str) -> dict[str, Any]:
    """Every value by its dotted key, except the job's."""
    cfg = composed(*overrides)
    found: dict[str, Any] = {}
    for key in map(str, cfg):
        if key != "job":
            value = cfg[key]
            found |= flat(OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value, f"{key}.")
    return found


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_passes_the_checks(choice: str) -> None:
    prepare = ["job=prepare", "corpus.root=DIR"]
    alone = {
        "job=compare": ["runs=[a,b]"],
        "job=evaluate": ["model.name_or_path=m"],
        "job=export": [],
        "job=soup": ["runs=[a,b]"],
        "job=transcribe": ["input=a.wav"],
        "job=listen": ["augment=kids"],
        "job=status": [],
        "job=plan": [],
        "job=publish": ["runs=[a,b]", "to=c"],
        "job=score": ["transcripts=a.trn"],
        "job=prepare": ["corpus=kaldi", "corpus.root=DIR"],
        "model=checkpoint": ["model.name_or_path=m", *MANIFESTS],
    }
    of_one_job = {
        "backend": ["job=transcribe", "input=a.wav"],
        "corpus": prepare,
        "format": ["job=export"],
        "segment": [*prepare, "corpus=kaldi"],
    }
    needed = of_one_job.get(choice.partition("=")[0], alone.get(choice, list(MANIFESTS)))
    if choice.endswith("=adamw_8bit"):
        needed = [*MANIFESTS, "trainer=gpu"]
    if choice == "objective=pif":
        needed = [*MANIFESTS, "augment=specaugment"]
    check_config(composed(choice, *needed))


def test_the_keys_that_users_rely_on_are_there() -> None:
    assert {f"{group}.{key}" for group, keys in CONTRACT.items() for key in keys} | {"seed"} <= set(values())


def test_by_default_every_hypothesis_is_off_but_the_aligned_checkpoints() -> None:
    run = parse_config(composed())
    assert (run["schedule"]["lr_scheduler_type"], run["early_stopping"]["patience"]) == ("linear", 0)
    assert (run["freeze"]["freeze_encoder_steps"], run["augment"]) == (0, {})
    assert run["curriculum"] == {"_target_": "kidasr.batching.curriculum.Curriculum"}
    assert run["checkpoint"]["save_steps"] == run["checkpoint"]["eval_steps"]


@pytest.mark.parametrize(
    ("preset", "changed"),
    [
        ("h1", {"checkpoint.save_steps": 25, "checkpoint.save_total_limit": 5}),
        ("h2", {"schedule.lr_scheduler_type": "cosine", "early_stopping.patience": 5}),
        ("h3", {"freeze.freeze_encoder_steps": 50}),
        (
            "h4",
            {
                "augment.specaugment._target_": "kidasr.features.specaugment.SpecAugment",
                "augment.specaugment.freq_mask_param": 27,
                "augment.specaugment.time_mask_param": 100,
                "augment.specaugment.num_freq_masks": 1,
                "augment.specaugment.num_time_masks": 1,
                "augment.specaugment.max_time_mask_fraction": 0.5,
            },
        ),
        (
            "h5",
            {"curriculum._target_": "kidasr.batching.curriculum.AgeCurriculum", "curriculum.order": "youngest_first"},
        ),
    ],
)
def test_a_preset_is_the_baseline_plus_one_hypothesis(preset: str, changed: dict[str, Any]) -> None:
    baseline, with_hypothesis = values("experiment=baseline"), values(f"experiment={preset}")
    assert {key: value for key, value in with_hypothesis.items() if baseline.get(key) != value} == changed
    assert with_hypothesis == values("experiment=baseline", f"hypotheses=[{preset}]"), "one thing in two words"


def test_all_is_the_baseline_plus_all_five() -> None:
    baseline = values("experiment=baseline")
    together = dict(baseline)
    for preset in ("h1", "h2", "h3", "h4", "h5"):
        together |= {key: new for key, new in values(f"experiment={preset}").items() if baseline.get(key) != new}
    assert values("experiment=all") == together


def test_presets_differ_in_the_five_hypotheses_and_nothing_else() -> None:
    whisper = ("data=manifest", *MANIFESTS, "model=whisper")
    baseline, everything = values("experiment=baseline", *whisper), values("experiment=all", *whisper)
    changed = {key.partition(".")[0] for key in {*baseline, *everything} if baseline.get(key) != everything.get(key)}
    assert changed == {"checkpoint", "schedule", "early_stopping", "freeze", "augment", "curriculum"}


def test_the_recipe_for_whisper_small_has_the_checklists_values() -> None:
    recipe = values("experiment=whisper_small", "data=manifest", *MANIFESTS)
    checklist = {
        "model.name_or_path": "openai/whisper-small",
        "trainer.use_cpu": False,
        "checkpoint.eval_steps": 500,
        "checkpoint.save_steps": 500,
        "checkpoint.save_total_limit": 5,
        "schedule.lr_scheduler_type": "cosine",
        "early_stopping.patience": 5,
        "trainer.num_train_epochs": 20,
        "augment.specaugment.freq_mask_param": 27,
        "augment.specaugment.time_mask_param": 100,
        "curriculum.order": "youngest_first",
        "freeze.freeze_encoder_steps": 1000,
        "optim.learning_rate": 1e-5,
    }
    assert {key: recipe[key] for key in checklist} == checklist
    assert values("experiment=whisper_small", "data=manifest", *MANIFESTS, "trainer=cpu")["trainer.use_cpu"]


def test_a_whisper_comes_with_short_input_which_no_preset_changes_and_the_command_line_does() -> None:
    whisper = ("data=manifest", *MANIFESTS, "model=whisper")
    padding, optim = "padding.padding", "optim.optim"
    assert (values(*whisper)[padding], values(*whisper)[optim]) == ("longest", "adamw_torch_fused")
    assert values("experiment=baseline", *whisper)[padding] == "longest"
    assert values(*whisper, "padding=max_length")[padding] == "max_length"
    assert values(*whisper, "optim=adafactor")[optim] == "adafactor"
    assert values()[padding] == "max_length", "the micro model's window is hardly longer than an utterance"


def test_step_counts_are_scaled_in_one_place_and_taken_as_given_on_the_command_line() -> None:
    long = values("data=manifest", *MANIFESTS, "checkpoint=legacy", "freeze=encoder_1000")
    assert (long["checkpoint.eval_steps"], long["checkpoint.save_steps"]) == (500, 1000)
    assert (long["freeze.freeze_encoder_steps"], long["schedule.warmup_steps"]) == (1000, 500)
    assert values("freeze=encoder_1000", "freeze.freeze_encoder_steps=7")["freeze.freeze_encoder_steps"] == 7
    assert values("step_scale=0.1", "freeze=encoder_1000")["freeze.freeze_encoder_steps"] == 100
    uneven = values("step_scale=0.005", "checkpoint=legacy")
    assert uneven["checkpoint.save_steps"] == 2 * uneven["checkpoint.eval_steps"], "though 2.5 is rounded to 2"


def test_a_key_on_the_command_line_wins_over_the_preset() -> None:
    assert not [key for key in values("experiment=h4", "augment=none") if key.startswith("augment.")]
    assert values("experiment=h4", "augment.freq_mask_param=40")["augment.specaugment.freq_mask_param"] == 40
    assert values("experiment=all", "augment=none") == values("experiment=baseline", "hypotheses=[h1,h2,h3,h5]")


def test_composing_and_checking_does_not_import_torch() -> None:
    code = (
        "import sys; from tests.conftest import composed, check_config; check_config(composed('experiment=all'));"
        "check_config(composed('job=prepare', 'corpus=huggingface', 'corpus.root=x', 'segment=vad'));"
        "check_config(composed('job=score', 'transcripts=a.trn'));"
        "check_config(composed('job=transcribe', 'input=x', 'backend=ctranslate2'));"
        "[check_config(composed('job=export', f'format={one}')) for one in ('ctranslate2', 'onnx', 'safetensors')];"
        "heavy = {'ctranslate2', 'datasets', 'onnx', 'torch', 'transformers', 'torchaudio', 'matplotlib', 'wandb'};"
        "heavy &= set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_lora_multiplies_the_default_learning_rate_and_no_other() -> None:
    rates = {
        "embedded default": values("adapter=lora"),
        "a full-size Whisper": values("hypotheses=[h4,lora]", "model=whisper"),
        "typed": values("adapter=lora", "optim.learning_rate=3e-4"),
        "off": values(),
    }
    found = {name: one["optim.learning_rate"] for name, one in rates.items()}
    assert found == {
        "embedded default": pytest.approx(5e-3),
        "a full-size Whisper": pytest.approx(1e-4),
        "typed": 3e-4,
        "off": 5e-4,
    }
    assert values("hypotheses=[layer_decay]")["optim.layer_decay"] < values()["optim.layer_decay"] == 1


def test_help_lists_every_group_with_its_choices_and_three_examples() -> None:
    text = run_py("--help").stdout
    for group in {choice.partition("=")[0] for choice in CHOICES} - {"local", "backend", "corpus", "format", "segment"}:
        names = ", ".join(sorted(choice.partition("=")[2] for choice in CHOICES if choice.startswith(f"{group}=")))
        assert f"{group}: {names}\n" in text
    assert text.count("    python run.py") + text.count("\n  python run.py") >= 3


def test_schedules_and_optimizers_that_the_schema_accepts_are_transformers_own() -> None:
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    from kidasr.training.settings import Optim, Schedule

    schedules = Schedule.model_fields["lr_scheduler_type"].annotation.__args__  # type: ignore[union-attr]
    optimizers = Optim.model_fields["optim"].annotation.__args__  # type: ignore[union-attr]
    assert set(schedules) <= {kind.value for kind in SchedulerType}
    assert set(optimizers) <= {kind.value for kind in OptimizerNames}


def test_the_embedded_paths_do_not_depend_on_the_working_directory(tmp_path: Path) -> None:
    shown = run_py("--cfg", "job", "--resolve", cwd=tmp_path).stdout
    assert str(ROOT / "kidasr" / "embedded" / "corpus" / "train.jsonl") in shown


@pytest.mark.parametrize("instructions", [True, False])
def test_bfloat16_is_chosen_where_it_pays_and_only_for_a_full_size_whisper(
    instructions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kidasr.cli.resolvers.has_bfloat16_instructions", lambda: instructions)
    assert composed("model=whisper").trainer.bf16 is instructions
    assert composed("model=whisper", "trainer=gpu").trainer.bf16 is True
    assert composed("model=whisper", "trainer.bf16=false", "trainer=gpu").trainer.bf16 is False
    assert composed("model=whisper", "trainer.bf16=false").trainer.bf16 is False
    assert composed().trainer.bf16 is False, "the micro model"
    # A cluster's jobs have the value of the machine that submits them.
    assert _of_this_machine(composed("model=whisper")) == [f"trainer.bf16={str(instructions).lower()}"]
