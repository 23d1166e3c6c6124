"""Whether a composed config can work, told before anything heavy starts.

A contradiction is an error; what is legal but surely not meant is a warning that says what it costs.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kidasr.config.age_buckets import bucket_bounds
from kidasr.config.schema import PLUGIN_SCHEMAS, RunConfig, SlurmLauncher
from kidasr.config.secrets import check_no_secret
from kidasr.errors import KidasrError, truncate

log = logging.getLogger(__name__)


class ConfigError(KidasrError):
    """A config that can't work; a line for each mistake, with the key, its value and what is expected."""


def check_config(cfg: DictConfig) -> None:
    """Check types, ranges and combinations, and log a warning for what is surely not meant.

    Raises:
        ConfigError: A line for each mistake.
    """
    run = parse_config(cfg)
    mistakes = list(_contradictions(run))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    for warning in _warnings(run):
        log.warning(warning)


def parse_config(cfg: DictConfig) -> RunConfig:
    """The typed config.

    Raises:
        ConfigError: For a missing, unknown or mistyped key, or a value out of range.
    """
    try:
        scale = OmegaConf.select(cfg, "step_scale")  # others are computed from it
    except OmegaConfBaseException as error:
        raise ConfigError(f"step_scale: {str(error).splitlines()[0]}") from error
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < inf:
        raise ConfigError(f"step_scale={_value(scale)}: should be a number greater than 0")
    plain: dict[str, Any] = {}
    for key in cfg:
        if OmegaConf.is_missing(cfg, key):
            plain[str(key)] = "???"
            continue
        try:
            # The job node only points to the others, and to the run folder, which is not there yet.
            resolve = key != "job"
            is_tree = OmegaConf.is_config(cfg[key])
            plain[str(key)] = OmegaConf.to_container(cfg[key], resolve=resolve) if is_tree else cfg[key]
        except OmegaConfBaseException as error:
            raise ConfigError(f"{error.full_key or str(key)}: {str(error).splitlines()[0]}") from error
    missing = list(_missing(plain))
    if missing:
        raise ConfigError("\n".join(f"{key} is missing; expected: {key}=..." for key in missing))
    for path, text in _texts(plain):
        check_no_secret(path, text)
    try:
        return RunConfig.model_validate(plain)
    except ValidationError as error:
        raise ConfigError("\n".join(_mistake(detail) for detail in error.errors())) from error


def check_hydra(hydra: DictConfig) -> None:
    """Check the launcher and the sweeper, where they are kidasr's.

    Raises:
        ConfigError: A line for each mistake.
    """
    for place, models in PLUGIN_SCHEMAS.items():
        node = hydra[place.removeprefix("hydra.")]
        package, _, name = str(node.get("_target_")).rpartition(".")
        if not package.startswith("hydra_plugins.kidasr") or name not in models:
            continue
        try:
            model = models[name].model_validate(OmegaConf.to_container(node, resolve=True))
        except ValidationError as error:
            raise ConfigError("\n".join(_mistake(detail, f"{place}.") for detail in error.errors())) from error
        except OmegaConfBaseException as error:
            raise ConfigError(f"{error.full_key or place}: {str(error).splitlines()[0]}") from error
        if isinstance(model, SlurmLauncher) and model.signal_delay_s >= 60 * model.timeout_min:
            raise ConfigError(
                f"hydra.launcher.signal_delay_s={model.signal_delay_s}: a job has but hydra.launcher.timeout_min="
                f"{model.timeout_min}; expected: less than {60 * model.timeout_min}"
            )


def _texts(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a config, with the path of its key."""
    if isinstance(node, str):
        yield path, node
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from _texts(child, f"{path}.{name}" if path else str(name))


def _missing(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys that the user must give and has not."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _missing(value, f"{prefix}{name}.")
        elif value == "???":
            yield prefix + name


def _mistake(detail: ErrorDetails, prefix: str = "") -> str:
    """One of pydantic's complaints as one line: ``trainer.max_steps=lots: should be a valid integer``."""
    # A logger's place has its class in it.
    key = prefix + ".".join(str(part) for part in detail["loc"] if not str(part).startswith("kidasr."))
    value: Any = detail["input"]
    if detail["type"] == "extra_forbidden":
        return unknown_key(key)
    if detail["type"] == "missing":
        return f"{key} is missing"
    return f"{key}={_value(value)}: {detail['msg'].replace('Input should', 'should')}"


def _value(value: Any) -> str:
    return "null" if value is None else truncate(value)


def known_keys(prefix: str) -> list[str]:
    """The keys that a part of the config has: ``known_keys("augment")`` is ``["freq_mask_param", ...]``."""
    if prefix in PLUGIN_SCHEMAS:
        return _names(PLUGIN_SCHEMAS[prefix].values())
    models: list[Any] = [RunConfig]
    for name in filter(None, prefix.split(".")):
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        models = [kind for field in fields for kind in get_args(field.annotation) or [field.annotation]]
        models = [kind for kind in models if hasattr(kind, "model_fields")]
    return _names(models)


def _names(models: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(name for model in models for name in model.model_fields if name != "target"))


def unknown_key(key: str) -> str:
    """The line for a key that does not exist, with the keys that do."""
    prefix, _, name = key.rpartition(".")
    known = known_keys(prefix) + ([] if prefix else ["experiment", "hypotheses", "ablation", "debug"])
    dot = f"{prefix}." if prefix else ""
    if name in known:
        return f"{key}: no such key with this choice of {prefix or 'job or ablation'}"
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {dot}{close[0]}?" if close else ""
    return f"{key}: no such key{hint}" + (f"; expected in {prefix or 'the config'}: {', '.join(known)}" if known else "")


def _contradictions(run: RunConfig) -> Iterator[str]:
    checkpoint, trainer = run.checkpoint, run.trainer
    if checkpoint.save_steps % checkpoint.eval_steps:
        yield (
            f"checkpoint.save_steps={checkpoint.save_steps}: should be a multiple of "
            f"checkpoint.eval_steps={checkpoint.eval_steps}, or the best checkpoint can't be known"
        )
    if run.overwrite and run.resume != "never":
        yield "overwrite=true: a run is only begun anew, and what it left deleted, with resume=never"
    if trainer.max_steps == 0:
        yield "trainer.max_steps=0: should be 1 or more, or -1 to train for trainer.num_train_epochs"
    if (trainer.num_processes or 1) % trainer.num_nodes:
        yield (
            f"trainer.num_processes={_value(trainer.num_processes)}: no multiple of trainer.num_nodes={trainer.num_nodes}; "
            "expected: a multiple of it"
        )
    if (trainer.num_processes or 1) > trainer.train_batch_size:
        yield (
            f"trainer.num_processes={trainer.num_processes}: more than the utterances in a batch; expected: at most "
            f"trainer.train_batch_size={trainer.train_batch_size}"
        )
    if trainer.bf16 and trainer.fp16:
        yield "trainer.fp16=true: can't go with trainer.bf16=true; choose one"
    try:
        bucket_bounds(run.data.age_buckets)
    except KidasrError as error:
        yield str(error)
    if trainer.max_steps > 0:
        yield from run_length_contradictions(
            trainer.max_steps, run.schedule.warmup_steps, run.early_stopping.patience, checkpoint.eval_steps
        )


def run_length_contradictions(steps: int, warmup_steps: int, patience: int, eval_steps: int) -> Iterator[str]:
    """What can't work in a run of this many optimizer steps."""
    if warmup_steps > steps:
        yield f"schedule.warmup_steps={warmup_steps}: longer than the run; should be at most its {steps} steps"
    if patience and eval_steps > steps:
        yield (
            f"early_stopping.patience={patience}: the run's {steps} steps end before the first evaluation; "
            f"expected: checkpoint.eval_steps (now {eval_steps}) of at most {steps}, or early_stopping=none"
        )


def _warnings(run: RunConfig) -> Iterator[str]:
    checkpoint = run.checkpoint
    if checkpoint.save_steps != checkpoint.eval_steps:
        missed = checkpoint.save_steps // checkpoint.eval_steps - 1
        yield (
            f"checkpoint: evaluated every {checkpoint.eval_steps} steps but saved every {checkpoint.save_steps}: "
            f"{missed} of {missed + 1} evaluations have no checkpoint. If the lowest WER falls on one of them, that model "
            "is lost, and a saved one with a higher WER, or the last, is used instead (checkpoint=aligned loses none)"
        )


def run_length_warnings(
    steps: int, patience: int, eval_steps: int, save_steps: int, freeze_encoder_steps: int
) -> Iterator[str]:
    """What is surely not meant in a run of this many optimizer steps."""
    if freeze_encoder_steps >= steps:
        yield (
            f"freeze.freeze_encoder_steps={freeze_encoder_steps}: the run ends after {steps} steps, so the encoder never "
            "trains (freeze=encoder_all says so on purpose)"
        )
    if eval_steps > steps:
        yield (
            f"checkpoint.eval_steps={eval_steps}: the run has {steps} steps and so one evaluation, at the end: the last "
            "model is kept, best or not"
        )
    elif save_steps > steps:
        yield (
            f"checkpoint.save_steps={save_steps}: the run has {steps} steps and so one checkpoint, at the end: the last "
            "model is kept, best or not, and an interrupted run starts over"
        )
    elif patience and steps // eval_steps <= patience:
        yield (
            f"early_stopping.patience={patience}: the run has only {steps // eval_steps} evaluations, so it can't stop early"
        )
