"""The runs of a published comparison (``job=publish``): their configs, and errors by speaker instead of transcripts.

A run has no folder there. ``FOLDER/1``, ``FOLDER/2``, ... stand for the runs in ``configs.yaml``, in its order; the rows of
``speakers.csv`` have the same numbers.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from kidasr.errors import KidasrError
from kidasr.evidence.choice import recorded_choice
from kidasr.evidence.runs import Run, Sums, factors_of, name_configurations
from kidasr.runs.identity import identity, ignored_keys, measured_keys
from kidasr.runs.record import duration_sec

CONFIGS, SPEAKERS = "configs.yaml", "speakers.csv"

#: What a published folder says of how its runs were made, of those in ``comparison.json``'s ``about``.
MADE_BY = ("commit", "date", "machine")

#: The counts in ``speakers.csv``, each of all utterances of a speaker at an age.
COUNTS = (
    "utterances",
    "words",
    "substitutions",
    "deletions",
    "insertions",
    "runaways",
    "runaway_errors",
    "characters",
    "character_errors",
)

#: The columns of ``speakers.csv``.
COLUMNS = ("run", "set", "configuration", "seed", "speaker", "age", *COUNTS)

#: Facts in ``metrics.json`` that hold for a run whatever its transcripts are.
FACTS = ("rate", "name", "filtered_sets", "scored_with", "speakers")

#: An absolute path of two parts or more within a text, such as a command.
ABSOLUTE = re.compile(r"(?<![\w./~])/[^\s,;:'\"{}\[\]()/]+/[^\s,;:'\"{}\[\]()]+")


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
    sums = _without_arrays(
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
        metrics={**entry["facts"], **before.get("validation", {}), "tests": before},
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
    return _with_rows(run, rows)


def by_speaker(run: Run) -> Run:
    """A run as it would be published and read again: see :func:`read_published`.

    Raises:
        KidasrError: If speakers are unknown, so that there is nothing to add up.
    """
    if run.sums is not None:
        return run
    if run.speakers_unknown:
        raise KidasrError(f"{run.folder}: speakers are unknown; expected: known ones, beside published runs")
    summed = replace(
        _without_paths(run),
        references=[],
        hypotheses=[],
        audio_paths=[],
        audio_parts=(),
        raw_references=[],
        raw_hypotheses=[],
        evaluations=None,
        sums=_facts_of(run),
    )
    return _with_rows(summed, _rows(run))


def _without_paths(run: Run) -> Run:
    """A run whose config and overrides are those that are published."""
    typed = None if run.overrides is None else frozenset(map(without_machine_paths, run.overrides))
    return replace(run, config=without_machine_paths(run.config), overrides=typed)


def _rows(run: Run) -> list[tuple[Any, ...]]:
    """For each speaker at an age: both, and the sums :data:`COUNTS`."""
    each = _counts(run)
    keys = sorted(set(zip(run.speakers.tolist(), run.ages.tolist(), strict=True)))
    return [(*key, *each[:, (run.speakers == key[0]) & (run.ages == key[1])].sum(axis=1).tolist()) for key in keys]


def _counts(run: Run) -> np.ndarray:
    """The counts of each entry, shape ``(len(COUNTS), entries)``."""
    return np.vstack(
        [run.utterances, run.words, run.kinds, run.runaways, run.runaway_errors, run.characters, run.character_errors]
    )


def _facts_of(run: Run) -> Sums:
    """What is known of a run besides its counts."""
    return run.sums or _without_arrays(
        said=_checksum(run.hypotheses),
        losses={step: _checksum(loss) for step, loss in run.losses.items()},
        folder=run.folder,
        hours=hours_of(run),
        choice=recorded_choice(run),
        made_by={},
    )


def _without_arrays(**facts: Any) -> Sums:
    return Sums(utterances=np.array([]), runaways=np.array([]), runaway_errors=np.array([]), **facts)


def check_are_distinct(runs: Sequence[Run]) -> None:
    """Check that the configurations of runs are told apart by what is published.

    Raises:
        KidasrError: If two differ only in a part of a path that is left out.
    """
    names = name_configurations(of_folders := [run for run in runs if run.sums is None])
    if len(name_configurations(list(map(_without_paths, of_folders)))) < len(names):
        refuse_merged(map(without_machine_paths, names))


def refuse_merged(names: Iterable[str]) -> NoReturn:
    """Say that configurations can't be told apart without what is left out of their paths.

    Raises:
        KidasrError: Always.
    """
    raise KidasrError(
        f"runs: configurations that differ in a folder elsewhere alone would be one: {', '.join(dict.fromkeys(names))}; "
        "expected: to be run in a folder that is above those of their files"
    )


def _with_rows(run: Run, rows: Iterable[tuple[Any, ...]]) -> Run:
    """A run with the arrays that rows hold: speaker, age and :data:`COUNTS`."""
    assert run.sums is not None
    ordered = sorted(rows)
    utterances, words, *kinds, runaways, runaway_errors, characters, character_errors = np.array(
        [row[2:] for row in ordered]
    ).T
    return replace(
        run,
        utterance_ids=[f"{speaker} {age}" for speaker, age, *_ in ordered],
        speakers=np.array([row[0] for row in ordered]),
        ages=np.array([row[1] for row in ordered]),
        words=words,
        characters=characters,
        kinds=np.array(kinds),
        character_errors=character_errors,
        sums=replace(run.sums, utterances=utterances, runaways=runaways, runaway_errors=runaway_errors),
    )


def configs_of(runs: Sequence[tuple[str, Mapping[str, Run]]], made_by: Mapping[str, str], level: float) -> dict[str, Any]:
    """The content of ``configs.yaml``: what all runs share, for each job, and what each run has of its own.

    Keys that do not change the result are left out (``identity.ignored_keys``).

    Args:
        runs: Each run on every set, by the name of the set, with the name of its configuration.
        made_by: Commit, date and machine.
        level: The level of the comparison.
    """
    firsts = [next(iter(of_sets.values())) for _, of_sets in runs]
    ignored = frozenset[str]().union(*(ignored_keys(run.config or {}) for run in firsts))
    measured = frozenset[str]().union(*(measured_keys(run.config or {}) for run in firsts))
    values = [identity(run.config or {}, ignored) for run in firsts]
    jobs = [
        None if run.config is None else str(config.get("job._target_")) for run, config in zip(firsts, values, strict=True)
    ]
    shared = {
        job: _shared([config for one, config in zip(jobs, values, strict=True) if one == job])
        for job in jobs
        if job is not None
    }
    # Each ablation's own, where there are several.
    factors = [factors_of(run) for run in firsts]
    one_ablation = all(one == factors[0] for one in factors)
    typed = [run.overrides for run in firsts if run.overrides is not None]
    by_all = frozenset.intersection(*typed) if typed else frozenset()
    entries = []
    for (name, of_sets), run, config, job, own in zip(runs, firsts, values, jobs, factors, strict=True):
        summed = {set_name: _facts_of(one) for set_name, one in of_sets.items()}
        first = next(iter(summed.values()))
        entries.append(
            {
                "configuration": name,
                "folder": first.folder,
                "seed": run.seed,
                "typed": None if run.overrides is None else sorted(run.overrides - by_all),
                **({} if one_ablation or not own else {"factors": own}),
                "hours": first.hours,
                "training": " ".join(f"{step}:{checksum}" for step, checksum in sorted(first.losses.items())),
                "choice": None if first.choice is None else dict(first.choice),
                "said": {set_name: one.said for set_name, one in summed.items()},
                "before": _before(run, of_sets),
                "facts": _facts(run),
                "job": job,
                "differs": {} if job is None else {key: value for key, value in config.items() if key not in shared[job]},
            }
        )
    hours = [one.hours for one in map(_facts_of, firsts)]
    known = [one for one in hours if one is not None]
    return {
        "hours": round(sum(known), 3) if len(known) == len(hours) else None,
        "made_by": dict(made_by),
        "level": level,
        "typed": sorted(by_all),
        **({"factors": factors[0]} if one_ablation and factors[0] else {}),
        "identity": {"ignored_keys": sorted(ignored), "measured_keys": sorted(measured)},
        "shared": shared,
        "runs": entries,
    }


def speakers_of(runs: Sequence[tuple[str, Mapping[str, Run]]]) -> list[tuple[Any, ...]]:
    """The rows of ``speakers.csv`` (:data:`COLUMNS`); arguments: see :func:`configs_of`."""
    found: list[tuple[Any, ...]] = []
    for number, (name, of_sets) in enumerate(runs, start=1):
        for set_name, run in of_sets.items():
            found += [(number, set_name, name, run.seed, *row) for row in _rows(run)]
    return found


def hours_of(run: Run) -> float | None:
    """How long a run took; None if that is not known, as of another recogniser's."""
    if run.sums is not None:
        return run.sums.hours
    seconds = None if run.own_name else duration_sec(Path(run.folder))
    return None if seconds is None else round(seconds / 3600, 4)


def _before(run: Run, sets: Iterable[str]) -> dict[str, float]:
    """The rates before training, by set."""
    tests = run.metrics.get("tests") or {}
    scores = {name: run.metrics if name == "validation" else tests.get(name) or {} for name in sets}
    rates = {name: (one.get("zero_shot") or {}).get("wer") for name, one in scores.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _facts(run: Run) -> dict[str, Any]:
    """What ``metrics.json`` says apart from scores; of another recogniser's files, their checksums."""
    facts = {name: run.metrics[name] for name in FACTS if run.metrics.get(name)}
    if run.own_name and isinstance(files := run.metrics.get("transcripts"), Mapping):
        kept = ("path", "sha256")
        facts["transcripts"] = {name: {key: one[key] for key in kept} for name, one in files.items()}
    return facts


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values that all have in common."""
    first, *others = configs
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]


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


def _as_it_was(cell: str) -> str:
    """A cell without the apostrophe before what a spreadsheet would take for a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell


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
