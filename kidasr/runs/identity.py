"""When two runs are the same experiment, and names derived from that.

Two runs are the same experiment if their configs differ only in keys that do not change the result. They have the same
configuration if they differ only in those keys and the seed. The keys that do not change the result are listed in
``conf/config.yaml`` (``identity.ignored_keys``). The list is part of each run's config, so a run folder records the list
that was used. Keys that change what is scored but not what is trained (``identity.measured_keys``) make another experiment
but not another configuration: see :func:`kidasr.evidence.runs.name_configurations`.

Run folders, the names of runs and sweeps, ``resume=latest`` and comparisons all rely on this module alone.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

#: Maximum length of a name, and of a word in it, in characters.
LONGEST_NAME, LONGEST_WORD = 160, 48

#: Length of the checksum at the end of a name, in characters.
DIGEST = 8


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as stored in ``config.json``: plain values, interpolations resolved, None for missing values.

    Hydra's own node is left out. The job node keeps only its ``_target_``: its other keys repeat the groups or name the run
    folder.
    """
    plain: dict[str, Any] = {}
    for key in map(str, cfg):
        if key == "hydra":
            continue
        value = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        if key == "job" and isinstance(value, Mapping):
            plain[key] = {"_target_": OmegaConf.select(cfg, "job._target_")}
        else:
            plain[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    as_read: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return as_read


def ignored_keys(config: Mapping[str, Any]) -> frozenset[str]:
    """The keys that do not change the result, from a config's own list; empty if it has none.

    Args:
        config: A config as stored in ``config.json``.
    """
    return _listed(config, "ignored_keys")


def measured_keys(config: Mapping[str, Any]) -> frozenset[str]:
    """The keys that change what is scored but not what is trained, from a config's own list; empty if it has none."""
    return _listed(config, "measured_keys")


def _listed(config: Mapping[str, Any], name: str) -> frozenset[str]:
    node = config.get("identity")
    keys = node.get(name) if isinstance(node, Mapping) else None
    return frozenset(map(str, keys)) if isinstance(keys, list) else frozenset()


def identity(config: Mapping[str, Any], ignored: Collection[str] | None = None) -> dict[str, Any]:
    """Every value that can change the result, by its dotted key: ``{"optim.learning_rate": 1e-5, "seed": 1, ...}``.

    Args:
        config: A config as stored in ``config.json``; :func:`resolved` converts a composed one.
        ignored: Keys that do not change the result, including all keys below them, or KEY:VALUE for those that do not
            change it at this value; None for the config's own list.
    """
    ignored = ignored_keys(config) if ignored is None else ignored
    leaves = _leaves(config, "")
    return {key: value for key, value in leaves if _can_change_result(key, ignored) and f"{key}:{value}" not in ignored}


def configuration(config: Mapping[str, Any], ignored: Collection[str] | None = None) -> dict[str, Any]:
    """The identity without the seed. Runs with the same configuration are repetitions. Arguments: see :func:`identity`."""
    return {key: value for key, value in identity(config, ignored).items() if key != "seed"}


def is_same_experiment(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a recorded and a wanted config are the same experiment, ignoring the keys that the wanted one lists."""
    ignored = ignored_keys(wanted)
    return identity(recorded, ignored) == identity(wanted, ignored)


def overrides_with_effect(typed: Iterable[str], ignored: Collection[str]) -> list[str]:
    """The overrides that can change the result, unchanged.

    Args:
        typed: Overrides: ``key=value`` or ``group=choice``, with or without ``+`` and ``~``.
        ignored: Keys that do not change the result.
    """
    return [one for one in typed if _can_change_result(key_of(one), ignored)]


def key_of(override: str) -> str:
    """The key or group of an override."""
    return override.lstrip("+~").partition("=")[0]


def _can_change_result(key: str, ignored: Collection[str]) -> bool:
    """Whether a key or group is neither ignored nor below an ignored one."""
    dotted = key.split("@")[0].replace("/", ".")
    if dotted.startswith("job."):
        return dotted == "job._target_"
    return not any(dotted == name or dotted.startswith(f"{name}.") for name in ignored)


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def run_name(cfg: DictConfig, base: DictConfig) -> str:
    """A run's name in a sweep: ``augment=specaugment+augment.freq_mask_param=27-1f3a9c0d``.

    The words are the overrides that make a difference. The checksum at the end is computed from all values that differ from
    the base, so ``5e-5`` and ``0.00005`` give the same checksum.

    Args:
        cfg: The run's config, with its ``hydra`` node.
        base: The config without overrides, with its ``hydra`` node.
    """
    plain = resolved(cfg)
    ignored = ignored_keys(plain)
    ours, theirs = identity(plain, ignored), identity(resolved(base), ignored)
    differs = {
        key: ours.get(key) for key in {*ours, *theirs} if key not in ours or key not in theirs or ours[key] != theirs[key]
    }
    typed = [str(one) for one in cfg.hydra.overrides.task]
    words = [one for one in overrides_with_effect(typed, ignored) if _makes_a_difference(one, cfg, base)]
    return _name(words, differs)


def sweep_name(typed: Iterable[str], ignored: Collection[str]) -> str:
    """A sweep's name: the overrides without seeds and swept values, so that adding seeds or values extends the same sweep.

    The name of a search contains all overrides, because a study has one search space and one seed. The name of an ablation
    contains its factors, because other factors make another design.

    Args:
        typed: The overrides of the command line.
        ignored: Keys that do not change the result.
    """
    typed = list(typed)
    sweepers = [one for one in typed if key_of(one) == "hydra/sweeper"]
    words = [one for one in overrides_with_effect(typed, ignored) if one not in sweepers]
    if sweepers:
        words += sweepers
        return _name(sorted(words), sorted(words))
    parser = OverridesParser.create()
    words = [
        key_of(one) if parser.parse_override(one).is_sweep_override() else one for one in words if key_of(one) != "seed"
    ]
    varied = [parser.parse_override(one) for one in typed if key_of(one) in ("factors", "ablated")]
    if "ablation=screening" not in typed and not any(one.key_or_group == "factors" for one in varied):
        varied = []  # in the other designs, more hypotheses extend the sweep
    content = [*words, *(f"{one.key_or_group}={one.get_value_element_as_str()}" for one in varied)]
    for one in varied:
        names = one.value()
        if isinstance(names, dict | list) and names:
            words.append(f"{one.key_or_group}={'+'.join(map(str, names))}")
    return _name(sorted(words), sorted(content))


def digest_of(name: str) -> str:
    """The checksum at the end of a run's name."""
    return name[-DIGEST:]


def words_of(name: str) -> str:
    """A name without its checksum. A name chosen by the user has none and is returned unchanged."""
    return re.sub(rf"-[0-9a-f]{{{DIGEST}}}$", "", name)


def _makes_a_difference(override: str, cfg: DictConfig, base: DictConfig) -> bool:
    key, _, value = override.lstrip("+~").partition("=")
    if key in base.hydra.runtime.choices:
        return str(base.hydra.runtime.choices[key]) != value
    if "/" in key or override.startswith("~"):
        return True
    if key == "hypotheses":
        return bool(value.strip("[] "))
    return bool(OmegaConf.select(cfg, key) != OmegaConf.select(base, key))


def _name(words: Iterable[str], content: Any) -> str:
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:DIGEST]
    # Group choices and the seed first, then single values: a long name is cut at the end.
    ordered = sorted(words, key=lambda one: ("." in key_of(one), one))
    plain = "+".join(filter(None, map(_word, ordered))) or "default"
    return f"{plain[:LONGEST_NAME].rstrip('+=.-')}-{checksum}"


def _word(override: str) -> str:
    """An override without characters that are special to a shell or to Hydra; only the last part of a path is kept."""
    key, _, value = override.lstrip("+~").partition("=")
    key = re.sub(r"^augment\.\w+\.", "augment.", key)  # the short form
    value = value.rstrip("/").rpartition("/")[2]
    word = key if not value else f"{key}={value}" if key != "hypotheses" else value
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", word).strip("-")[:LONGEST_WORD]
