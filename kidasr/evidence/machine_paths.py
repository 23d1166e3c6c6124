"""Configs and texts without the paths of a machine, for others to read."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: An absolute path of two parts or more within a text, such as a command.
ABSOLUTE = re.compile(r"(?<![\w./~])/[^\s,;:'\"{}\[\]()/]+/[^\s,;:'\"{}\[\]()]+")


def without_machine_paths(content: Any) -> Any:
    """The same with absolute paths, also within texts, relative to the current folder, or names if they lead elsewhere."""
    if isinstance(content, Mapping):
        return {key: without_machine_paths(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_machine_paths(value) for value in content]
    if isinstance(content, str):
        return (
            _relative(content) if Path(content).is_absolute() else ABSOLUTE.sub(lambda found: _relative(found[0]), content)
        )
    return content


def _relative(path: str) -> str:
    relative = Path(os.path.relpath(path))
    return str(relative) if relative.parts.count("..") < 2 else relative.name
