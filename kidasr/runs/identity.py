"""What a run is, as a name: how its config differs from the config of ``python run.py``.

The same experiment has the same name however it is typed, so that it is found again.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

#: Keys that do not change what a run finds out: where it is logged, how it is reported, how fast it computes.
IGNORED_KEYS = (
    "job",
    "resume",
    "overwrite",
    "seeds",
    "baseline",
    "runs",
    "sweep",
    "logger",
    "report",
    "hydra",
    "trainer.num_processes",
    "trainer.num_nodes",
    "trainer.num_threads",
    "trainer.dataloader_num_workers",
    "trainer.per_device_eval_batch_size",
    "data.cache_sec",
    "data.decode_check_sec",
)

#: Characters of a name, and of a part of it.
LONGEST_NAME, LONGEST_WORD = 160, 48

#: Characters of the checksum at the end of a name, which tells runs apart.
DIGEST = 8


def is_result_key(key: str) -> bool:
    """Whether a key of the config, with its dots or its slashes, can change what a run finds out."""
    dotted = key.lstrip("+~").split("@")[0].replace("/", ".")
    return not any(dotted == name or dotted.startswith(f"{name}.") for name in IGNORED_KEYS)


def what_is_run(cfg: DictConfig) -> dict[str, Any]:
    """Every value that can change the result, by its dotted key; interpolations filled in."""
    plain: dict[str, Any] = {}
    for key in map(str, cfg):
        if is_result_key(key):
            value = cfg[key] if not OmegaConf.is_missing(cfg, key) else None
            plain[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    return flat(plain)


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a nested config that can change the result, by dotted key."""
    return {key: value for key, value in _leaves(config, "") if is_result_key(key)}


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def run_name(cfg: DictConfig, base: DictConfig) -> str:
    """A run's name in a sweep: ``augment=specaugment+augment.freq_mask_param=27-1f3a9c0d``.

    Words are what was typed and made a difference. The checksum at the end is of all values that differ from the base, so
    that ``5e-5`` and ``0.00005`` are one.

    Args:
        cfg: The run's config, with its ``hydra`` node.
        base: The config that nothing was typed for, with its ``hydra`` node.
    """
    ours, theirs = what_is_run(cfg), what_is_run(base)
    differs = {
        key: ours.get(key) for key in {*ours, *theirs} if key not in ours or key not in theirs or ours[key] != theirs[key]
    }
    typed = [str(one) for one in cfg.hydra.overrides.task]
    words = [one for one in typed if is_result_key(_key(one)) and _makes_a_difference(one, cfg, base)]
    return _name(words, differs)


def sweep_name(typed: Iterable[str]) -> str:
    """A sweep's name: what was typed, but for seeds and for values that are swept: with more of them it is the same sweep.

    Of a search, whose study is of one space and one seed, all that was typed.
    """
    typed = list(typed)
    is_search = any(_key(one) == "hydra/sweeper" for one in typed)
    parser = OverridesParser.create()
    words = []
    for one in typed:
        key = _key(one)
        if is_search and (is_result_key(key) or key == "hydra/sweeper"):
            words.append(one)
        elif is_result_key(key) and key != "seed":
            words.append(key if parser.parse_override(one).is_sweep_override() else one)
    return _name(sorted(words), sorted(words))


def digest_of(name: str) -> str:
    """The checksum at the end of a run's name."""
    return name[-DIGEST:]


def words_of(name: str) -> str:
    """A name without its checksum; all of one that the user gave."""
    return re.sub(rf"-[0-9a-f]{{{DIGEST}}}$", "", name)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _makes_a_difference(override: str, cfg: DictConfig, base: DictConfig) -> bool:
    key, _, value = override.lstrip("+~").partition("=")
    if key in base.hydra.runtime.choices:
        return str(base.hydra.runtime.choices[key]) != value
    if "/" in key or override.startswith("~"):
        return True
    if key == "hypotheses":
        return bool(value.strip("[] "))
    return bool(OmegaConf.select(cfg, key) != OmegaConf.select(base, key))


def _name(words: Iterable[str], identity: Any) -> str:
    checksum = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:DIGEST]
    # Choices of groups and the seed first, then single values, of which a long name is cut.
    ordered = sorted(words, key=lambda one: ("." in _key(one), one))
    plain = "+".join(filter(None, map(_word, ordered))) or "default"
    return f"{plain[:LONGEST_NAME].rstrip('+=.-')}-{checksum}"


def _word(override: str) -> str:
    """An override in characters that neither a shell nor Hydra takes for anything; of a path, its end."""
    key, _, value = override.lstrip("+~").partition("=")
    value = value.rstrip("/").rpartition("/")[2]
    word = key if not value else f"{key}={value}" if key != "hypotheses" else value
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", word).strip("-")[:LONGEST_WORD]
