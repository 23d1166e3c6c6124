"""The planning job: what does it take to show a difference?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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


class PlanAblation(Job):
    """Say how many runs, hours and children each design takes to show a difference with 80% probability.

    The spread between children, between seeds and within both is that of finished runs, or what is usual. The range of the
    answers is that of the spread between seeds, which few runs tell badly: from its lower to its upper 80% bound.

    Args:
        output_dir: The folder for ``plan.json`` and ``plan.png``.
        runs: Run folders or glob patterns; None for the usual spread.
        on: The set that the runs are read from; see :class:`kidasr.jobs.compare.Compare`.
        effect: The difference to show, in percentage points.
        factors: Number of hypotheses to vary.
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
        factors: PositiveInt,
        children: PositiveInt | None,
        max_runs: PositiveInt,
    ):
        self.output_dir = Path(output_dir)
        self.runs, self.on = runs, on
        self.effect, self.factors, self.children, self.max_runs = effect / 100, factors, children, max_runs

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Numbers that no plan can be made for."""
        if config["children"] is not None and config["children"] < 2:
            yield f"children={config['children']}: a single child says nothing of others; expected: 2 or more"
        if not 0 < config["effect"] < 100:
            yield f"effect={config['effect']}: not a difference in percentage points; expected: e.g. 1.0"

    def run(self) -> None:
        """Log the plan, write ``plan.json`` and ``plan.png``."""
        from kidasr.evidence.planning import POWER, children_needed, smallest_shown
        from kidasr.report.figure import power_curves, save
        from kidasr.report.tables import Table, points
        from kidasr.runs.files import write_json

        spread, children, hours = self._measured()
        low, high = spread.bounds()
        log.info(
            "to show %.1f points with %d children and %d factors, with %.0f%% probability:",
            100 * self.effect,
            children,
            self.factors,
            100 * POWER,
        )
        log.info(
            "runs of one configuration differ between seeds by %.2f points (%.2f to %.2f), and children in what they gain by "
            "%.1f points",
            *(100 * one.of_runs(children) for one in (spread, low, high)),
            100 * spread.children,
        )
        table = Table(["design", "runs", "at best", "at worst", "hours", f"shown by {self.max_runs} runs", "children for 0.5x"])
        table = Table(["design", "runs", "of", "hours", "children with so many runs"])
        rows = []
        curves: dict[str, list[tuple[int, float]]] = {}
        bounds: dict[str, list[tuple[int, float, float]]] = {}
        for name, first in self._designs():
            plans = [replace(first, seeds=seeds) for seeds in range(1, self.max_runs // first.configurations + 1)]
            if not plans:
                continue
            needed = [self._runs_needed(plans, one, children) for one in (low, spread, high)]
            curves[name] = [(plan.runs, plan.power(self.effect, spread, children)) for plan in plans]
            bounds[name] = [
                (plan.runs, plan.power(self.effect, high, children), plan.power(self.effect, low, children)) for plan in plans
            ]
            usual = next((plan for plan in plans if plan.runs == needed[1]), plans[-1])
            enough = children_needed(usual, self.effect, spread)
            table.add(
                name,
                _range(needed, self.max_runs),
                f"{first.configurations} configurations",
                "-" if hours is None else _range([one and one * hours for one in needed], self.max_runs * hours, 1),
                f"{enough} with {usual.runs} runs" if enough else f"no number with {usual.runs} runs",
            )
            rows.append(
                {
                    "design": name,
                    "configurations": first.configurations,
                    "runs": needed[1],
                    "runs_range": [needed[0], needed[2]],
                    "hours_per_run": hours,
                    "children_needed": enough,
                    "children_needed_with_runs": usual.runs,
                }
            )
        log.info("\n%s", table.text())
        floor = smallest_shown(spread, children, self.factors)
        log.info(
            "less than %s points can't be shown with these %d children, however many seeds: that takes more children",
            points(floor).lstrip("+"),
            children,
        )
        best = min((row for row in rows if row["runs"]), key=lambda row: row["runs"], default=None)
        if best is None:
            log.info("no design shows %.1f points with up to %d runs", 100 * self.effect, self.max_runs)
        elif "screening" in best["design"]:
            log.info("screening is biased by interactions: confirm what it finds")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        save(power_curves(self.effect, curves, bounds), self.output_dir / "plan")
        plan = {"effect": self.effect, "children": children, "spread": vars(spread), "smallest_shown": floor, "designs": rows}
        write_json(self.output_dir / "plan.json", plan)
        log.info("plan: %s", self.output_dir / "plan.png")

    def _measured(self) -> tuple[Spread, int, float | None]:
        """The spread, the number of children, and the hours of a run, if known."""
        from kidasr.evidence.differences import measured_spread
        from kidasr.evidence.planning import USUAL
        from kidasr.runs.record import duration_sec

        if self.runs is None:
            log.info("no runs are given: planned from the usual spread (docs/ablation.md)")
            return USUAL, self.children or CHILDREN, None
        from kidasr.jobs.compare import finished_configurations

        configurations, _ = finished_configurations(self.runs, self.on)
        runs = [run for members in configurations.values() for run in members]
        if not runs:
            raise KidasrError(f"runs={self.runs}: none of them is finished; expected: finished runs, or no runs=")
        spread = measured_spread(configurations)
        if spread is None:
            raise KidasrError(
                f"runs: {len(runs)} runs of {len(configurations)} configurations, each with one seed: the spread between seeds "
                "is unknown; expected: a second seed of some, or no runs= to plan from the usual spread"
            )
        if spread.seed_degrees < FEW_DEGREES:
            log.warning(
                "%d runs of %d configurations tell little about the spread between seeds, so the range is wide; six "
                "configurations of two seeds tell enough",
                len(runs),
                len(configurations),
            )
        took = [sec for run in runs if (sec := duration_sec(Path(run.folder))) is not None]
        return spread, self.children or len(set(runs[0].speakers)), sum(took) / len(took) / 3600 if took else None

    def _designs(self) -> Iterator[tuple[str, Plan]]:
        from kidasr.cli.designs import screening_runs
        from kidasr.evidence.differences import MAIN_SHARE
        from kidasr.evidence.planning import Plan

        factors = self.factors
        yield "one_at_a_time", Plan("one_at_a_time", factors + 1, 1, factors)
        mains = Plan("", 0, 1, factors, MAIN_SHARE, is_balanced=True)
        effects = 1 + factors + factors * (factors - 1) // 2
        if factors >= 5:
            yield "half_factorial", replace(mains, configurations=2 ** (factors - 1), model_columns=effects)
        if factors >= 2:
            yield "factorial", replace(mains, configurations=2**factors, model_columns=effects)
            screened = screening_runs(factors)
            yield "screening", replace(mains, configurations=screened, model_columns=1 + factors)

    def _runs_needed(self, plans: Sequence[Plan], spread: Spread, children: int) -> int | None:
        from kidasr.evidence.planning import POWER

        return next((plan.runs for plan in plans if plan.power(self.effect, spread, children) >= POWER), None)


def _range(values: Sequence[float | None], most: float, digits: int = 0) -> str:
    """The estimate, with its range: ``"24 (12 to 48)"``."""
    low, middle, high = (f"> {most:.{digits}f}" if one is None else f"{one:.{digits}f}" for one in values)
    return middle if low == high else f"{middle} ({low} to {high})"
