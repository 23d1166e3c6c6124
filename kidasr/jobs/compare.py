"""The comparison job: did it help, at which ages, and how sure is that?"""

import glob
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError
from kidasr.evidence.factorial import factorial_contrasts
from kidasr.evidence.rates import as_json, compare_pair, contrast, describe
from kidasr.evidence.runs import Run, check_same_set, hypotheses_on, name_configurations, read_run
from kidasr.evidence.significance import holm
from kidasr.report.options import ReportOptions
from kidasr.report.report import Report
from kidasr.report.tables import comparison_table, effect_table, pair_table
from kidasr.report.verdict import about_seeds, verdict
from kidasr.runs.files import write_json
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

    Runs that differ only in their seed are one configuration; seed variance is included in every interval. Writes
    ``comparison.json``, tables, figures and ``report.html``.

    Args:
        output_dir: The folder to write to.
        runs: Run folders or glob patterns.
        baseline: A run folder, a configuration by its name in the table, or by its hypotheses (``["h1", "h2"]``; ``[]`` for
            none). None for the configuration with no hypothesis on; failing that, the one called baseline, then the first.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If there are fewer than two configurations, or the runs were scored on different sets.
    """

    def __init__(self, output_dir: str, runs: Text | list[Text], baseline: Text | list[Text] | None, report: ReportOptions):
        self.output_dir = Path(output_dir)
        self.patterns = [runs] if isinstance(runs, str) else list(runs)
        self.baseline, self.report = baseline, Report(report)

    def run(self) -> None:
        """Compare the runs, log the results and write the report."""
        runs, failed = self._read()
        for one in failed:
            log.warning("left out: %s", one["reason"])
        configurations = name_configurations(runs)
        if len(configurations) < 2:
            raise KidasrError(
                f"runs: {len(runs)} finished run(s) of {len(configurations)} configuration(s); expected: two or more "
                "configurations"
            )
        for run in runs[1:]:
            check_same_set(runs[0], run)
        name = self._baseline_of(configurations)
        rate = str(runs[0].metrics.get("rate", "WER"))
        comparison: dict[str, Any] = {
            "rate": rate,
            "runs": self._describe(configurations),
            "failed": failed,
            "pairs": self._pairs(name, configurations),
            "effects": self._effects(configurations),
        }
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", comparison)
        self.report.write_comparison(self.output_dir, configurations, comparison)
        tables = [comparison_table(comparison["runs"], rate), pair_table(name, comparison["pairs"])]
        if comparison["effects"]:
            tables.append(effect_table(comparison["effects"]))
        for table in tables:
            log.info("\n%s", table.text())
        log.info("")
        for pair in comparison["pairs"]:
            log.info("%s: %s", pair["run"], verdict(pair, len(comparison["pairs"]), rate))
        log.info(about_seeds(comparison["pairs"]))
        log.info("comparison: %s", self.output_dir)

    def _describe(self, configurations: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
        return [
            {
                "path": run.folder,
                "configuration": configuration,
                "seed": run.seed,
                **describe(run, self.report.replicates),
            }
            for configuration, members in configurations.items()
            for run in members
        ]

    def _pairs(self, baseline: str, configurations: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
        pairs = [
            {
                "baseline": baseline,
                "run": other,
                **compare_pair(configurations, baseline, other, self.report.replicates),
            }
            for other in configurations
            if other != baseline
        ]
        for pair, corrected in zip(pairs, holm([pair["p_mapsswe"] for pair in pairs]), strict=True):
            pair["p_holm"] = corrected
        return pairs

    def _effects(self, configurations: Mapping[str, Sequence[Run]]) -> list[dict[str, Any]]:
        """Main effects and interactions, if the runs form a factorial."""
        known = _hypotheses(configurations)
        if len(known) < len(configurations):
            return []
        everything = np.ones(len(next(iter(configurations.values()))[0].words), dtype=bool)
        return [
            {"effect": effect, **as_json(contrast(configurations, weights, everything, self.report.replicates))}
            for effect, weights in factorial_contrasts(known).items()
        ]

    def _read(self) -> tuple[list[Run], list[dict[str, str]]]:
        runs, failed = [], []
        for folder in self._folders():
            try:
                runs.append(read_run(folder))
            except KidasrError as error:
                failed.append({"path": str(folder), "reason": str(error)})
        return runs, failed

    def _folders(self) -> Iterator[Path]:
        seen = set()
        for pattern in self.patterns:
            found = [Path(pattern)]
            if glob.has_magic(pattern):
                found = in_order([path for path in map(Path, glob.glob(pattern)) if path.is_dir()])  # noqa: PTH207, absolute too
            if not found:
                raise KidasrError(f"runs: nothing matches {pattern}")
            for folder in found:
                if folder not in seen:
                    seen.add(folder)
                    yield folder

    def _baseline_of(self, configurations: Mapping[str, Sequence[Run]]) -> str:
        """The name of the baseline configuration."""
        on = _hypotheses(configurations)
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


def _hypotheses(configurations: Mapping[str, Sequence[Run]]) -> dict[str, frozenset[str]]:
    """The hypotheses that are on in each configuration of an ablation, by its name. Other configurations are left out."""
    on = {name: hypotheses_on(members[0]) for name, members in configurations.items()}
    return {name: one for name, one in on.items() if one is not None}
