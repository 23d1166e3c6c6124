"""The runs of a published comparison (``job=publish``): their configs, and errors by speaker instead of transcripts.

A run has no folder there. ``FOLDER/1``, ``FOLDER/2``, ... stand for the runs in ``configs.yaml``, in its order.
"""

import csv
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kidasr.errors import KidasrError
from kidasr.evidence.runs import Run
from kidasr.runs.record import duration_sec

CONFIGS, SPEAKERS = "configs.yaml", "speakers.csv"

#: What a published folder says of how its runs were made, of those in ``comparison.json``'s ``about``.
MADE_BY = ("commit", "date", "machine")

#: The counts in ``speakers.csv``, each of all utterances of a speaker at an age.
SUMS = (
    "utterances",
    "words",
    "substitutions",
    "deletions",
    "insertions",
    "runaways",
    "characters",
    "character_errors",
)


#: An absolute path of two parts or more within a text, such as a command.
ABSOLUTE = re.compile(r"(?<![\w./~])/[^\s,;:'\"{}\[\]()/]+/[^\s,;:'\"{}\[\]()]+")


def is_published(folder: Path) -> bool:
    """Whether a folder holds a published comparison."""
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
    """The sets that a published run was scored on."""
    return list(_sums(path))


def read_published(path: Path, set_name: str) -> Run:
    """A published run on a set. Each entry of its arrays is the sum of a speaker's utterances at an age.

    Args:
        path: A path of :func:`published_runs`.
        set_name: The set.

    Raises:
        KidasrError: If there is no such run, it was not scored on the set, or the files can't be read.
    """
    content, entry, sums = _content(path.parent), _entry(path), _sums(path)
    if set_name not in sums:
        raise KidasrError(f"{path}: not scored on {set_name!r}; expected: {', '.join(f'on={name}' for name in sums)}")
    config: dict[str, Any] = {}
    for key, value in {**content["shared"].get(entry["job"], {}), **entry["differs"]}.items():
        _insert(config, key.split("."), value)
    if factors := entry.get("factors") or content.get("factors"):
        config["factors"] = factors
    if identity := content.get("identity"):
        config["identity"] = identity
    name = entry.get("name")
    scored = {"name": name, "transcripts": {set_name: {"path": entry["folder"]}}} if name else {}
    return Run(
        folder=str(path),
        config=config or None,
        overrides=frozenset([*content["typed"], *entry["typed"]]),
        seed=entry["seed"],
        metrics={
            "rate": content.get("rate", "WER"),
            **{key: entry[key] for key in ("folder", "training", "hours")},
            "made_by": content.get("made_by") or {},
            **scored,
        },
        set_name=set_name,
        **_arrays(sums[set_name]),
    )


def by_speaker(run: Run) -> Run:
    """A run without its texts, as it would be published: see :func:`read_published`.

    Raises:
        KidasrError: If speakers are unknown, so that there is nothing to add up.
    """
    if run.summed is not None:
        return run
    if run.speakers_unknown:
        raise KidasrError(f"{run.folder}: speakers are unknown; expected: known ones, beside published runs")
    keys = sorted(set(zip(run.speakers.tolist(), run.ages.tolist(), strict=True)))
    each = np.vstack([run.utterances, run.words, run.kinds, run.runaways, run.characters, run.character_errors])
    sums = [(*key, *each[:, (run.speakers == key[0]) & (run.ages == key[1])].sum(axis=1).tolist()) for key in keys]
    return replace(
        run,
        config=without_machine_paths(run.config),
        overrides=None if run.overrides is None else frozenset(map(without_machine_paths, run.overrides)),
        metrics={**run.metrics, "training": checksum_of_training(run)},
        audio_parts=(),
        evaluations=None,
        **_arrays(sums),
    )


def _arrays(rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """The arrays of a run that is sums: from a speaker, an age and the counts :data:`SUMS` for each entry."""
    rows = sorted(rows)
    utterances, words, *kinds, runaways, characters, character_errors = np.array([row[2:] for row in rows]).T
    texts: dict[str, list[str]] = {
        name: [] for name in ("references", "hypotheses", "audio_paths", "raw_references", "raw_hypotheses")
    }
    return texts | {
        "utterance_ids": [f"{speaker} {age}" for speaker, age, *_ in rows],
        "speakers": np.array([row[0] for row in rows]),
        "ages": np.array([row[1] for row in rows]),
        "words": words,
        "characters": characters,
        "kinds": np.array(kinds),
        "character_errors": character_errors,
        "summed": (utterances, runaways),
    }


def checksum_of_training(run: Run) -> str | None:
    """A checksum of the losses, the same for runs that keep different checkpoints of one training; None without losses."""
    if "training" in run.metrics:
        recorded: str | None = run.metrics["training"]
        return recorded
    losses = json.dumps(sorted(run.losses.items()))
    return hashlib.sha256(losses.encode()).hexdigest()[:16] if run.losses else None


def made_by(run: Run) -> Mapping[str, str]:
    """What is published of how a run was made: see :data:`MADE_BY`. Empty for a run that is not published."""
    found: Mapping[str, str] = run.metrics.get("made_by") or {}
    return found


def folder_of(run: Run) -> str:
    """A run's folder, also of a published run: where that once was."""
    return str(run.metrics.get("folder", run.folder))


def hours_of(run: Run) -> float | None:
    """How long a run took; None if that is not known, as of another recogniser's."""
    if is_published_run(Path(run.folder)):
        recorded: float | None = run.metrics["hours"]
        return recorded
    seconds = None if run.own_name else duration_sec(Path(run.folder))
    return None if seconds is None else seconds / 3600


def rows_of_speakers(run: Run) -> Iterator[tuple[str, str, list[int]]]:
    """Each speaker and age of a run, with the counts :data:`SUMS`."""
    summed = by_speaker(run)
    each = np.vstack(
        [summed.utterances, summed.words, summed.kinds, summed.runaways, summed.characters, summed.character_errors]
    )
    yield from zip(summed.speakers.tolist(), summed.ages.tolist(), each.T.tolist(), strict=True)


def _insert(node: dict[str, Any], keys: list[str], value: Any) -> None:
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


@lru_cache(maxsize=8)
def _read_configs(path: Path, modified_ns: int) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        expected = ("configuration", "folder", "seed", "typed", "hours", "training", "job", "differs")
        missing = [key for one in content["runs"] for key in expected if key not in one]
        missing += [key for key in ("shared", "typed") if key not in content]
        if missing:
            raise KeyError(missing[0])
        return content
    except (AttributeError, KeyError, OSError, TypeError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise KidasrError(f"{path}: not the configs of job=publish: {type(error).__name__} {why}") from error


def _sums(path: Path) -> Mapping[str, list[tuple[Any, ...]]]:
    """By set, the rows of a run: speaker, age, counts."""
    entry, file = _entry(path), path.parent / SPEAKERS
    seed = "" if entry["seed"] is None else str(entry["seed"])
    return _read_sums(file, file.stat().st_mtime_ns).get((entry["configuration"], seed), {})


@lru_cache(maxsize=8)
def _read_sums(path: Path, modified_ns: int) -> Mapping[tuple[str, str], Mapping[str, list[tuple[Any, ...]]]]:
    found: dict[tuple[str, str], dict[str, list[tuple[Any, ...]]]] = defaultdict(dict)
    line = 1
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                line += 1
                counts = [int(row[name]) for name in SUMS]
                of_run = found[row["configuration"], row["seed"]]
                of_run.setdefault(row["set"], []).append((row["speaker"], row["age"], *counts))
        return found
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise KidasrError(f"{path}:{line}: not the sums of job=publish: {type(error).__name__} {error}") from error


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
