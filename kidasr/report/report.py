"""Reports of a run and of a comparison: pages, figures and tables."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kidasr.evidence.rates import describe
from kidasr.evidence.runs import Run
from kidasr.report.browser import browser_data, changes
from kidasr.report.chart import forest_chart, learning_chart, wer_by_age_chart
from kidasr.report.figure import draw_forest, draw_learning_curve, draw_wer_by_age, rate_of
from kidasr.report.options import ReportOptions
from kidasr.report.page import Page, Section
from kidasr.report.tables import (
    Table,
    comparison_table,
    effect_table,
    interval,
    pair_table,
    percent,
    points,
    rates_table,
    result_table,
    to_csv,
)
from kidasr.report.verdict import about_seeds, ages_that_differ, verdict
from kidasr.runs.files import ENVIRONMENT, LEARNING_CURVE, REPORT, WER_BY_AGE

#: More curves or bars than this are hard to tell apart.
MAX_DRAWN = 7

#: Note below the tables of pairs.
HOW = (
    "Change: {rate} minus the baseline's {rate}, in percentage points; below zero is better. Interval: 95%, from a paired "
    "bootstrap over speakers, with seed variance if there are several seeds. Improved: share of bootstrap replicates with "
    "a lower {rate}. MAPSSWE: p-value of the matched-pairs test with speakers as segments, averaged over seeds. Holm: the "
    "same, corrected for the number of comparisons. Detectable: the smallest true difference that this test set would find "
    "with 80% probability. Intervals of single ages are not corrected for their number."
)


class Report:
    """Writes the reports of runs and comparisons.

    Args:
        options: The keys of the ``report`` group.
    """

    def __init__(self, options: ReportOptions):
        self.html, self.replicates = options.html, options.replicates
        self.max_utterances, self.embed_audio_mb = options.max_utterances, options.embed_audio_mb

    def write_run(self, folder: Path, run: Run) -> None:
        """Write ``learning_curve.png``, ``wer_by_age.png`` and ``report.html`` of a run."""
        metrics = run.metrics
        described = describe(run, self.replicates)
        draw_learning_curve(folder / LEARNING_CURVE, metrics)
        rate = rate_of(metrics)
        draw_wer_by_age(folder / WER_BY_AGE, {rate: described}, rate)
        if not self.html:
            return
        before = metrics["zero_shot"]
        zero_shot = f", from {percent(before['wer'])} before training" if before else ""
        gap = described["gap_youngest_oldest"]
        said = [
            f"{percent(described['wer'])} {rate}{zero_shot}; 95% interval {interval(described['ci95'])}, by resampling "
            f"{described['speakers']} speakers. The model was kept at step {metrics['best_step']} of {metrics['steps']}."
        ]
        if gap is not None:
            ends = described["gap_ci95"]
            known = f" (95% interval {points(ends[0])} to {points(ends[1])})" if ends else ""
            said.append(f"Youngest minus oldest children: {points(gap)} points of {rate}{known}.")
        page = Page(f"kidasr: {folder.name}")
        page.sections = [
            Section(
                f"{rate} by age",
                said,
                chart=wer_by_age_chart({rate: described}, rate),
                table=rates_table(described, rate),
                details=("Before and after training", result_table(before, metrics["final"], rate)) if before else None,
            ),
            Section("Training", chart=learning_chart({rate: metrics})),
            Section("Environment", items=_how_it_was_run(folder)),
        ]
        page.browser = browser_data({folder.name: run}, folder, self.max_utterances, self.embed_audio_mb)
        page.write(folder / REPORT)

    def write_comparison(
        self, folder: Path, configurations: Mapping[str, Sequence[Run]], comparison: Mapping[str, Any]
    ) -> None:
        """Write the tables (``.md``, ``.csv``, ``.tex``), figures (``.png``, ``.pdf``) and ``report.html`` of a comparison.

        Args:
            folder: The folder to write to.
            configurations: Runs by the name of their configuration, including the baseline.
            comparison: The content of ``comparison.json``.
        """
        described, pairs, effects = comparison["runs"], comparison["pairs"], comparison["effects"]
        baseline = pairs[0]["baseline"]
        rate = comparison["rate"]
        tables = [pair_table(baseline, pairs), comparison_table(described, rate)]
        if effects:
            tables.insert(1, effect_table(effects))
        (folder / "comparison.md").write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")
        (folder / "comparison.tex").write_text("\n".join(table.latex() for table in tables), encoding="utf-8")
        (folder / "comparison.csv").write_text(_pairs_as_csv(pairs), encoding="utf-8")
        (folder / "runs.csv").write_text(_runs_as_csv(described), encoding="utf-8")

        differences = {pair["run"]: pair for pair in pairs}
        axis = f"change of {rate} against {baseline} (percentage points; below zero is better)"
        # The first run of each configuration; the baseline comes first.
        first: dict[str, Mapping[str, Any]] = {}
        for one in sorted(described, key=lambda one: one["configuration"] != baseline):
            first.setdefault(one["configuration"], one)
        drawn = dict(list(first.items())[:MAX_DRAWN])
        for ending in ("png", "pdf"):
            draw_forest(folder / f"forest.{ending}", axis, differences)
            draw_wer_by_age(folder / f"wer_by_age.{ending}", drawn, rate)
            if effects:
                effect_axis = f"effect on {rate} (percentage points; below zero is better)"
                draw_forest(folder / f"effects.{ending}", effect_axis, {one["effect"]: one for one in effects})
        if self.html:
            page = Page(f"kidasr: {len(first)} configurations, {len(described)} runs")
            page.sections = list(self._comparison_sections(configurations, comparison, tables, axis, drawn))
            systems = {name: configurations[name][0] for name in [baseline, *differences]}
            page.browser = browser_data(systems, folder, self.max_utterances, self.embed_audio_mb)
            page.write(folder / REPORT)

    def _comparison_sections(
        self,
        configurations: Mapping[str, Sequence[Run]],
        comparison: Mapping[str, Any],
        tables: Sequence[Table],
        axis: str,
        drawn: Mapping[str, Mapping[str, Any]],
    ) -> Sequence[Section]:
        described, pairs, effects = comparison["runs"], comparison["pairs"], comparison["effects"]
        baseline, rate = pairs[0]["baseline"], comparison["rate"]
        found = []
        for pair in pairs:
            ages = ages_that_differ(pair)
            by_age = f" Single ages whose interval excludes zero: {'; '.join(ages)}." if ages else ""
            found.append(f"{pair['run']}: {verdict(pair, len(pairs), rate)}.{by_age}")
        whole = described[0]
        unit = "characters" if rate == "CER" else "words"
        size = f"{whole['utterances']} utterances ({whole['words']} {unit}) of {whole['speakers']} children"
        sections = [
            Section(
                "Did it help?",
                [f"Compared with {baseline}, on {size}. {about_seeds(pairs)}"],
                found,
                forest_chart(axis, {pair["run"]: pair for pair in pairs}),
                pair_table(baseline, pairs, by_age=False),
                ("by age", tables[0]),
                HOW.format(rate=rate),
            )
        ]
        if effects:
            note = (
                f"Main effect: mean {rate} with a hypothesis on minus the mean with it off, averaged over the others. "
                "Interaction a x b: half the difference between the effect of a with b on and with b off; below zero they "
                "help each other."
            )
            chart = forest_chart(f"effect on {rate} (percentage points)", {one["effect"]: one for one in effects})
            sections.append(Section("Effects and interactions", chart=chart, table=tables[1], note=note))
        drawn_only = f" The charts show the first {MAX_DRAWN} configurations." if len(pairs) >= MAX_DRAWN else ""
        which = f"The charts and counts use the first run of each configuration.{drawn_only}"
        rows = [
            f"{name}: {fixed} utterances fixed (wrong in the baseline, right here), {broken} broken (the reverse)."
            for name, (fixed, broken) in {
                pair["run"]: changes(configurations[baseline][0], configurations[pair["run"]][0]) for pair in pairs
            }.items()
        ]
        sections.append(Section("Runs by age", [which], rows, wer_by_age_chart(drawn, rate), tables[-1]))
        curves = {name: configurations[name][0].metrics for name in drawn if configurations[name][0].metrics.get("history")}
        if curves:
            sections.append(Section("Training", chart=learning_chart(curves)))
        if comparison["failed"]:
            sections.append(Section("Left out", items=[one["reason"] for one in comparison["failed"]]))
        return sections


def _how_it_was_run(folder: Path) -> list[str]:
    """The environment, from ``environment.json`` and ``.hydra``; missing files are skipped."""
    lines = []
    overrides = folder / ".hydra" / "overrides.yaml"
    if overrides.is_file():
        said = " ".join(map(str, OmegaConf.load(overrides)))
        lines.append(f"Overrides: {said or 'none'}")
    record = folder / ENVIRONMENT
    if record.is_file():
        environment = json.loads(record.read_text(encoding="utf-8"))
        changed = " with uncommitted changes" if environment["uncommitted_changes"] else ""
        lines += [
            f"Seed: {environment['seed']}",
            f"Started: {environment['started']}",
            f"Commit: {environment['commit'] or 'unknown'}{changed}",
            f"Machine: {environment['platform']}, {environment['cpus']} x {environment['cpu']}, {environment['threads']} "
            f"threads, {', '.join(environment['gpus']) or 'no GPU'}, Python {environment['python']}",
            "Packages: " + ", ".join(f"{name} {version}" for name, version in environment["packages"].items()),
        ]
    return lines


def _pairs_as_csv(pairs: Sequence[Mapping[str, Any]]) -> str:
    header = ["baseline", "run", "age", "delta_wer", "low", "high", "p_improvement", "p_mapsswe", "p_holm", "detectable"]
    rows = [
        [pair["baseline"], pair["run"], age, one["delta_wer"], *(one["ci95"] or ("", "")), one["p_improvement"]]
        + [one.get(name, "") for name in header[-3:]]
        for pair in pairs
        for age, one in (("all", pair), *pair["by_age"].items())
    ]
    return to_csv(header, rows)


def _runs_as_csv(described: Sequence[Mapping[str, Any]]) -> str:
    names = ["speakers", "utterances", "words", "wer", "cer", "substitutions", "deletions", "insertions", "runaways"]
    header = ["configuration", "seed", "path", "age", *names, "wer_low", "wer_high", "cer_low", "cer_high"]
    rows = []
    for run in described:
        for age, one in (*run["by_age"].items(), ("all", run)):
            ends = [*(one["ci95"] or ("", "")), *(one["cer_ci95"] or ("", ""))]
            rows.append([*(run[name] for name in header[:3]), age, *(one[name] for name in names), *ends])
    return to_csv(header, rows)
