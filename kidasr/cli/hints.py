"""What to type instead of what Hydra can't read."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from kidasr.config.aliases import alias_of

_OVERRIDE = re.compile(r"(?P<key>[+~]{0,2}[\w.@/-]+)=(?P<value>.*)", re.DOTALL)

#: A value in a list, or in a mapping after its key.
_ITEM = re.compile(r"(?P<before>[\[,{]\s*(?:[\w./-]+\s*:\s*)?)(?P<item>[^\[\]{},'\"\s][^\[\]{},'\"]*?)(?=\s*[\],}])")


def in_quotes(override: str, is_multirun: bool) -> str | None:
    """An override that Hydra can't parse, with quotes around what needs them, as a shell takes it; None if that is no help.

    Args:
        override: As Hydra got it: ``data.train=/home/J\u00fcrgen/t.jsonl``.
        is_multirun: Whether commas separate values.
    """
    match = _OVERRIDE.fullmatch(override)
    if match is None:
        return None
    value = re.sub(r"^~(?=/|$)", lambda _: str(Path.home()), match["value"])
    if value.startswith(("[", "{")):
        typed = _ITEM.sub(lambda one: one["before"] + _quoted(one["item"]), value)
    elif is_multirun and "," in value:
        typed = ",".join(map(_quoted, value.split(",")))
    else:
        typed = _quoted(value.strip("'\""), always=True)
    whole = f"{match['key']}={typed}"
    return shlex.quote(whole) if _parses(whole) else None


def _quoted(value: str, always: bool = False) -> str:
    if not always and _parses(f"key={value}"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def instead_of_a_flag(flag: str, following: Sequence[str]) -> str:
    """What to type instead of a flag that does not exist: ``optim.learning_rate=1e-5`` for ``--lr 1e-5``.

    Args:
        flag: The flag, with or without ``=`` and a value.
        following: The words after it.
    """
    name, equals, value = flag.lstrip("-").partition("=")
    key = alias_of(name) or name.replace("-", "_")
    if "=" in key:
        return key
    if not equals and following and not following[0].startswith("-") and "=" not in following[0]:
        value = following[0]
    return f"{key}={value or '...'}"


def instead_of_a_choice(group: str, choice: str) -> str | None:
    """What to type instead of a path or a name on the hub that was given as a choice of a group."""
    if group == "model":
        return f"model=whisper model.name_or_path={choice}"
    if group == "data":
        return f"data=manifest data.train={choice}"
    return None
