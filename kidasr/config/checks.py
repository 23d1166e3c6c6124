"""Checks of a composed config, done before anything heavy starts.

Types and ranges come from the signatures of the classes named by ``_target_`` (:mod:`kidasr.config.signature`).
Contradictions between keys are checked by the job.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from math import inf
from typing import Any, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from kidasr.config.job import Job
from kidasr.config.schema import PLUGIN_SCHEMAS, Settings, SlurmLauncher
from kidasr.config.secrets import check_no_secret
from kidasr.config.signature import (
    TargetError,
    check_tree,
    is_plain,
    keys_of,
    load_target,
    parameters,
    schema_of,
    violations,
)
from kidasr.errors import KidasrError, truncate

log = logging.getLogger(__name__)

#: Data and model configs may set training keys (batch size, learning rate); jobs other than this one ignore them.
TRAINING = "kidasr.jobs.train.Train"

#: Groups that only override others and have no node of their own.
GROUPS_WITHOUT_NODE = ("experiment", "hypotheses", "ablation", "debug")


class ConfigError(KidasrError):
    """An invalid config. The message has one line per mistake: the key, its value and what is expected."""


def check_config(cfg: DictConfig) -> None:
    """Check types, ranges and combinations, and warn about what is valid but probably unintended.

    Raises:
        ConfigError: With one line per mistake.
    """
    config = parse_config(cfg)
    job = job_class(cfg)
    if mistakes := list(job.mistakes(config)):
        raise ConfigError("\n".join(mistakes))
    for warning in job.warnings(config):
        log.warning(warning)


def check_used(cfg: DictConfig, typed: Iterable[str]) -> None:
    """Refuse what was typed but is not used by the job.

    Args:
        cfg: The composed config.
        typed: Overrides.

    Raises:
        ConfigError: With one line per override.
    """
    unused = job_class(cfg).unused
    keys = {one: one.lstrip("+~").partition("=")[0] for one in typed}
    name = str(OmegaConf.select(cfg, "job._target_")).rpartition(".")[2]
    mistakes = [
        f"{one}: not used by job={name.lower()}; expected: no {key}"
        for one, key in keys.items()
        if any(key == other or key.startswith(f"{other}.") for other in unused)
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def job_class(cfg: DictConfig) -> type[Job]:
    """The class of a config's job.

    Raises:
        ConfigError: If the config has no valid job.
    """
    try:
        target = OmegaConf.select(cfg, "job._target_", default=None)
    except OmegaConfBaseException as error:  # job is no mapping
        raise ConfigError(f"job: {str(error).splitlines()[0]}") from error
    if not isinstance(target, str):
        wrong = "job._target_ is missing" if target is None else f"job._target_={_value(target)}: should be a class"
        raise ConfigError(wrong)
    try:
        found = load_target(target)
    except TargetError as error:
        raise ConfigError(f"job._target_: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Job)):
        raise ConfigError(f"job._target_={target}: not a job; expected: a subclass of {Job.__module__}.{Job.__name__}")
    return found


def parse_config(cfg: DictConfig) -> dict[str, Any]:
    """Convert a config to plain values and check types and ranges. The job node is not resolved.

    Raises:
        ConfigError: If a key is missing or unknown, or a value has the wrong type or is out of range.
    """
    _check_step_scale(cfg)
    plain: dict[str, Any] = {}
    for key in cfg:
        if OmegaConf.is_missing(cfg, key):
            plain[str(key)] = "???"
            continue
        try:
            # The job node only refers to the other nodes and to the run folder, which does not exist yet.
            resolve = key != "job"
            is_tree = OmegaConf.is_config(cfg[key])
            plain[str(key)] = OmegaConf.to_container(cfg[key], resolve=resolve) if is_tree else cfg[key]
        except OmegaConfBaseException as error:
            raise ConfigError(f"{error.full_key or str(key)}: {str(error).splitlines()[0]}") from error
    if missing := list(_missing(plain)):
        raise ConfigError("\n".join(f"{key} is missing; expected: {key}=..." for key in missing))
    for path, text in _texts(plain):
        check_no_secret(path, text)
    job_class(cfg)
    target = str(cfg.job["_target_"])
    annotations = {name: one.annotation for name, one in parameters(target).items() if one.kind != one.VAR_KEYWORD}
    arguments = annotations.keys()
    given = {name: plain[name] for name in arguments if name in plain}
    report = partial(_mistake, cfg=cfg)
    others = plain.keys() - arguments - set(keys_of(TRAINING))
    mistakes = list(violations(Settings, {key: plain[key] for key in plain if key in others}, "", report))
    of_the_job_alone = {key for key, value in plain["job"].items() if value != f"${{{key}}}"} - given.keys()
    mistakes += violations(schema_of(target, frozenset(arguments - of_the_job_alone)), given, "", report)
    for key, value in given.items():
        mistakes += _not_a_group(key, value, annotations[key])
        mistakes += check_tree(key, value, report)
    if not mistakes:  # all values have the right types
        mistakes += [mistake for value in given.values() for mistake in _own_mistakes(value)]
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return plain


def _not_a_group(key: str, value: Any, annotation: Any) -> Iterator[str]:
    """A value that can't be instantiated: not a mapping, or without ``_target_``."""
    if is_plain(annotation):
        return
    if not isinstance(value, Mapping):
        yield f"{key}={_value(value)}: should be a group of keys, like the files in conf/{key}"
    elif "_target_" not in value and get_origin(annotation) is not Mapping:
        yield f"{key}._target_ is missing"


def _check_step_scale(cfg: DictConfig) -> None:
    """Checked first: other values are computed from it."""
    try:
        scale = OmegaConf.select(cfg, "step_scale", default=1.0)
    except OmegaConfBaseException as error:
        raise ConfigError(f"step_scale: {str(error).splitlines()[0]}") from error
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < inf:
        raise ConfigError(f"step_scale={_value(scale)}: should be a number greater than 0")


def _own_mistakes(node: Any) -> Iterator[str]:
    """Mistakes found by a class's own static method ``mistakes``, which checks more than types."""
    if not isinstance(node, Mapping):
        return
    for child in node.values():
        yield from _own_mistakes(child)
    if "_target_" in node:
        look = getattr(load_target(node["_target_"]), "mistakes", None)
        yield from look(node) if look else ()


def check_hydra(hydra: DictConfig) -> None:
    """Check the launcher and the sweeper if they are kidasr's own.

    Raises:
        ConfigError: With one line per mistake.
    """
    for place, models in PLUGIN_SCHEMAS.items():
        node = hydra[place.removeprefix("hydra.")]
        package, _, name = str(node.get("_target_")).rpartition(".")
        if not package.startswith("hydra_plugins.kidasr") or name not in models:
            continue
        try:
            plain: Any = OmegaConf.to_container(node, resolve=True)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{error.full_key or place}: {str(error).splitlines()[0]}") from error
        if mistakes := list(violations(models[name], plain, place, _mistake)):
            raise ConfigError("\n".join(mistakes))
        model = models[name].model_validate(plain)
        if isinstance(model, SlurmLauncher) and model.signal_delay_s >= 60 * model.timeout_min:
            raise ConfigError(
                f"hydra.launcher.signal_delay_s={model.signal_delay_s}: longer than a job, with hydra.launcher.timeout_min="
                f"{model.timeout_min}; expected: less than {60 * model.timeout_min}"
            )


def _texts(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a config, with the path of its key."""
    if isinstance(node, str):
        yield path, node
    children = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, child in children:
        yield from _texts(child, f"{path}.{name}" if path else str(name))


def _missing(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Mandatory keys (``???``) without a value."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _missing(value, f"{prefix}{name}.")
        elif value == "???":
            yield prefix + name


def _mistake(key: str, detail: ErrorDetails, cfg: DictConfig | None = None) -> str:
    """One pydantic error as one line: ``trainer.max_steps=lots: should be a valid integer``."""
    if detail["type"] == "extra_forbidden":
        return unknown_key(key, cfg)
    if detail["type"] == "missing":
        return f"{key} is missing"
    return f"{key}={_value(detail['input'])}: {detail['msg'].replace('Input should', 'should')}"


def _value(value: Any) -> str:
    return "null" if value is None else truncate(value)


def known_keys(prefix: str, cfg: DictConfig | None = None) -> list[str]:
    """The keys that a node of a config may have: ``known_keys("freeze", cfg)`` is ``["freeze_encoder_steps"]``.

    Args:
        prefix: The path of the node; empty for the root.
        cfg: A config with the same choices; without it, only the keys of kidasr's launchers and sweepers are known.
    """
    if prefix in PLUGIN_SCHEMAS:
        models = PLUGIN_SCHEMAS[prefix].values()
        return list(dict.fromkeys(name for model in models for name in model.model_fields if name != "target"))
    if cfg is None:
        return []
    target = OmegaConf.select(cfg, "job._target_", default="")
    if not prefix:
        return [*Settings.model_fields, *(name for name in keys_of(str(target)) if name in cfg)]
    node = OmegaConf.select(cfg, prefix, default=None)
    if isinstance(node, DictConfig) and node.get("_target_"):
        return keys_of(str(node["_target_"]))
    argument = parameters(str(target)).get(prefix)
    if argument is not None and isinstance(argument.annotation, type) and issubclass(argument.annotation, BaseModel):
        return list(argument.annotation.model_fields)
    return [str(name) for name in node] if isinstance(node, DictConfig) else []


def unknown_key(key: str, cfg: DictConfig | None = None, of_augmentations: Sequence[str] = ()) -> str:
    """The message for an unknown key, with the keys that exist.

    Args:
        key: The unknown key, as given.
        cfg: A config with the same choices, without the key.
        of_augmentations: Keys that can be given as ``augment.key``.
    """
    prefix, _, name = key.rpartition(".")
    known = known_keys(prefix, cfg) + ([] if prefix else list(GROUPS_WITHOUT_NODE))
    known += of_augmentations if prefix == "augment" else ()
    dot = f"{prefix}." if prefix else ""
    if name in known:
        return f"{key}: no such key with this choice of {prefix or 'job or ablation'}"
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {dot}{close[0]}?" if close else ""
    return f"{key}: no such key{hint}" + (f"; expected in {prefix or 'the config'}: {', '.join(known)}" if known else "")
