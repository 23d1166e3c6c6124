"""The planning job: what does it take to show a difference?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat, PositiveInt

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError

if TYPE_CHECKING:
    from kidasr.evidence.planning import Plan, Spread

log = logging.getLogger(__name__)

#: Children in a set if nothing tells.
CHILDREN = 40

#: Degrees of freedom below which a measured spread between seeds says little.
FEW_DEGREES = 5

#: The most that a screening design can have.
MOST_FACTORS = 56


class PlanAblation(Job):
    """Say how many runs, hours and children each design takes to show a difference with 80% probability.

    The spread between children, between seeds and within both is that of finished runs, or what is usual. The range of the
    answers is that of the spread between seeds, which few runs tell badly: from its lower to its upper 80% bound.

    Args:
        output_dir: The folder for ``plan.json`` and ``plan.png``.
        runs: Run folders, folders of sweeps or of runs, or glob patterns; None for the usual spread.
        on: The set that the runs are read from; see :class:`kidasr.jobs.compare.Compare`.
        effect: The difference to show, in percentage points.
        n_factors: Number of hypotheses to vary.
        children: Number of speakers in the set; None for that of the runs, or 40.
        max_runs: Designs are tried up to this many runs.

    Raises:
        KidasrError: If none of the runs is finished, or no configuration has two seeds.
    """

    def __init__(
        self,
        output_dir: str,
        runs: Text | list[Text] | None,
        on: Text | None,
        effect: PositiveFloat,
        n_factors: PositiveInt,
        children: PositiveInt | None,
        max_runs: PositiveInt,
    ):
        self.output_dir = Path(output_dir)
        self.runs, self.on = runs, on
        self.effect, self.factors, self.children, self.max_runs = effect / 100, n_factors, children, max_runs

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Numbers that no plan can be made for."""
        if config["children"] is not None and config["children"] < 2:
            yield f"children={config['children']}: a single child says nothing of others; expected: 2 or more"
        if not 0 < config["effect"] < 100:
            yield f"effect={config['effect']}: not a difference in percentage points; expected: e.g. 1.0"
        if config["n_factors"] > MOST_FACTORS:
            yield f"n_factors={config['n_factors']}: more than a screening design can have; expected: at most {MOST_FACTORS}"
        if config["max_runs"] < 2 * (config["n_factors"] + 1):
            yield (
                f"max_runs={config['max_runs']}: not two seeds of the smallest design; expected: at least "
                f"{2 * (config['n_factors'] + 1)}"
            )

    def run(self) -> None:
        """Log the plan, write ``plan.json`` and ``plan.png``."""
        from kidasr.evidence.planning import POWER, smallest_shown
        from kidasr.report.figure import power_curves, save
        from kidasr.report.tables import Table, points
        from kidasr.runs.files import write_json

        spread, children, hours = self._measured()
        low, high = bounds = spread.bounds()
        log.info(
            "to show %.1f points with %d factors and %d speakers, with %.0f%% probability:",
            *(100 * self.effect, self.factors, children, 100 * POWER),
        )
        table = Table(["design", "configurations", "runs", "hours", "speakers needed"])
        curves, shaded, rows = {}, {}, []
        for plans in self._designs():
            row = self._row(plans, spread, bounds, children, hours)
            rows.append(row)
            most = plans[-1].runs
            needed = [row["runs_range"][0], row["runs"], row["runs_range"][1]]
            took = "-" if hours is None else _range([one and one * hours for one in needed], most * hours, 1)
            enough = row["children_needed"] or "no number"
            table.add(
                row["design"],
                str(plans[0].configurations),
                _range(needed, most),
                took,
                f"{enough} in {row['children_needed_with_runs']} runs",
            )
            curves[row["design"]] = [(plan.runs, plan.power(self.effect, spread, children)) for plan in plans]
            shaded[row["design"]] = [
                (plan.runs, plan.power(self.effect, low, children), plan.power(self.effect, high, children))
                for plan in plans
            ]
        floor = smallest_shown(spread, children, self.factors)
        log.info("\n%s", table.text())
        log.info(
            "runs of one configuration differ between seeds by %.2f points (80%% bounds %.2f to %.2f), from which the "
            "ranges are; speakers differ in what they gain by %.1f points",
            *(100 * one.of_runs(children) for one in (spread, low, high)),
            100 * spread.children,
        )
        if floor < 0.0005:
            log.info("no difference between speakers in what they gain was seen; if there is one, it takes more speakers")
        else:
            log.info(
                "less than %s points can't be shown with these %d speakers, however many seeds: that takes more speakers",
                *(points(floor).lstrip("+"), children),
            )
        if any(row["design"] == "screening" for row in rows):
            log.info("screening is biased by interactions between factors: confirm what it finds")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        save(power_curves(self.effect, curves, shaded), self.output_dir / "plan")
        plan = {
            "effect": self.effect,
            "children": children,
            "spread": vars(spread),
            "smallest_shown": floor,
            "designs": rows,
        }
        write_json(self.output_dir / "plan.json", plan)
        log.info("plan: %s", self.output_dir / "plan.png")

    def _row(
        self, plans: Sequence[Plan], spread: Spread, bounds: tuple[Spread, Spread], children: int, hours: float | None
    ) -> dict[str, Any]:
        """A design in ``plan.json``: the fewest runs, and the children that so many runs need."""
        from kidasr.evidence.planning import POWER, children_needed

        def fewest(one: Spread) -> int | None:
            return next((plan.runs for plan in plans if plan.power(self.effect, one, children) >= POWER), None)

        low, runs, high = (fewest(one) for one in (bounds[0], spread, bounds[1]))
        planned = next((plan for plan in plans if plan.runs == runs), plans[-1])
        return {
            "design": plans[0].design,
            "configurations": plans[0].configurations,
            "runs": runs,
            "runs_range": [low, high],
            "hours_per_run": hours,
            "children_needed": children_needed(planned, self.effect, spread),
            "children_needed_with_runs": planned.runs,
        }

    def _measured(self) -> tuple[Spread, int, float | None]:
        """The spread, the number of children, and the hours of a run, if known."""
        from kidasr.evidence.by_speaker import hours_of
        from kidasr.evidence.differences import measured_spread
        from kidasr.evidence.planning import USUAL

        if self.runs is None:
            log.info("no runs are given: planned from the usual spread, that of twelve runs of whisper-tiny.en")
            return USUAL, self.children or CHILDREN, None
        from kidasr.evidence.finished import finished_configurations

        configurations, _ = finished_configurations(self.runs, self.on)
        runs = [run for members in configurations.values() for run in members]
        if not runs:
            raise KidasrError(f"runs={self.runs}: none of them is finished; expected: finished runs, or no runs=")
        spread = measured_spread(configurations)
        if spread is None:
            raise KidasrError(
                f"runs: {len(runs)} runs of {len(configurations)} configurations, each with one seed: the spread between "
                "seeds is unknown; expected: a second seed of some, or no runs= to plan from the usual spread"
            )
        if spread.seed_degrees < FEW_DEGREES:
            log.warning(
                "%d runs of %d configurations tell little about the spread between seeds, so the range is wide; six "
                "configurations of two seeds tell enough",
                len(runs),
                len(configurations),
            )
        if any(run.speakers_unknown for run in runs):
            log.warning("data.speakers=unknown: planned as if each utterance were a speaker: it takes more than this")
        took = [hours for run in runs if (hours := hours_of(run)) is not None]
        return spread, self.children or len(set(runs[0].speakers)), sum(took) / len(took) if took else None

    def _designs(self) -> Iterator[list[Plan]]:
        """Each design with one seed, two seeds, ..., as far as the runs reach."""
        from kidasr.cli.designs import configurations
        from kidasr.config.checks import ConfigError
        from kidasr.evidence.differences import MAIN_SHARE
        from kidasr.evidence.planning import Plan

        factors = self.factors
        mains, interactions = 1 + factors, factors * (factors - 1) // 2
        models = {"half_factorial": mains + interactions, "factorial": mains + interactions, "screening": mains}
        for name in ("one_at_a_time", *models):
            if "factorial" in name and 2 ** (factors - 1) > self.max_runs:
                continue
            try:
                number = len(configurations(name, [2] * factors))
            except ConfigError:  # not with so few factors
                continue
            share = MAIN_SHARE if name in models else 1.0
            columns = models.get(name)
            plans = [
                Plan(name, number, seeds, factors, share, columns, is_balanced=name in models)
                for seeds in range(1, self.max_runs // number + 1)
            ]
            if plans and (factors > 1 or name not in models):
                yield plans


def _range(values: Sequence[float | None], most: float, digits: int = 0) -> str:
    """The estimate, with its range: ``"24 (12 to 48)"``."""
    low, middle, high = (f"> {most:.{digits}f}" if one is None else f"{one:.{digits}f}" for one in values)
    return middle if low == high else f"{middle} ({low} to {high})"
