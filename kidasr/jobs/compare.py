"""The comparison job: did it help, at which ages, and how sure is that?"""

import glob
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError
from kidasr.evidence.differences import LEVEL, Differences
from kidasr.evidence.rates import describe, describe_configurations
from kidasr.evidence.runs import Run, check_same_set, distinct, factors_on, has_set, name_configurations, read_run
from kidasr.report.about import about
from kidasr.report.options import ReportOptions
from kidasr.report.report import Report
from kidasr.report.tables import comparison_table, effect_table, pair_table
from kidasr.report.verdict import about_seeds, about_set, about_spread, verdict
from kidasr.runs.files import METRICS, write_json
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


class Compare(Job):
    """Compare finished runs with a baseline, on the same utterances.

    Runs that differ only in their seed are one configuration; the spread between seeds is part of every interval. Writes
    ``comparison.json``, tables, figures and ``report.html``.

    Args:
        output_dir: The folder to write to.
        runs: Run folders or glob patterns.
        baseline: A run folder, a configuration by its name in the table, or by its hypotheses (``["h1", "h2"]``; ``[]`` for
            none). None for the configuration with no hypothesis on; failing that, the one called baseline, then the first.
        on: The set to compare on: ``validation``, or the name of a test set. None for ``test`` if all runs have it,
            otherwise the validation set.
        report: The keys of the ``report`` group.
        level: Probability of at least one false verdict.

    Raises:
        KidasrError: If there are fewer than two configurations, the runs were scored on different sets, or a seed is there
            twice with different transcripts.
    """

    def __init__(
        self,
        output_dir: str,
        runs: Text | list[Text],
        baseline: Text | list[Text] | None,
        on: Text | None,
        report: ReportOptions,
        level: float = LEVEL,
    ):
        self.output_dir = Path(output_dir)
        self.runs, self.baseline, self.on = runs, baseline, on
        self.report, self.level = Report(report), level

    def run(self) -> None:
        """Compare the runs, log the results and write the report."""
        found, comparison = self.compare()
        rate, pairs, effects = comparison["rate"], comparison["pairs"], comparison["effects"]
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", comparison)
        self.report.write_comparison(self.output_dir, found.groups, comparison)
        tables = [comparison_table(comparison["runs"], rate), pair_table(found.baseline, pairs)]
        if effects:
            tables.append(effect_table(effects))
        for table in tables:
            log.info("\n%s", table.text())
        log.info("")
        children = comparison["runs"][0]["speakers"]
        for name, one in [(one["effect"], one) for one in effects] + [(pair["run"], pair) for pair in pairs]:
            log.info("%s: %s", name, verdict(one, len(pairs) + len(effects), rate, children))
        for line in (about_seeds(pairs), about_spread(pairs), about_set(comparison["set"], comparison["runs"], rate)):
            if line:
                log.info(line)
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
        differences = Differences(configurations, self._baseline_of(configurations), _factors(configurations), self.level)
        spread = differences.spread()
        return differences, {
            "rate": str(runs[0].metrics.get("rate", "WER")),
            "set": runs[0].set_name,
            "about": about(differences.runs),
            "configurations": describe_configurations(differences),
            "runs": [
                {"path": run.folder, "configuration": configuration, "seed": run.seed, **describe(run)}
                for configuration, members in configurations.items()
                for run in members
            ],
            "failed": failed,
            "level": self.level,
            "spread": spread and vars(spread),
            "pairs": [{**pair, "set": runs[0].set_name} for pair in differences.pairs()],
            "effects": [{**effect, "set": runs[0].set_name} for effect in differences.effects()],
        }

    def _baseline_of(self, configurations: Mapping[str, Sequence[Run]]) -> str:
        """The name of the baseline configuration."""
        on = _factors(configurations)
        if self.baseline is None:
            without = [name for name in on if not on[name]]
            called = [name for name in configurations if name == "baseline"]
            return [*(without if len(without) == 1 else called), *configurations][0]
        if not isinstance(self.baseline, str):
            found = [name for name in on if on[name] == frozenset(self.baseline)]
            if len(found) == 1:
                return found[0]
            raise KidasrError(
                f"baseline=[{','.join(self.baseline)}]: {len(found)} configurations have exactly these hypotheses on; "
                f"expected: one, or a name: {', '.join(found or configurations)}"
            )
        for name, members in configurations.items():
            if self.baseline == name or Path(self.baseline) in [Path(run.folder) for run in members]:
                return name
        raise KidasrError(f"baseline={self.baseline}: not among the runs; expected: {', '.join(configurations)}")


def finished_configurations(
    patterns: Text | Sequence[Text], on: Text | None
) -> tuple[dict[str, list[Run]], list[dict[str, str]]]:
    """The finished runs by configuration, each seed once and all on the same utterances.

    Args:
        patterns: Run folders or glob patterns.
        on: The set; see :class:`Compare`.

    Returns:
        The runs, and what was left out: ``path`` and ``reason``.

    Raises:
        KidasrError: If they were scored on different sets, or a seed is there twice with different transcripts.
    """
    folders = list(_folders([patterns] if isinstance(patterns, str) else patterns))
    set_name = on or _set_of_all(folders)
    runs, failed = [], []
    for folder in folders:
        try:
            runs.append(read_run(folder, set_name))
        except KidasrError as error:
            failed.append({"path": str(folder), "reason": str(error)})
    configurations, twice = distinct(name_configurations(runs))
    for one in failed + twice:
        log.warning("left out: %s", one["reason"])
    for run in runs[1:]:
        check_same_set(runs[0], run)
    return configurations, failed + twice


def _set_of_all(folders: Sequence[Path]) -> str:
    """The test set if all finished runs have it, otherwise the validation set."""
    finished = [folder for folder in folders if (folder / METRICS).is_file()]
    tested = [folder for folder in finished if has_set(folder, "test")]
    if tested and len(tested) < len(finished):
        log.warning(
            "compared on the validation set: %d of %d runs have transcripts of a test set", len(tested), len(finished)
        )
    return "test" if tested and len(tested) == len(finished) else "validation"


def _folders(patterns: Sequence[Text]) -> Iterator[Path]:
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


def _factors(configurations: Mapping[str, Sequence[Run]]) -> dict[str, frozenset[str]]:
    """What is on in each configuration of an ablation, by its name. Other configurations are left out."""
    on = {name: factors_on(members[0]) for name, members in configurations.items()}
    return {name: one for name, one in on.items() if one is not None}
