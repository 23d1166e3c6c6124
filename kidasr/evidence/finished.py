"""The finished runs to compare: found by patterns, grouped by configuration, on one set, with a baseline."""

import glob
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidasr.errors import KidasrError
from kidasr.evidence.runs import (
    Run,
    check_same_set,
    distinct,
    factors_on,
    has_set,
    name_configurations,
    on_set,
    read_run,
    sets_in,
    without_speakers,
)
from kidasr.runs.files import METRICS
from kidasr.runs.identity import key_of
from kidasr.runs.sweeps import read_sweep

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

    Args:
        patterns: Run folders or glob patterns.
        on: The set; see :class:`kidasr.jobs.compare.Compare`.

    Returns:
        The runs, and what was left out: ``path`` and ``reason``.

    Raises:
        KidasrError: If they were scored on different sets, none was scored on ``on``, or a seed is there twice with
            different transcripts.
    """
    folders = list(_folders([patterns] if isinstance(patterns, str) else patterns))
    set_name = on or _set_of_all(folders)
    if on is not None:
        _check_scored(on, folders)
    runs, failed = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder, set_name))
        except KidasrError as error:
            failed.append({"path": str(folder), "reason": str(error)})
    if any(run.speakers_unknown for run in runs):  # one measure for all
        runs = [without_speakers(run) for run in runs]
    configurations, twice = distinct(name_configurations(runs))
    for one in failed + twice:
        log.warning("left out: %s", one["reason"])
    for run in runs[1:]:
        check_same_set(runs[0], run)
    return configurations, failed + twice


def _set_of_all(folders: Sequence[Path]) -> str:
    """The test set if all finished runs have it, otherwise the validation set; without that, the first set that all have."""
    finished = [folder for folder in folders if (folder / METRICS).is_file()]
    tested = [folder for folder in finished if has_set(folder, "test")]
    if tested and len(tested) == len(finished):
        return "test"
    of_all = [name for name in sets_in(finished[0]) if all(has_set(one, name) for one in finished)] if finished else []
    chosen = "validation" if "validation" in of_all or not of_all else of_all[0]
    if tested:
        log.warning(
            "compared on the %s set: %d of %d runs have transcripts of a test set", chosen, len(tested), len(finished)
        )
    return chosen


def _check_scored(on: str, folders: Sequence[Path]) -> None:
    """Refuse a set that no finished run was scored on."""
    finished = [folder for folder in folders if (folder / METRICS).is_file()]
    if finished and not any(has_set(folder, on) for folder in finished):
        known = dict.fromkeys(name for folder in finished for name in sets_in(folder))
        raise KidasrError(f"on={on}: none of these runs was scored on that set; expected: {', '.join(known)}")


def on_other_sets(configurations: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, list[Run]]]:
    """The same runs on each other set that all of them were scored on, by its name; validation comes first.

    Sets that only some have, or whose utterances differ between runs, are left out and logged.
    """
    runs = [run for members in configurations.values() for run in members]
    names = dict.fromkeys(name for run in runs for name in sets_in(Path(run.folder)))
    found = {}
    for name in names:
        if name == runs[0].set_name:
            continue
        scored = sum(has_set(Path(run.folder), name) for run in runs)
        if scored < len(runs):
            log.warning("not compared on %s: %d of %d runs were scored on it", name, scored, len(runs))
            continue
        try:
            of_set = {key: [on_set(run, name) for run in members] for key, members in configurations.items()}
            first, *rest = [run for members in of_set.values() for run in members]
            for run in rest:
                check_same_set(first, run)
            found[name] = of_set
        except KidasrError as error:
            log.warning("not compared on %s: %s", name, error)
    return found


def _folders(patterns: Sequence[str]) -> Iterator[Path]:
    seen = set()
    for pattern in patterns:
        found = [Path(pattern)]
        if glob.has_magic(pattern):
            found = in_order([path for path in map(Path, glob.glob(pattern)) if path.is_dir()])  # noqa: PTH207, absolute too
        if not found:
            raise KidasrError(f"runs: nothing matches {pattern}")
        for folder in found:
            if folder not in seen:
                seen.add(folder)
                yield folder


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
