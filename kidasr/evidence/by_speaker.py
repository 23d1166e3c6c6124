"""Runs that are known by speaker: the errors on each, and checksums instead of transcripts and losses.

Every interval of a comparison is computed from the sums of each speaker, so nothing else is needed for one.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from kidasr.errors import KidasrError
from kidasr.evidence.choice import recorded_choice
from kidasr.evidence.machine_paths import without_machine_paths
from kidasr.evidence.runs import Run, Sums, name_configurations
from kidasr.runs.record import duration_sec

#: The counts of a speaker at an age, each over all utterances.
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
        without_paths(run),
        references=[],
        hypotheses=[],
        audio_paths=[],
        audio_parts=(),
        raw_references=[],
        raw_hypotheses=[],
        evaluations=None,
        sums=facts_of(run),
    )
    return with_rows(summed, rows_of(run))


def without_paths(run: Run) -> Run:
    """A run whose config and overrides are those that are published."""
    typed = None if run.overrides is None else frozenset(map(without_machine_paths, run.overrides))
    return replace(run, config=without_machine_paths(run.config), overrides=typed)


def rows_of(run: Run) -> list[tuple[Any, ...]]:
    """For each speaker at an age: both, and the sums :data:`COUNTS`."""
    each = _counts(run)
    keys = sorted(set(zip(run.speakers.tolist(), run.ages.tolist(), strict=True)))
    return [(*key, *each[:, (run.speakers == key[0]) & (run.ages == key[1])].sum(axis=1).tolist()) for key in keys]


def _counts(run: Run) -> np.ndarray:
    """The counts of each entry, shape ``(len(COUNTS), entries)``."""
    return np.vstack(
        [run.utterances, run.words, run.kinds, run.runaways, run.runaway_errors, run.characters, run.character_errors]
    )


def facts_of(run: Run) -> Sums:
    """What is known of a run besides its counts."""
    return run.sums or without_arrays(
        said=_checksum(run.hypotheses),
        losses={step: _checksum(loss) for step, loss in run.losses.items()},
        folder=run.folder,
        hours=hours_of(run),
        choice=recorded_choice(run),
        made_by={},
    )


def without_arrays(**facts: Any) -> Sums:
    return Sums(utterances=np.array([]), runaways=np.array([]), runaway_errors=np.array([]), **facts)


def check_are_distinct(runs: Sequence[Run]) -> None:
    """Check that the configurations of runs are told apart by what is published.

    Raises:
        KidasrError: If two differ only in a part of a path that is left out.
    """
    names = name_configurations(of_folders := [run for run in runs if run.sums is None])
    if len(name_configurations(list(map(without_paths, of_folders)))) < len(names):
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


def with_rows(run: Run, rows: Iterable[tuple[Any, ...]]) -> Run:
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


def hours_of(run: Run) -> float | None:
    """How long a run took; None if that is not known, as of another recogniser's."""
    if run.sums is not None:
        return run.sums.hours
    seconds = None if run.own_name else duration_sec(Path(run.folder))
    return None if seconds is None else round(seconds / 3600, 4)


def _checksum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]
