"""Formats of corpora: one module each, which defines a subclass of :class:`~kidasr.corpus.formats.format.Format`.

A module that is added to this package is found by itself.
"""

import importlib
import os
import pkgutil
from functools import cache
from pathlib import Path

from kidasr.corpus.formats.format import Format, ManifestError, joined
from kidasr.errors import truncate


@cache
def formats() -> tuple[Format, ...]:
    """All formats; those that take any file of their type come last."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    # By name, not in the order of imports.
    return tuple(sorted((one() for one in Format.__subclasses__()), key=lambda one: (one.is_general, one.__module__)))


def format_of(name: str) -> Format:
    """The format of a manifest, a folder or a data set.

    Raises:
        ManifestError: If there is no such file or folder, or it is in no known format; says which formats there are.
        OSError: If the path can't be looked up.
    """
    for one in formats():
        if one.recognises(name):
            return one
    path = Path(name)
    if manifests := _manifests_in(path):
        raise ManifestError(f"{truncate(name)}: a folder; expected: a manifest in it: {joined(manifests)}")
    what = (
        "no such file or folder"
        if not path.exists()
        else "a folder in no known format"
        if path.is_dir()
        else "unknown file type"
        if path.is_file()
        else "neither a file nor a folder"
    )
    raise ManifestError(
        f"{truncate(name)}: {what}; expected: {'; '.join(one.expected for one in formats() if one.expected)}"
    )


def _manifests_in(folder: Path) -> list[str]:
    """What may be meant by a folder that is in no known format: the manifests that lie in it."""
    try:
        names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208, a Path is slower
    except OSError:
        return []
    return [str(folder / one) for one in names if one.lower().removesuffix(".gz").endswith((".jsonl", ".csv", ".tsv"))]
