"""The factors of an ablation, and the jobs that run its configurations.

A factor is a hypothesis (off or on), or a config group or a key with its levels, the first of which is off.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kidasr.cli.designs import configurations
from kidasr.cli.processes import quoted
from kidasr.cli.shorthand import overridden_groups
from kidasr.config.checks import ConfigError
from kidasr.errors import truncate
from kidasr.runs.identity import overrides_with_effect

#: Keys of an ablation: one value each, since each ablation is a multirun of its own.
ABLATION_KEYS = ("ablation", "factors", "ablated", "seeds", "baseline")

#: Groups and keys that can't be factors: an ablation sets them itself, or all its runs share them.
_NO_FACTORS = ("seed", "experiment", "hypotheses", "ablation", "job")

EXAMPLE = "factors='{augment: [none, specaugment], optim.learning_rate: [1e-5, 5e-5]}'"


@dataclass(frozen=True)
class Factor:
    """What an ablation varies."""

    #: A hypothesis, a config group or a dotted key.
    name: str
    #: Its levels as typed in an override; none for a hypothesis.
    levels: tuple[str, ...] = ()

    @property
    def is_hypothesis(self) -> bool:
        """Whether it is named in ``conf/hypotheses``."""
        return not self.levels


def is_ablation(cfg: DictConfig) -> bool:
    """Whether the config of a multirun is that of an ablation."""
    return str(cfg.hydra.sweeper.get("_target_")).endswith(".AblationSweeper")


def ablation_jobs(
    cfg: DictConfig, arguments: Sequence[str], seeds: Sequence[Any], parser: OverridesParser
) -> list[list[str]]:
    """The overrides of each job of an ablation: each configuration of its design with each seed.

    Every factor is typed in every job, also where it is off: ``seed=1 hypotheses=[h1,h4] augment=none``. Options that are
    swept beside the ablation multiply its configurations.

    Args:
        cfg: The config of the multirun, with its ``hydra`` node.
        arguments: The overrides of the command line.
        seeds: The seeds to run.
        parser: Hydra's parser, with a config loader.

    Raises:
        ConfigError: If the factors are malformed, or not what the design can vary.
    """
    factors, design = read_factors(cfg), str(cfg.hydra.sweeper.design)
    for one in factors:
        if len(one.levels) > 2 and design != "one_at_a_time":
            raise ConfigError(
                f"factors.{one.name}=[{','.join(one.levels)}]: ablation={design} takes two levels; expected: [OFF, ON], or "
                "ablation=one_at_a_time"
            )
    rows = configurations(design, [len(one.levels) or 2 for one in factors])
    params = [f"{key}={values}" for key, values in (cfg.hydra.sweeper.params or {}).items()]
    (shared,) = BasicSweeper.split_arguments(parser.parse_overrides([*params, *arguments]), max_batch_size=None)
    return [[f"seed={seed}", *_configuration(factors, row), *rest] for seed in seeds for row in rows for rest in shared]


def _configuration(factors: Sequence[Factor], row: Sequence[int]) -> list[str]:
    """The overrides that set each factor to its level."""
    on = [one.name for one, level in zip(factors, row, strict=True) if one.is_hypothesis and level]
    others = [f"{one.name}={one.levels[level]}" for one, level in zip(factors, row, strict=True) if not one.is_hypothesis]
    return [f"hypotheses=[{','.join(on)}]", *others]


def read_seeds(cfg: DictConfig) -> list[Any]:
    """The seeds of an ablation. Their types are checked with the config of each job.

    Raises:
        ConfigError: If there are none, or one is there twice.
    """
    seeds = cfg.get("seeds")
    if not isinstance(seeds, ListConfig) or not seeds:
        raise ConfigError(f"seeds={'null' if seeds is None else seeds}: should be a list; expected: seeds=1,2")
    typed = list(map(str, seeds))
    if twice := next((one for one in typed if typed.count(one) > 1), None):
        raise ConfigError(f"seeds={','.join(typed)}: {twice} is listed twice; expected: each seed once")
    return typed


def read_factors(cfg: DictConfig) -> list[Factor]:
    """The factors of an ablation: the hypotheses in ``ablated``, then those in ``factors``.

    Args:
        cfg: The config of the multirun, with its ``hydra`` node.

    Raises:
        ConfigError: If they are malformed.
    """
    ablated, mapping = cfg.get("ablated"), cfg.get("factors")
    if not isinstance(ablated, ListConfig):
        raise ConfigError(
            f"ablated={'null' if ablated is None else ablated}: should be a list; expected: hypotheses=[h1,h4]"
        )
    factors = [Factor(str(name)) for name in ablated]
    if mapping is not None:
        if not isinstance(mapping, DictConfig):
            raise ConfigError(f"factors={truncate(mapping)}: should be names with their levels; expected: {EXAMPLE}")
        try:
            plain: Any = OmegaConf.to_container(mapping, resolve=True)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{error.full_key or 'factors'}: {str(error).splitlines()[0]}") from error
        factors += [Factor(str(name), _levels(str(name), levels)) for name, levels in plain.items()]
    if not factors:
        raise ConfigError(
            f"ablation={cfg.hydra.sweeper.design}: nothing to vary; expected: hypotheses=[h1,h4], or {EXAMPLE}"
        )
    return factors


def _levels(name: str, levels: Any) -> tuple[str, ...]:
    given = f"factors.{name}={truncate(levels)}"
    if not isinstance(levels, list) or len(levels) < 2:
        raise ConfigError(
            f"{given}: should be two levels or more, of which the first is off; expected: {{{name}: [OFF, ON]}}"
        )
    typed = tuple(map(_typed, levels))
    if len(set(typed)) < len(typed):
        raise ConfigError(f"{given}: a level is listed twice; expected: each once")
    return typed


def _typed(value: Any) -> str:
    """A value as it is typed in an override."""
    if not isinstance(value, str):
        text: str = Override._get_value_element_as_str(value)
        return text
    try:
        as_read = OverridesParser.create().parse_override(f"key={value}").value()
    except OverrideParseException:
        as_read = None
    return value if as_read == value else quoted(value)


def check_factors(cfg: DictConfig, parsed: Sequence[Override], folders: Sequence[Path]) -> None:
    """Check the factors of an ablation against each other and against the command line.

    Args:
        cfg: The config of the multirun, with its ``hydra`` node.
        parsed: The overrides of the command line.
        folders: Config folders.

    Raises:
        ConfigError: If a factor is unknown, can't be one, is set twice, or is also set on the command line.
    """
    for one in parsed:
        if one.key_or_group == "factors" and (name := _repeated(str(one.input_line).partition("=")[2])):
            raise ConfigError(f"factors: {name} is a factor twice; expected: once, with all its levels")
    factors = read_factors(cfg)
    hypotheses = [one.name for one in factors if one.is_hypothesis]
    others = [one.name for one in factors if not one.is_hypothesis]
    _check_hypotheses(hypotheses, folders)
    ignored = list(cfg.identity.ignored_keys)
    for name in others:
        if name in _NO_FACTORS or not re.fullmatch(r"[A-Za-z_][\w/-]*(\.[\w-]+)*", name):
            raise ConfigError(f"factors.{name}: can't be a factor; expected: a config group or a key, as in {EXAMPLE}")
        if not overrides_with_effect([f"{name}="], ignored):
            raise ConfigError(
                f"factors.{name}: does not change the result (identity.ignored_keys); expected: a group or key that does"
            )
    for factor in factors:
        _check_choices(factor, folders)
    design = str(cfg.hydra.sweeper.design)
    _check_groups(design, hypotheses, others, folders)
    varied = {"seed", "hypotheses", *others}
    if hypotheses:  # which are added to the baseline; other factors may vary any recipe
        varied |= {"experiment", *(group for name in hypotheses for group in _groups(folders, name))}
    for one in parsed:
        if one.key_or_group in varied:
            raise ConfigError(
                f"{one.input_line}: ablation={design} sets that; expected: seeds=1,2 and options that all runs share, "
                "e.g. model=whisper or trainer.num_train_epochs=5"
            )


def _check_choices(factor: Factor, folders: Sequence[Path]) -> None:
    """Refuse a level that names no choice of the factor's group, such as a number. Hydra checks the other names."""
    known = sorted({path.stem for folder in folders for path in (folder / factor.name).glob("*.yaml")})
    for level in factor.levels if known else ():
        value = OverridesParser.create().parse_override(f"{factor.name}={level}").value()
        if not isinstance(value, str | list):
            raise ConfigError(f"{factor.name}={level}: no such choice; expected: {', '.join(known)}")


def _repeated(text: str) -> str | None:
    """A key that a typed mapping has twice; parsed, it has only one of them."""
    text = re.sub(r"'(\\.|[^'])*'|\"(\\.|[^\"])*\"", "", text).strip()[1:-1]
    while (shorter := re.sub(r"\[[^][{}]*\]|\{[^][{}]*\}", "", text)) != text:
        text = shorter
    names = [part.partition(":")[0].strip() for part in text.split(",")]
    return next((name for name in names if name and names.count(name) > 1), None)


def _check_hypotheses(names: Sequence[str], folders: Sequence[Path]) -> None:
    if len(names) != len(set(names)):
        raise ConfigError(f"ablated={list(names)}: a hypothesis is listed twice; expected: each once")
    known = sorted({path.stem for folder in folders for path in (folder / "hypotheses").glob("*.yaml")})
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"hypotheses=[{unknown[0]}]: no such choice; expected: {', '.join(known)}")


def _groups(folders: Sequence[Path], hypothesis: str) -> Iterator[str]:
    for group in sorted(overridden_groups(folders, hypothesis)):
        yield group.lstrip("/")


def _check_groups(design: str, hypotheses: Sequence[str], others: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuse factors that set the same group: Hydra would silently use only one of them."""
    owners: dict[str, str] = {}
    for name in hypotheses:
        for group in _groups(folders, name):
            if group in owners and design != "one_at_a_time":  # where they are never on together
                raise ConfigError(
                    f"ablated=[{','.join(hypotheses)}]: {owners[group]} and {name} both override {group}; expected: one of "
                    "them, or ablation=one_at_a_time"
                )
            owners[group] = name
    for name in others:
        group = name.partition(".")[0]
        if group in owners:
            raise ConfigError(
                f"factors.{name}: {owners[group]} overrides {group} too; expected: either the factor or the hypothesis "
                f"{owners[group]}"
            )
