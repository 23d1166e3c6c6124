"""The runs of a published comparison (``job=publish``): their configs, and errors by speaker instead of transcripts.

A run has no folder there. ``FOLDER/1``, ``FOLDER/2``, ... stand for the runs in ``configs.yaml``, in its order; the rows of
``speakers.csv`` and ``curves.csv`` have the same numbers.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kidasr.errors import KidasrError
from kidasr.evidence.by_speaker import COUNTS, with_rows, without_arrays
from kidasr.evidence.runs import Run

CONFIGS, SPEAKERS, CURVES = "configs.yaml", "speakers.csv", "curves.csv"

#: The columns of ``speakers.csv``.
COLUMNS = ("run", "set", "configuration", "seed", "speaker", "age", *COUNTS)

#: What ``curves.csv`` has of each entry of a run's log, where it is there.
LOGGED = ("step", "epoch", "loss", "learning_rate", "eval_loss", "eval_wer")

#: The columns of ``curves.csv``.
CURVE_COLUMNS = ("run", "configuration", "seed", *LOGGED)


def is_published(folder: Path) -> bool:
    """Whether a folder holds a published comparison whose runs can be read."""
    return (folder / CONFIGS).is_file() and (folder / SPEAKERS).is_file()


def is_published_run(path: Path) -> bool:
    """Whether a path stands for a run of a published comparison."""
    return path.name.isdigit() and not path.is_dir() and is_published(path.parent)


def published_runs(folder: Path) -> list[Path]:
    """The paths that stand for the runs of a published comparison.

    Raises:
        KidasrError: If its files can't be read.
    """
    return [folder / str(number) for number in range(1, len(_content(folder)["runs"]) + 1)]


def published_sets(path: Path) -> list[str]:
    """The sets that a published run was scored on; validation comes first."""
    return sorted(_entry(path)["said"], key=lambda name: (name != "validation", name))


def published_level(folder: Path) -> float:
    """The level at which a published comparison was judged."""
    return float(_content(folder)["level"])


def read_published(path: Path, set_name: str) -> Run:
    """A published run on a set. Each entry of its arrays is the sum of a speaker's utterances at an age.

    Args:
        path: A path of :func:`published_runs`.
        set_name: The set.

    Raises:
        KidasrError: If there is no such run, it was not scored on the set, or the files can't be read.
    """
    content, entry = _content(path.parent), _entry(path)
    if set_name not in entry["said"]:
        known = ", ".join(f"on={name}" for name in published_sets(path))
        raise KidasrError(f"{path}: not scored on {set_name!r}; expected: {known}")
    file = path.parent / SPEAKERS
    rows = _read_sums(file, file.stat().st_mtime_ns).get((int(path.name), set_name))
    if not rows:
        raise KidasrError(f"{file}: no rows of run {path.name} on {set_name}; expected: those of every run in {CONFIGS}")
    config: dict[str, Any] | None = None
    if entry["job"] is not None:
        config = {"identity": content["identity"]}
        for key, value in {**content["shared"].get(entry["job"], {}), **entry["differs"]}.items():
            _insert(config, key.split("."), value)
        if factors := entry.get("factors") or content.get("factors"):
            config["factors"] = factors
    typed = entry["typed"]
    before = {name: {"zero_shot": {"wer": rate}} for name, rate in entry["before"].items()}
    sums = without_arrays(
        said=entry["said"][set_name],
        losses={int(step): checksum for step, checksum in (one.split(":") for one in entry["training"].split())},
        folder=entry["folder"],
        hours=entry["hours"],
        choice=entry["choice"],
        made_by=content["made_by"],
    )
    run = Run(
        folder=str(path),
        config=config,
        overrides=None if typed is None else frozenset([*content["typed"], *typed]),
        seed=entry["seed"],
        metrics={**before.get("validation", {}), **entry["facts"], "tests": before, **_history(path)},
        utterance_ids=[],
        speakers=np.array([]),
        ages=np.array([]),
        references=[],
        hypotheses=[],
        audio_paths=[],
        raw_references=[],
        raw_hypotheses=[],
        words=np.array([]),
        characters=np.array([]),
        kinds=np.array([]),
        character_errors=np.array([]),
        set_name=set_name,
        sums=sums,
    )
    return with_rows(run, rows)


def _history(path: Path) -> dict[str, list[dict[str, float]]]:
    """The log of a published run, where it is published."""
    file = path.parent / CURVES
    rows = _read_curves(file, file.stat().st_mtime_ns).get(int(path.name)) if file.is_file() else None
    return {"history": rows} if rows else {}


def _insert(node: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = value


def _entry(path: Path) -> Mapping[str, Any]:
    runs = _content(path.parent)["runs"]
    if not 1 <= int(path.name) <= len(runs):
        raise KidasrError(f"{path}: no such run; expected: {path.parent}/1 to {len(runs)}")
    entry: Mapping[str, Any] = runs[int(path.name) - 1]
    return entry


def _content(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIGS
    return _read_configs(path, path.stat().st_mtime_ns)


#: The keys of ``configs.yaml`` and of each of its runs, with the types of their values.
_KEYS = {"made_by": dict, "level": float, "typed": list, "identity": dict, "shared": dict, "runs": list}
_KEYS_OF_RUN: dict[str, Any] = {
    "configuration": str,
    "folder": str,
    "seed": (int, type(None)),
    "typed": (list, type(None)),
    "hours": (int, float, type(None)),
    "training": str,
    "choice": (dict, type(None)),
    "said": dict,
    "before": dict,
    "facts": dict,
    "job": (str, type(None)),
    "differs": dict,
}


@lru_cache(maxsize=8)
def _read_configs(path: Path, modified_ns: int) -> Mapping[str, Any]:
    expected = "expected: what job=publish wrote"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise KidasrError(f"{path}: can't be read: {' '.join(str(error).split())}; {expected}") from error
    _check(path, "", content, _KEYS)
    for number, one in enumerate(content["runs"]):
        _check(path, f"runs[{number}].", one, _KEYS_OF_RUN)
        if not re.fullmatch(r"(\d+:\w+ ?)*", one["training"]):
            raise KidasrError(f"{path}: runs[{number}].training: should be steps with checksums; {expected}")
    return dict(content)


def _check(path: Path, where: str, content: Any, keys: Mapping[str, Any]) -> None:
    for key, kind in keys.items():
        value = content.get(key) if isinstance(content, Mapping) else None
        if not isinstance(content, Mapping) or key not in content or not isinstance(value, kind):
            raise KidasrError(f"{path}: {where}{key}: missing or of another type; expected: what job=publish wrote")


@lru_cache(maxsize=8)
def _read_sums(path: Path, modified_ns: int) -> Mapping[tuple[int, str], Sequence[tuple[Any, ...]]]:
    """The rows of each run on each set: speaker, age and :data:`COUNTS`."""
    found: dict[tuple[int, str], dict[tuple[str, str], tuple[Any, ...]]] = {}
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                line += 1
                speaker, age = _as_it_was(row["speaker"]), _as_it_was(row["age"])
                of_run = found.setdefault((int(row["run"]), row["set"]), {})
                if (speaker, age) in of_run:
                    raise ValueError(f"{speaker} {age} is there twice")
                of_run[speaker, age] = (speaker, age, *(int(row[name]) for name in COUNTS))
    except (csv.Error, KeyError, OSError, TypeError, ValueError) as error:
        raise KidasrError(f"{path}:{line}: not the sums of job=publish: {type(error).__name__} {error}") from error
    return {key: list(rows.values()) for key, rows in found.items()}


@lru_cache(maxsize=8)
def _read_curves(path: Path, modified_ns: int) -> Mapping[int, list[dict[str, float]]]:
    """The entries of each run's log."""
    found: dict[int, list[dict[str, float]]] = {}
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                line += 1
                values = {name: float(row[name]) for name in LOGGED[1:] if row[name]}
                found.setdefault(int(row["run"]), []).append({"step": int(row["step"]), **values})
    except (csv.Error, KeyError, OSError, TypeError, ValueError) as error:
        raise KidasrError(f"{path}:{line}: not the curves of job=publish: {type(error).__name__} {error}") from error
    return found


def _as_it_was(cell: str) -> str:
    """A cell without the apostrophe before what a spreadsheet would take for a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell
