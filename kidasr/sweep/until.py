"""An ablation that adds seeds until its questions are answered."""

import json
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kidasr.cli.until import Until
from kidasr.durable import write_text
from kidasr.errors import KidasrError
from kidasr.runs.identity import key_of, overrides_with_effect
from kidasr.runs.record import duration_sec
from kidasr.runs.sweeps import read_sweep

log = logging.getLogger(__name__)

#: The looks of an ablation that adds seeds, in the sweep's folder.
UNTIL = "until.json"


#: The share of the error probability that is left when all planned looks are taken, for those of a later extension.
RESERVE = 0.2


@dataclass
class Looks:
    """The looks (interim analyses) at a growing ablation that stops when all is decided, kept in the sweep's folder.

    Every look is a chance to be fooled, so each has a stricter level, of which all together have 5%: O'Brien and Fleming's
    bounds. An extended ablation keeps the levels of the looks that it had, and its new looks share what was reserved.
    """

    #: Seeds at each planned look.
    seeds: list[int] = field(default_factory=list)
    #: The level of each look that has been taken.
    levels: list[float] = field(default_factory=list)
    #: The error probability of all planned looks together.
    total: float = 0.0
    #: The runs and hours that the looks were planned for.
    allowed: list[float | None] = field(default_factory=list)

    @property
    def level(self) -> float:
        """The level of the newest look."""
        return self.levels[-1] if self.levels else 0.05

    def plan(self, first: int, last: int, looks: int, allowed: Sequence[float | None] = ()) -> None:
        """Plan looks from the first number of seeds to the last; those already taken remain.

        Args:
            first, last: Seeds at the first and at the last look.
            looks: Number of looks.
            allowed: What ``last`` follows from; the same as before changes nothing.
        """
        if self.seeds and (self.seeds[-1] == last or list(allowed) == self.allowed != []):
            return
        taken = self.seeds[: len(self.levels)]
        if len(taken) == len(self.seeds):  # otherwise what was planned for is not spent yet
            self.total += (1 - RESERVE) * (0.05 - self.total)
        left = max(1, looks - len(taken))
        new = np.linspace(taken[-1], last, left + 1)[1:] if taken else np.linspace(first, last, left)
        if not taken and left == 1:
            new = np.array([last])
        self.seeds = [*taken, *sorted({round(one) for one in new if not taken or one > taken[-1]})]
        self.allowed = list(allowed)

    def next_level(self) -> float:
        """The level of the next look."""
        from kidasr.evidence.planning import nominal_levels

        taken = len(self.levels)
        return nominal_levels(tuple(self.seeds), self.total, spent=tuple(self.levels))[taken]


def read_looks(sweep_dir: Path) -> Looks:
    """The looks of a sweep; none if it has no stopping rule.

    Raises:
        KidasrError: If the file can't be read.
    """
    path = sweep_dir / UNTIL
    if not path.exists():
        return Looks()
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        seeds, levels = [int(one) for one in recorded["seeds"]], [float(one) for one in recorded["levels"]]
        return Looks(seeds, levels, float(recorded["total"]), list(recorded["allowed"]))
    except (OSError, OverflowError, ValueError, KeyError, TypeError) as error:
        raise KidasrError(f"{path}: can't be read: {error}; expected: what an earlier command wrote there") from error


def run_until(
    until: Until,
    sweep_dir: Path,
    configurations: Collection[frozenset[str]],
    seeds: Sequence[int],
    launch: Callable[[Sequence[int]], Any],
    baseline: Any,
    on: str | None,
) -> None:
    """Launch batches of seeds until the rule is met.

    Args:
        until: The rule.
        sweep_dir: The sweep's folder.
        configurations: The overrides of each configuration, without the seed; see :func:`of_configuration`.
        seeds: The seeds to begin with; the numbers after the largest follow.
        launch: Runs all configurations with these seeds; returns when they have ended.
        baseline, on: See :class:`kidasr.jobs.compare.Compare`.

    Raises:
        KidasrError: If a configuration does not have two finished runs.
    """
    looks = read_looks(sweep_dir) if until.width is None else Looks()
    all_seeds = [*seeds]
    first = until.first_look(len(seeds))
    last = until.max_runs // len(configurations) if until.max_runs else None
    _extend(all_seeds, first)
    log.info("adding seeds until %s", _in_words(until))
    launch(all_seeds)
    if last is None or until.max_hours is not None:
        last = min(last or 10**6, _affordable(until, sweep_dir, first, len(configurations)))
    looks.plan(first, last, until.looks if until.width is None else last, [until.max_runs, until.max_hours])
    for number, count in enumerate(looks.seeds):
        _extend(all_seeds, count)
        launch(all_seeds[:count])
        level = 0.05  # a width is no claim, so that looking at it costs nothing
        if until.width is None:
            if number >= len(looks.levels):
                looks.levels.append(looks.next_level())
                write_text(sweep_dir / UNTIL, json.dumps(vars(looks)) + "\n")
            level = looks.levels[number]
        answered = _is_answered(until, sweep_dir, configurations, all_seeds[:count], level, baseline, on)
        if answered is None:
            log.warning("the seeds change no transcript, so that more of them tell nothing; expected: longer runs")
            return
        if answered:
            log.info("look %d, %d seeds: answered", number + 1, count)
            return
    log.info("the last look, %d seeds: not all questions are answered", looks.seeds[-1])


def of_configuration(overrides: Iterable[str], ignored: Collection[str]) -> frozenset[str]:
    """The overrides of a run that make its configuration: without the seed and without what changes no result."""
    return frozenset(one for one in overrides_with_effect(overrides, ignored) if key_of(one) != "seed")


def _in_words(until: Until) -> str:
    rule = "each question has a verdict" if until.width is None else f"each interval is within {until.width:g} points"
    runs = [f"{until.max_runs} runs"] if until.max_runs else []
    hours = [f"{until.max_hours:g} hours of runs"] if until.max_hours else []
    return f"{rule}, or {' or '.join(runs + hours)} are used"


def _extend(seeds: list[int], count: int) -> None:
    while len(seeds) < count:
        seeds.append(max(seeds) + 1)


def _affordable(until: Until, sweep_dir: Path, first: int, configurations: int) -> int:
    """How many seeds the hours allow, by the time of the runs that have finished."""
    took = [sec for run in read_sweep(sweep_dir) if (sec := duration_sec(sweep_dir / run.name)) is not None]
    if not took or until.max_hours is None:
        return first
    sec_per_seed = configurations * sum(took) / len(took)
    return max(first, int(until.max_hours * 3600 / sec_per_seed) if sec_per_seed else first)


def _is_answered(
    until: Until,
    sweep_dir: Path,
    configurations: Collection[frozenset[str]],
    seeds: Sequence[int],
    level: float,
    baseline: Any,
    on: str | None,
) -> bool | None:
    """Whether the runs of these seeds answer every question: each main effect of a factorial, otherwise each pair.

    None if the seeds do not differ at all.
    """
    from kidasr.evidence.differences import Differences
    from kidasr.evidence.finished import active_factors, baseline_of, finished_configurations

    # The folder may hold configurations of an earlier command, too.
    asked = [run for run in read_sweep(sweep_dir) if of_configuration(run.overrides, until.ignored) in configurations]
    found_runs, _ = finished_configurations([str(sweep_dir / run.name) for run in asked], on)
    chosen = {name: [run for run in members if run.seed in seeds] for name, members in found_runs.items()}
    chosen = {name: members for name, members in chosen.items() if len(members) > 1}
    if len(chosen) < len(configurations):
        raise KidasrError(
            f"ablation.until: {len(chosen)} of {len(configurations)} configurations have two finished runs; expected: all "
            "(the errors are above; the same command runs what failed again)"
        )
    found = Differences(chosen, baseline_of(chosen, baseline), active_factors(chosen), level)
    if not found.knows_seeds:
        return None
    places = found.questions()
    widest = 100 * float(found.found.reach[places].max())
    open_ones = [place for place in places if found.verdict(place) not in ("better", "worse")]
    log.info(
        "%d seeds: %d of %d questions have a verdict (level %.2g), the widest interval is within %.2f points",
        len(seeds),
        len(places) - len(open_ones),
        len(places),
        level,
        widest,
    )
    if found.speakers_unknown:
        log.warning("data.speakers=unknown: intervals are too narrow, so that questions seem answered too early")
    return not open_ones if until.width is None else widest <= until.width
