"""Finished runs: their predictions as arrays, and which of them share a configuration."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kidasr.errors import KidasrError
from kidasr.recognition.score import is_runaway
from kidasr.runs.files import METRICS, PREDICTIONS
from kidasr.runs.folder import read_config
from kidasr.runs.identity import configuration, ignored_keys, key_of, overrides_with_effect
from kidasr.runs.record import failure

#: Fields of a prediction that a comparison needs.
TEXTS = ("utterance_id", "speaker_id", "age_bucket", "normalized_reference", "normalized_hypothesis")
COUNTS = ("words", "characters", "substitutions", "deletions", "insertions", "character_errors")


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder. Arrays and lists have one entry per utterance, sorted by utterance id."""

    folder: str
    #: The resolved config that the run has recorded; None for a folder that holds none.
    config: Mapping[str, Any] | None
    #: What was typed for it; None where it is not known.
    overrides: frozenset[str] | None
    seed: int | None
    #: What ``metrics.json`` holds.
    metrics: Mapping[str, Any]
    utterance_ids: list[str]
    speakers: np.ndarray
    ages: np.ndarray
    references: list[str]
    hypotheses: list[str]
    #: Empty strings if the run did not record them.
    audio_paths: list[str]
    words: np.ndarray
    characters: np.ndarray
    #: Substitutions, deletions, insertions, shape ``(3, utterances)``.
    kinds: np.ndarray
    character_errors: np.ndarray

    @cached_property
    def errors(self) -> np.ndarray:
        """Word errors of each utterance."""
        total: np.ndarray = self.kinds.sum(axis=0)
        return total

    @cached_property
    def runaways(self) -> np.ndarray:
        """Whether each hypothesis is a runaway: the model repeats itself without end."""
        pairs = zip(self.references, self.hypotheses, strict=True)
        return np.array([is_runaway(reference, hypothesis) for reference, hypothesis in pairs])

    @cached_property
    def age_buckets(self) -> list[str]:
        """The age buckets in the set, youngest first, unknown last."""
        return sorted(
            set(self.ages), key=lambda age: (age == "unknown", int("".join(filter(str.isdigit, age.split("-")[0])) or 0))
        )


def read_run(folder: Path) -> Run:
    """Read a run folder: its predictions, its metrics and its config.

    Raises:
        KidasrError: If it is not a run folder, the run is not finished, or its files can't be read.
    """
    if not folder.is_dir():
        raise KidasrError(f"{folder}: no such folder; expected: run folders, or patterns such as 'outputs/multirun/*/*/*'")
    if not (folder / METRICS).is_file():
        failed = failure(folder)
        how = f"failed: {failed.get('error')}" if failed else f"not finished: it has no {METRICS}"
        raise KidasrError(f"{folder}: {how}")
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KidasrError(f"{folder / METRICS}: can't be read: {error}") from error
    path = folder / PREDICTIONS
    rows = []
    try:
        # Not splitlines(), which also splits at characters that are valid inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KidasrError(f"{path}: can't be read: {error}") from error
    for line, text in enumerate(lines, start=1):
        if not text:
            continue
        try:
            row = json.loads(text)
            rows.append({name: row[name] for name in TEXTS + COUNTS} | {"audio_path": row.get("audio_path", "")})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise KidasrError(f"{path}:{line}: not a prediction: {type(error).__name__} {error}") from error
    if not rows:
        raise KidasrError(f"{path}: no prediction in it")
    try:
        return make_run(folder, metrics, rows)
    except ValueError as error:
        raise KidasrError(f"{path}: not predictions: {error}") from error


def make_run(folder: Path, metrics: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Run:
    """A run from what is in its files.

    Args:
        folder: Its folder, whose config and overrides are read.
        metrics: What ``metrics.json`` holds.
        rows: Predictions, as in ``predictions.jsonl``.
    """
    in_order = sorted(rows, key=lambda row: str(row["utterance_id"]))
    words, characters, *kinds, character_errors = np.array([[int(row[name]) for name in COUNTS] for row in in_order]).T
    config = read_config(folder)
    return Run(
        folder=str(folder),
        config=config,
        overrides=_overrides(folder),
        seed=config.get("seed") if config else None,
        metrics=metrics,
        utterance_ids=[str(row["utterance_id"]) for row in in_order],
        speakers=np.array([str(row["speaker_id"]) for row in in_order]),
        ages=np.array([str(row["age_bucket"]) for row in in_order]),
        references=[str(row["normalized_reference"]) for row in in_order],
        hypotheses=[str(row["normalized_hypothesis"]) for row in in_order],
        audio_paths=[str(row["audio_path"]) for row in in_order],
        words=words,
        characters=characters,
        kinds=np.array(kinds),
        character_errors=character_errors,
    )


def _overrides(folder: Path) -> frozenset[str] | None:
    path = folder / ".hydra" / "overrides.yaml"
    try:
        return frozenset(map(str, OmegaConf.load(path))) if path.is_file() else None
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise KidasrError(f"{path}: can't be read: {' '.join(str(error).split())}") from error


def name_configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by their configuration, which is named by the overrides that not all of them have, or is the default.

    ``hypotheses=[h1,h4]`` is named ``h1+h4``, and none of them ``baseline``. Where no config is recorded, the overrides are
    the configuration.
    """
    # One list for all, also where it was extended between two of them.
    ignored = frozenset[str]().union(*(ignored_keys(run.config or {}) for run in runs))
    typed = {run.folder: _typed(run, ignored) for run in runs}
    grouped: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        what = sorted(typed[run.folder]) if run.config is None else configuration(run.config, ignored)
        grouped[json.dumps(what, sort_keys=True)].append(run)
    common = frozenset.intersection(*typed.values()) if runs else frozenset()
    named: dict[str, list[Run]] = {}
    for members in grouped.values():
        name = " ".join(map(_short, sorted(typed[members[0].folder] - common))) or "default"
        number = 2
        while name in named:  # the same words, but with other files in conf/
            name = f"{name.removesuffix(f' ({number - 1})')} ({number})"
            number += 1
        named[name] = members
    return named


def _typed(run: Run, ignored: frozenset[str]) -> frozenset[str]:
    """What was typed for a configuration; where that is not known, its folder stands for it."""
    if run.overrides is None:
        return frozenset([run.folder])
    return frozenset(one for one in overrides_with_effect(run.overrides, ignored) if key_of(one) != "seed")


def _short(override: str) -> str:
    override = re.sub(r"^augment\.\w+\.", "augment.", override)  # as it may be typed
    key, _, value = override.partition("=")
    if key == "hypotheses":
        return "+".join(part.strip() for part in value.strip("[]").split(",") if part.strip()) or "baseline"
    if re.fullmatch(r"-?\d+\.\d{7,}(e[+-]?\d+)?", value):  # drawn by a search
        return f"{key}={float(value):.3g}"
    return value if key == "experiment" else override


def hypotheses_on(run: Run) -> frozenset[str] | None:
    """Which hypotheses an ablation has switched on in a run; None for a run of no ablation."""
    recorded = (run.config or {}).get("hypotheses")
    if isinstance(recorded, list):
        return frozenset(map(str, recorded))
    for override in run.overrides or ():
        key, _, value = override.partition("=")
        if key == "hypotheses":
            return frozenset(part.strip() for part in value.strip("[]").split(",") if part.strip())
    return None


def check_same_set(one: Run, other: Run) -> None:
    """Check that two runs were scored on the same utterances.

    Raises:
        KidasrError: Says how the sets differ.
    """
    if one.utterance_ids != other.utterance_ids:
        ours, theirs = set(one.utterance_ids), set(other.utterance_ids)
        raise KidasrError(
            f"{other.folder}: another test set than {one.folder}: {len(ours - theirs)} of its {len(ours)} utterances are "
            f"not there, {len(theirs - ours)} others are; expected: runs on the same utterances"
        )
    for what, values, others in (
        ("references", one.references, other.references),
        ("speakers", one.speakers, other.speakers),
        ("ages", one.ages, other.ages),
    ):
        changed = [place for place, (a, b) in enumerate(zip(values, others, strict=True)) if a != b]
        if changed:
            raise KidasrError(
                f"{other.folder}: another test set than {one.folder}: {len(changed)} {what} differ, first that of "
                f"{one.utterance_ids[changed[0]]}; expected: runs on the same {what}"
            )
