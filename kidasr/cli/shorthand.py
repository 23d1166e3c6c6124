"""What may be typed shorter than Hydra would have it, written out before Hydra sees it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from kidasr.errors import KidasrError

_FLAGS = ("--multirun", "-m", "--help", "-h")


def written_out(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """A command line as Hydra takes it.

    - ``seeds=1,2`` is a list: every configuration of an ablation with each seed, not an ablation for each;
    - beside ``ablation=``, ``hypotheses=[h1,h4]`` says what is switched;
    - ``augment.freq_mask_param=27`` is the key of the augmentation that has it, ``augment.specaugment.freq_mask_param``;
    - flags come first: after an override, Hydra takes them for words that it does not know.

    Args:
        arguments: Without the program's name.
        folders: Of configs: kidasr's, and that of ``--config-dir``.

    Raises:
        KidasrError: For a key that several augmentations have.
    """
    has_design = any(one.startswith("ablation=") and one != "ablation=none" for one in arguments)
    keys = augmentations(folders)
    out = []
    for one in arguments:
        one = re.sub(r"^(seeds|ablated)=([^\[\]]+)$", r"\1=[\2]", one)
        if has_design:
            one = re.sub(r"^hypotheses=\[?([^\[\]]*)\]?$", r"ablated=[\1]", one)
        out.append(_augmentation_key(one, keys))
    return sorted(out, key=lambda one: one not in _FLAGS)


def _augmentation_key(argument: str, keys: dict[str, set[str]]) -> str:
    match = re.match(r"(\+*)augment\.(\w+)(=.*)$", argument, re.DOTALL)
    if not match or match[2] in keys:
        return argument
    owners = sorted(name for name, known in keys.items() if match[2] in known)
    if len(owners) > 1:
        raise KidasrError(
            f"augment.{match[2]}: {len(owners)} augmentations have this key; expected: "
            + " or ".join(f"augment.{name}.{match[2]}" for name in owners)
        )
    return f"{match[1]}augment.{owners[0]}.{match[2]}{match[3]}" if owners else argument


def augmentations(folders: Sequence[Path]) -> dict[str, set[str]]:
    """The keys of every augmentation in ``conf/augment``, by its name."""
    found: dict[str, set[str]] = {}
    for content in _contents(folders, "augment"):
        for name, one in (content.get("augment") or {}).items():
            if isinstance(one, dict):
                found.setdefault(str(name), set()).update(map(str, one))
    return found


def augmentation_keys(folders: Sequence[Path]) -> list[str]:
    """The keys of all of them."""
    return sorted(set().union(*augmentations(folders).values()) - {"_target_"})


def overridden_groups(folders: Sequence[Path], hypothesis: str) -> set[str]:
    """The groups in which a hypothesis makes the choice: of two such hypotheses, Hydra would pass over one."""
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
    """A config as it stands; nothing where it can't be read, which Hydra says if it is chosen."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, ValueError):
        return
    if isinstance(content, dict):
        yield {str(key): value for key, value in content.items()}
