"""Shorthand of the command line, expanded before Hydra parses it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from kidasr.errors import KidasrError

_FLAGS = ("--multirun", "-m", "--help", "-h")


def written_out(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Expand a command line to Hydra's syntax.

    - ``seeds=1,2`` becomes a list: one ablation with both seeds, not one ablation per seed.
    - With ``ablation=``, ``hypotheses=[h1,h4]`` sets the hypotheses to vary (``ablated``); with ``factors=`` alone, none.
    - ``data.tests='{kids: K.jsonl}'`` and ``data.tests.kids=K.jsonl`` add a set, which Hydra would take for a typing error;
      with ``{}`` there is none.
    - ``augment.freq_mask_param=27`` becomes ``augment.specaugment.freq_mask_param=27``: the augmentation that has the key,
      or if several have it, the one in ``augment=``.
    - Flags are moved to the front: Hydra does not recognise them after an override.

    Args:
        arguments: The command line without the program's name.
        folders: Config folders: kidasr's, and that of ``--config-dir``.

    Raises:
        KidasrError: If several augmentations have the key.
    """
    # A run of an ablation that is started in several processes has hypotheses of its own.
    has_design = "hydra.mode=RUN" not in arguments and any(
        one.startswith("ablation=") and one != "ablation=none" for one in arguments
    )
    keys = augmentations(folders)
    choices = next((one.partition("=")[2] for one in reversed(arguments) if one.startswith("augment=")), "")
    chosen = set(re.findall(r"\w+", choices))
    out = []
    for one in arguments:
        one = re.sub(r"^(seeds|ablated)=([^\[\]]+)$", r"\1=[\2]", one)
        one = re.sub(r"^(data\.tests(?:\.[\w-]+)?=)", r"++\1", re.sub(r"^data\.tests=\{\s*\}$", "data.tests=null", one))
        if has_design:
            one = re.sub(r"^hypotheses=\[?([^\[\]]*)\]?$", r"ablated=[\1]", one)
        if one.startswith("factors="):
            one = re.sub(
                r"(?<=[{,\s])augment\.\w+(?=\s*:)", lambda key: _augmentation_key(f"{key[0]}=", keys, chosen)[:-1], one
            )
        out.append(_augmentation_key(one, keys, chosen))
    typed = {one.partition("=")[0] for one in out}
    if has_design and "factors" in typed and "ablated" not in typed:
        out.append("ablated=[]")
    return sorted(out, key=lambda one: one not in _FLAGS)


def _augmentation_key(argument: str, keys: dict[str, set[str]], chosen: set[str]) -> str:
    match = re.match(r"(\+*)augment\.(\w+)(=.*)$", argument, re.DOTALL)
    if not match or match[2] in keys:
        return argument
    owners = sorted(name for name, known in keys.items() if match[2] in known)
    owners = [name for name in owners if name in chosen] or owners
    if len(owners) > 1:
        raise KidasrError(
            f"augment.{match[2]}: {len(owners)} augmentations have this key; expected: "
            + " or ".join(f"augment.{name}.{match[2]}" for name in owners)
        )
    return f"{match[1]}augment.{owners[0]}.{match[2]}{match[3]}" if owners else argument


def augmentations(folders: Sequence[Path]) -> dict[str, set[str]]:
    """The keys of each augmentation in ``conf/augment``, by its name."""
    found: dict[str, set[str]] = {}
    for content in _contents(folders, "augment"):
        for name, one in (content.get("augment") or {}).items():
            if isinstance(one, dict):
                found.setdefault(str(name), set()).update(map(str, one))
    return found


def augmentation_keys(folders: Sequence[Path]) -> list[str]:
    """The keys of all augmentations."""
    return sorted(set().union(*augmentations(folders).values()) - {"_target_"})


def overridden_groups(folders: Sequence[Path], hypothesis: str) -> set[str]:
    """The groups that a hypothesis overrides. If two override the same group, Hydra silently ignores one."""
    groups = set()
    for folder in folders:
        for content in _read(folder / "hypotheses" / f"{hypothesis}.yaml"):
            for default in content.get("defaults") or []:
                if isinstance(default, dict):
                    groups |= {str(key).removeprefix("override ") for key in default if str(key).startswith("override ")}
    return groups


def _contents(folders: Sequence[Path], group: str) -> Iterator[dict[str, Any]]:
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            yield from _read(path)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a config file, unresolved. Nothing if it can't be read: Hydra reports that if the file is chosen."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, ValueError):
        return
    if isinstance(content, dict):
        yield {str(key): value for key, value in content.items()}
