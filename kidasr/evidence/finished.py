"""The finished runs to compare: found by patterns, grouped by configuration, on one set, with a baseline."""

import glob
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidasr.errors import KidasrError, truncate
from kidasr.evidence.by_speaker import by_speaker, check_are_distinct
from kidasr.evidence.published import (
    CONFIGS,
    SPEAKERS,
    is_published,
    is_published_run,
    published_runs,
    published_sets,
    read_published,
)
from kidasr.evidence.runs import (
    Run,
    check_same_set,
    distinct,
    factors_on,
    name_configurations,
    on_set,
    read_run,
    sets_in,
    without_speakers,
)
from kidasr.runs.files import METRICS
from kidasr.runs.folder import BEFORE_THE_RUN, is_run_folder
from kidasr.runs.identity import key_of
from kidasr.runs.sweeps import SWEEP, read_sweep

log = logging.getLogger(__name__)


def natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """A sort key for paths that puts 9 before 10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in path.parts)


def in_order(folders: Iterable[Path]) -> list[Path]:
    """Sort run folders in the order of their sweep's record; folders that are not in it come last, by name."""
    places = {parent: [run.name for run in read_sweep(parent)] for parent in {folder.parent for folder in folders}}

    def place(folder: Path) -> Any:
        names = places[folder.parent]
        asked = names.index(folder.name) if folder.name in names else len(names)
        return natural(folder.parent), asked, natural(folder)

    return sorted(folders, key=place)


def finished_configurations(
    patterns: str | Sequence[str], on: str | None
) -> tuple[dict[str, list[Run]], list[dict[str, str]]]:
    """The finished runs by configuration, each seed once and all on the same utterances.

    If some are published ones, which are known by speaker, so are all.

    Args:
        patterns: Run folders, folders of sweeps, of runs or of published comparisons, or glob patterns.
        on: The set; see :class:`kidasr.jobs.compare.Compare`.

    Returns:
        The runs, and what was left out: ``path`` and ``reason``.

    Raises:
        KidasrError: If they were scored on different sets, none was scored on ``on``, a seed is there twice with different
            transcripts, or a folder contains no runs.
    """
    folders = list(_folders([patterns] if isinstance(patterns, str) else patterns))
    set_name = on or _set_of_all(folders)
    if on is not None:
        _check_scored(on, folders)
    runs, failed = [], []
    for folder in folders:
        try:
            runs.append(_read(folder, set_name))
        except KidasrError as error:
            if is_published_run(folder) and set_name in published_sets(folder):
                raise  # no run of its own that could be left out: the files are not as they were written
            failed.append({"path": str(folder), "reason": str(error)})
    if any(run.sums is not None for run in runs):
        check_are_distinct(runs)
        runs = list(map(by_speaker, runs))
    if any(run.speakers_unknown for run in runs):  # one measure for all
        runs = [without_speakers(run) for run in runs]
    configurations, twice = distinct(name_configurations(runs))
    for one in failed + twice:
        log.warning("left out: %s", one["reason"])
    for run in runs[1:]:
        check_same_set(runs[0], run)
    return configurations, failed + twice


def _read(path: Path, set_name: str) -> Run:
    return read_published(path, set_name) if is_published_run(path) else read_run(path, set_name)


def _sets(path: Path) -> list[str]:
    return published_sets(path) if is_published_run(path) else sets_in(path)


def _finished(folders: Iterable[Path]) -> list[Path]:
    return [folder for folder in folders if is_published_run(folder) or (folder / METRICS).is_file()]


def _set_of_all(folders: Sequence[Path]) -> str:
    """The test set if all finished runs have it, otherwise the validation set; without that, the first set that all have."""
    finished = _finished(folders)
    tested = [folder for folder in finished if "test" in _sets(folder)]
    if tested and len(tested) == len(finished):
        return "test"
    of_all = [name for name in _sets(finished[0]) if all(name in _sets(one) for one in finished)] if finished else []
    chosen = "validation" if "validation" in of_all or not of_all else of_all[0]
    if tested:
        log.warning(
            "compared on the %s set: %d of %d runs have transcripts of a test set", chosen, len(tested), len(finished)
        )
    return chosen


def _check_scored(on: str, folders: Sequence[Path]) -> None:
    """Refuse a set that no finished run was scored on."""
    finished = _finished(folders)
    if finished and not any(on in _sets(folder) for folder in finished):
        known = dict.fromkeys(name for folder in finished for name in _sets(folder))
        raise KidasrError(f"on={on}: none of these runs was scored on that set; expected: {', '.join(known)}")


def on_other_sets(configurations: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, list[Run]]]:
    """The same runs on each other set that all of them were scored on, by its name; validation comes first.

    Sets that only some have, or whose utterances differ between runs, are left out and logged.
    """
    runs = [run for members in configurations.values() for run in members]
    names = dict.fromkeys(name for run in runs for name in _sets(Path(run.folder)))
    found = {}
    for name in names:
        if name == runs[0].set_name:
            continue
        scored = sum(name in _sets(Path(run.folder)) for run in runs)
        if scored < len(runs):
            log.warning("not compared on %s: %d of %d runs were scored on it", name, scored, len(runs))
            continue
        try:
            of_set = {key: [_on_set(run, name) for run in members] for key, members in configurations.items()}
            first, *rest = [run for members in of_set.values() for run in members]
            for run in rest:
                check_same_set(first, run)
            found[name] = of_set
        except KidasrError as error:
            log.warning("not compared on %s: %s", name, error)
    return found


def _on_set(run: Run, set_name: str) -> Run:
    if is_published_run(path := Path(run.folder)):
        return read_published(path, set_name)
    other = on_set(run, set_name)
    return other if run.sums is None else by_speaker(other)


def _folders(patterns: Sequence[str]) -> Iterator[Path]:
    """The run folders that are meant, each once."""
    seen = set()
    for pattern in patterns:
        found = [Path(pattern)]
        if glob.has_magic(pattern) and not found[0].is_dir():
            found = in_order([path for path in map(Path, glob.glob(pattern)) if path.is_dir()])  # noqa: PTH207, absolute too
        if not found:
            raise KidasrError(f"runs: nothing matches {pattern}")
        for folder in found:
            runs = runs_in(folder) if folder.is_dir() else [folder]
            if not runs and folder == Path(pattern):
                if (folder / CONFIGS).is_file():
                    raise KidasrError(
                        f"runs: {folder} has no {SPEAKERS}, so its runs can't be read; expected: known speakers"
                    )
                sweeps = sorted(path.parent.name for path in folder.glob(f"*/{SWEEP}"))
                but = (
                    f", but sweeps: {truncate(', '.join(sweeps), 200)}; expected: one of these," if sweeps else "; expected:"
                )
                raise KidasrError(f"runs: {folder} contains no runs{but} run folders, or a folder of runs")
            for run in runs or [folder]:
                if run not in seen:
                    seen.add(run)
                    yield run


def runs_in(folder: Path) -> list[Path]:
    """The run folders that a folder stands for: itself, the runs of a sweep, also those not begun, or those in it.

    For those of a published comparison see :mod:`kidasr.evidence.published`.

    Args:
        folder: A folder.

    Returns:
        Empty if it neither is a run nor contains any.
    """
    if is_run_folder(folder):
        return [folder]
    if (folder / SWEEP).is_file():
        return [folder / run.name for run in read_sweep(folder)]
    if is_published(folder):
        return published_runs(folder)
    inside = in_order([path for path in folder.iterdir() if path.is_dir() and is_run_folder(path)])
    return inside or ([folder] if any((folder / name).exists() for name in BEFORE_THE_RUN) else [])


def active_factors(configurations: Mapping[str, Sequence[Run]]) -> dict[str, frozenset[str]]:
    """What is on in each configuration of an ablation, by its name. Other configurations are left out."""
    on = {name: factors_on(members[0]) for name, members in configurations.items()}
    return {name: one for name, one in on.items() if one is not None}


def baseline_of(configurations: Mapping[str, Sequence[Run]], wanted: str | Sequence[str] | None) -> str:
    """The name of the baseline configuration.

    Args:
        configurations: The runs by configuration.
        wanted: Its name, one of its run folders, or what is on in it; see :class:`kidasr.jobs.compare.Compare`.

    Raises:
        KidasrError: If there is none such.
    """
    on = active_factors(configurations)
    if wanted is None:
        without = [name for name in on if not on[name]]
        called = [name for name in configurations if name == "baseline"]
        return [*(without if len(without) == 1 else called), *configurations][0]
    if not isinstance(wanted, str):
        # A factor may be named with or without its level.
        found = [name for name in on if frozenset(wanted) in (on[name], frozenset(map(key_of, on[name])))]
        if len(found) == 1:
            return found[0]
        raise KidasrError(
            f"baseline=[{','.join(wanted)}]: {len(found)} configurations have exactly these hypotheses on; "
            f"expected: one, or a name: {', '.join(found or configurations)}"
        )
    for name, members in configurations.items():
        if wanted == name or Path(wanted) in [Path(run.folder) for run in members]:
            return name
    raise KidasrError(f"baseline={wanted}: not among the runs; expected: {', '.join(configurations)}")
