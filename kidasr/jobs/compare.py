"""The comparison job: did it help, at which ages, and how sure is that?"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError
from kidasr.evidence.differences import LEVEL, Differences
from kidasr.evidence.doubts import doubts
from kidasr.evidence.finished import active_factors, baseline_of, finished_configurations, on_other_sets
from kidasr.evidence.published import is_published, published_level
from kidasr.evidence.rates import describe, describe_configurations, rate_before
from kidasr.evidence.runs import Run
from kidasr.report.about import about
from kidasr.report.options import ReportOptions
from kidasr.report.report import Report, comparison_tables
from kidasr.report.verdict import about_all, costs, verdict
from kidasr.runs.files import write_json
from kidasr.sweep.until import read_looks

log = logging.getLogger(__name__)


class Compare(Job):
    """Compare finished runs with a baseline, on the same utterances.

    Runs that differ only in their seed are one configuration; the spread between seeds is part of every interval. Writes
    ``comparison.json``, tables, figures and ``report.html``.

    Args:
        output_dir: The folder to write to.
        runs: Run folders, folders of sweeps or of runs, or glob patterns.
        baseline: A run folder, a configuration by its name in the table, or by its hypotheses (``["h1", "h2"]``; ``[]`` for
            none). None for the configuration with no hypothesis on; failing that, the one called baseline, then the first.
        on: The set to compare on: ``validation``, or the name of a test set. None for ``test`` if all runs have it,
            otherwise the validation set. What changes on the other sets that all runs have is reported beside it.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If there are fewer than two configurations, the runs were scored on different sets, none was scored on
            ``on``, or a seed is there twice with different transcripts.
    """

    def __init__(
        self,
        output_dir: str,
        runs: Text | list[Text],
        baseline: Text | list[Text] | None,
        on: Text | None,
        report: ReportOptions,
    ):
        self.output_dir = Path(output_dir)
        self.runs, self.baseline, self.on = runs, baseline, on
        self.report = Report(report)

    def run(self) -> None:
        """Compare the runs, log the results and write the report."""
        found, comparison = self.compare()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", comparison)
        self.report.write_comparison(self.output_dir, found.groups, comparison)
        log_results(comparison)
        log.info("comparison: %s", self.output_dir)

    def compare(self) -> tuple[Differences, dict[str, Any]]:
        """The differences, and the content of ``comparison.json``."""
        configurations, failed = finished_configurations(self.runs, self.on)
        runs = [run for members in configurations.values() for run in members]
        if len(configurations) < 2:
            raise KidasrError(
                f"runs: {len(runs)} finished run(s) of {len(configurations)} configuration(s); expected: two or more "
                "configurations"
            )
        baseline = baseline_of(configurations, self.baseline)
        on = active_factors(configurations)
        # The runs of an ablation that was looked at several times are judged at the level of its newest look.
        sweeps = {Path(run.folder).parent for run in runs}
        level = _level_of(sweeps.pop()) if len(sweeps) == 1 else LEVEL
        differences = Differences(configurations, baseline, on, level)
        warnings = list(doubts(differences, on))
        spread = differences.spread()
        return differences, {
            "rate": str(runs[0].metrics.get("rate", "WER")),
            "set": runs[0].set_name,
            "about": about(differences.runs),
            "configurations": describe_configurations(differences),
            "runs": [
                {
                    "path": run.folder,
                    "configuration": configuration,
                    "seed": run.seed,
                    "is_fixed": run.is_fixed,
                    **describe(run),
                }
                for configuration, members in configurations.items()
                for run in members
            ],
            "failed": failed,
            "doubts": warnings,
            "level": level,
            "spread": spread and vars(spread),
            "pairs": [{**pair, "set": runs[0].set_name} for pair in differences.pairs()],
            "effects": [{**effect, "set": runs[0].set_name} for effect in differences.effects()],
            "other_sets": [
                _on_other_set(name, of_set, baseline, on, level) for name, of_set in on_other_sets(configurations).items()
            ],
        }


def _level_of(folder: Path) -> float:
    """The level of the folder that all runs are in: a sweep's, or a published comparison's."""
    return published_level(folder) if is_published(folder) else read_looks(folder).level


def log_results(comparison: Mapping[str, Any]) -> None:
    """Log the tables of a comparison, its doubts, and what it found in words."""
    rate, pairs, effects = comparison["rate"], comparison["pairs"], comparison["effects"]
    tables = comparison_tables(comparison)
    # Of a factorial, the ages of its main effects instead of those of each configuration.
    for name in ("runs", "effects_by_age" if effects else "ages", "pairs", "effects"):
        if name in tables:
            log.info("\n%s", tables[name][0].text())
    if "other_sets" in tables:
        log.info("\non the other sets:\n%s", tables["other_sets"][0].text())
    for cost in costs(comparison):
        log.warning("%s", cost)
    for doubt in comparison["doubts"]:
        log.warning("%s", doubt)
    log.info("")
    speakers = comparison["runs"][0]["speakers"]
    for name, one in _asked(pairs, effects):
        log.info("%s: %s", name, verdict(one, rate, speakers))
    for line in about_all(comparison):
        log.info(line)


def _on_other_set(
    name: str,
    configurations: Mapping[str, Sequence[Run]],
    baseline: str,
    on: Mapping[str, frozenset[str]],
    level: float,
) -> dict[str, Any]:
    """What ``comparison.json`` holds of a set that the comparison is not about, corrected for what is said of that set."""
    found = Differences(configurations, baseline, on, level)
    first = found.runs[0]
    return {
        "set": name,
        "utterances": int(first.utterances.sum()),
        "speakers": found.speakers,
        "words": int(first.words.sum()),
        "configurations": [
            {**one, "before": rate_before(configurations[one["configuration"]])} for one in describe_configurations(found)
        ],
        "pairs": [{**pair, "set": name} for pair in found.pairs()],
        "effects": [{**effect, "set": name} for effect in found.effects()],
    }


def _asked(
    pairs: Sequence[Mapping[str, Any]], effects: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a log states in words: the pairs; of a factorial, its main effects and whatever else has a verdict."""
    for effect in effects:
        if effect["kind"] == "main" or effect["verdict"] in ("better", "worse"):
            yield effect["effect"], effect
    for pair in pairs:
        if not effects or pair["verdict"] in ("better", "worse"):
            yield pair["run"], pair
