"""Reports of a run and of a comparison: pages, figures and tables."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kidasr.evidence.rates import describe
from kidasr.evidence.runs import Run
from kidasr.report.ages_drawn import AgesDrawn
from kidasr.report.browser import browser_data, changes
from kidasr.report.figure import MARKERS, ages_by_step, forest, learning_curve, rate_of, save, wer_by_age
from kidasr.report.options import ReportOptions
from kidasr.report.page import Page, Section
from kidasr.report.tables import (
    Table,
    age_table,
    comparison_table,
    configuration_table,
    effect_table,
    interval,
    other_sets_table,
    pair_table,
    percent,
    points,
    rates_table,
    result_table,
    sets_table,
    speakers_of,
    texts_table,
    to_csv,
)
from kidasr.report.verdict import (
    TOO_NARROW,
    TOO_NARROW_SHORT,
    about_all,
    about_choice,
    about_full_window,
    about_kept,
    about_undecided_sets,
    about_worse_sets,
    ages_that_differ,
    costs,
    verdict,
)
from kidasr.runs.files import ENVIRONMENT, LEARNING_CURVE, REPORT, WER_BY_AGE
from kidasr.runs.folder import typed_overrides

#: More curves or points than this are hard to tell apart.
MAX_DRAWN = len(MARKERS)

#: A figure with rows for each age is too long with more configurations or factors than this.
MAX_BY_AGE = 20

#: Figures that only some comparisons have.
SOMETIMES = frozenset({"effects", "effects_by_age", "learning_curves"})

#: Note below the tables of pairs.
HOW = (
    "Change: {rate} minus the baseline's {rate}, in percentage points; below zero is better. Interval and p: for other "
    "speakers and other seeds, by Student's t, from speakers and runs as crossed samples. Corrected: p for all pairs and "
    "effects of this comparison together (step-down with their correlations; Holm's correction with fewer than ten speakers"
    "{shares}); below {level} it is a verdict. Would show: the smallest true difference that would have got a verdict with "
    "80% probability."
)

#: The same for the last column of the pairs.
HOW_SPEAKERS = (
    "p, speakers only: the matched-pairs test MAPSSWE with speakers as segments. It knows nothing of seeds: it tells "
    "whether these very runs would differ on other speakers."
)

#: The same if both sides of a pair are systems without seeds.
HOW_SYSTEMS = (
    "Between two systems as they are, interval and p are for other speakers alone: they say which of these two is better "
    "for other speakers, and nothing of the way in which they were trained."
)

#: Note below the changes by age.
HOW_BY_AGE = (
    "The figure shows pooled changes: an age with few speakers says little by itself, and its change is drawn to that of "
    "all ages, the more so the less the ages differ beyond chance. Pooled intervals hold the truth in 95% of ages on "
    "average; a large change in a single small age is drawn too far to the others, so compare it with that of the "
    "age by itself. An age is named only where the change overall has a verdict."
)


#: Note below the table of other sets.
HOW_OTHER_SETS = (
    "Means over the seeds of a configuration, before training and after it. Change, interval and verdict are those against "
    "the baseline, as on the set that is compared; corrected: for what this comparison reports of that set."
)


class Report:
    """Writes the reports of runs and comparisons.

    Args:
        options: The keys of the ``report`` group.
    """

    def __init__(self, options: ReportOptions):
        self.html = options.html
        self.max_utterances, self.embed_audio_mb = options.max_utterances, options.embed_audio_mb

    def write_run(
        self, folder: Path, run: Run, tests: Mapping[str, Run] | None = None, drawn: AgesDrawn | None = None
    ) -> None:
        """Write ``report.html`` and the figures (``.png``, ``.pdf``) of a run.

        Args:
            folder: The folder to write to.
            run: The run on the validation set; if it was not scored on that, on one of its test sets.
            tests: The same run on each other test set, by name.
            drawn: The ages of the utterances that training drew; None if they are not known.
        """
        metrics = run.metrics
        described = describe(run)
        rate = rate_of(metrics)
        curve = learning_curve({"": [metrics]}, rate) if metrics.get("history") else None
        by_age = wer_by_age({"": described}, rate=rate, note=TOO_NARROW_SHORT if run.speakers_unknown else "")
        if curve is not None:
            save(curve, folder / LEARNING_CURVE)
        save(by_age, folder / WER_BY_AGE)
        if not self.html:
            return
        before = metrics.get("zero_shot")
        zero_shot = f", from {percent(before['wer'])} before training" if before else ""
        scored_with = [f"{_capital(metrics['scored_with'])}."] if "scored_with" in metrics else []
        gap, worse = described["gap_youngest_oldest"], about_worse_sets(metrics)
        unknown = run.speakers_unknown
        others = TOO_NARROW if unknown else f"for other speakers than these {described['speakers']}"
        said = [
            f"{percent(described['wer'])} {rate}{zero_shot}; 95% interval {interval(described['ci95'])}, {others}. "
            f"{about_kept(metrics)}".strip(),
            *scored_with,
            *_scored_files(metrics),
        ]
        if described["choice"]:
            said.append(about_choice(described["choice"], rate))
        if gap is not None:
            ends = described["gap_ci95"]
            narrow = ", too narrow" if unknown else ""
            known = f" (95% interval {points(ends[0])} to {points(ends[1])}{narrow})" if ends else ""
            said.append(f"Youngest minus oldest speakers: {points(gap)} points of {rate}{known}.")
        if full_window := metrics.get("full_window"):
            said.append(f"For other programs, which pad every recording: {about_full_window(full_window, rate)}.")
        said += [f"Note: the {name} set was filtered: {mark}." for name, mark in metrics.get("filtered_sets", {}).items()]
        said += [f"Warning: {doubt}." for doubt in (*metrics.get("doubts", ()), *([worse] if worse else []))]
        page = Page(_title(folder, run), str(folder))
        page.sections = [
            Section(
                f"{rate} by age" if run.set_name == "validation" else f"Set {run.set_name}: {rate} by age",
                said,
                figures={f"{rate} by age": by_age},
                table=rates_table(described, rate),
                details=("Before and after training", result_table(before, metrics["final"], rate)) if before else None,
                note=TOO_NARROW if unknown else "",
            ),
            *_test_sections(metrics, tests or {}, rate),
            *_text_sections(metrics.get("texts")),
            *_training_section(curve, rate),
            *_order_section(drawn),
            Section("Environment", items=_how_it_was_run(folder)),
        ]
        page.browser = browser_data({"": [run]}, folder, self.max_utterances, self.embed_audio_mb)
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
        described, pairs = comparison["runs"], comparison["pairs"]
        baseline = pairs[0]["baseline"]
        tables = comparison_tables(comparison)
        said = f"{_capital(TOO_NARROW)}.\n\n" if pairs[0]["speakers_unknown"] else ""
        markdown = said + "\n".join(table.markdown() for table, _ in tables.values())
        (folder / "comparison.md").write_text(markdown, encoding="utf-8")
        latex = (table.latex(caption, f"tab:{name}") for name, (table, caption) in tables.items())
        (folder / "comparison.tex").write_text("\n".join(latex), encoding="utf-8")
        others = [pair for other in comparison.get("other_sets", []) for pair in other["pairs"]]
        (folder / "comparison.csv").write_text(_pairs_as_csv([*pairs, *others]), encoding="utf-8")
        (folder / "runs.csv").write_text(_runs_as_csv(described), encoding="utf-8")

        figures = _comparison_figures(configurations, comparison)
        for name, figure in figures.items():
            save(figure, folder / name)
        for name in SOMETIMES.difference(figures):  # of another comparison in this folder
            for ending in (".png", ".pdf"):
                (folder / f"{name}{ending}").unlink(missing_ok=True)
        if self.html:
            page = Page(f"kidasr: {len(configurations)} configurations, {len(described)} runs", str(folder))
            page.sections = list(self._comparison_sections(configurations, comparison, figures))
            systems = {name: configurations[name] for name in [baseline, *(pair["run"] for pair in pairs)]}
            if not _without_texts(configurations):
                page.browser = browser_data(systems, folder, self.max_utterances, self.embed_audio_mb)
            page.write(folder / REPORT)

    def _comparison_sections(
        self,
        configurations: Mapping[str, Sequence[Run]],
        comparison: Mapping[str, Any],
        figures: Mapping[str, Figure],
    ) -> Sequence[Section]:
        described, pairs, effects = comparison["runs"], comparison["pairs"], comparison["effects"]
        baseline, rate = pairs[0]["baseline"], comparison["rate"]
        whole = described[0]
        speakers = whole["speakers"]
        main = main_effects(comparison)
        found = []
        for name, one in (main or {pair["run"]: pair for pair in pairs}).items():
            ages = ages_that_differ(one)
            by_age = f" Ages that stand out: {'; '.join(ages)}." if ages else ""
            found.append(f"{name}: {verdict(one, rate, speakers)}.{by_age}")
        unit = "characters" if rate == "CER" else "words"
        size = f"{whole['utterances']} utterances ({whole['words']} {unit}) of {speakers_of(whole)} speakers"
        shares = "; main effects share four fifths of the error probability" if effects else ""
        what = "Each factor on against off" if main else f"Compared with {baseline}"
        tables = {name: table for name, (table, _) in comparison_tables(comparison).items()}
        runs = ("run by run", tables["runs"])
        sections = [
            Section(
                "Did it help?",
                [
                    f"{what}, on {size}.",
                    *costs(comparison),
                    *about_all(comparison),
                ],
                found,
                figures={f"effects on {rate}": figures["effects"]}
                if main
                else {f"change of {rate} against {baseline}": figures["forest"]},
                table=tables["effects" if main else "pairs"],
                note=HOW.format(rate=rate, shares=shares, level=f"{comparison['level']:.3g}")
                + (f" {HOW_SYSTEMS}" if any(pair.get("question") == "systems" for pair in pairs) else "")
                + f" {_about_effects(effects, rate) if main else HOW_SPEAKERS}",
            ),
        ]
        if main:
            figure = {f"change of {rate} against {baseline}": figures["forest"]}
            rows = [f"{pair['run']}: {verdict(pair, rate, speakers)}." for pair in pairs[:MAX_DRAWN]]
            if len(pairs) > MAX_DRAWN:
                rows.append(f"The other {len(pairs) - MAX_DRAWN} are in the table.")
            table = ("as a table", tables["pairs"])
            sections.append(Section("Each configuration", items=rows, figures=figure, details=table, note=HOW_SPEAKERS))
        if "other_sets" in tables:
            sections.append(Section("On the other sets", table=tables["other_sets"], note=HOW_OTHER_SETS))
        if main:
            drawn, details = (
                {f"effects on {rate}, by age": figures["effects_by_age"]},
                ("as a table", tables["effects_by_age"]),
            )
            few = _first_few(MAX_BY_AGE, len(main), "factors")
            sections.append(Section("Effects by age", few, figures=drawn, details=details, note=HOW_BY_AGE))
        drawn = {f"change of {rate} against {baseline}, by age": figures["forest_by_age"]}
        details, note = ("by age, as a table", tables["ages"]), "" if main else HOW_BY_AGE
        few = _first_few(MAX_BY_AGE, len(pairs))
        sections.append(Section("Change by age", few, figures=drawn, details=details, note=note))
        if comparison.get("about"):
            sections.append(Section("What was compared", facts=comparison["about"]))
        few = _first_few(MAX_DRAWN, len(configurations))
        counted, rows = _fixed_and_broken(configurations, baseline, [pair["run"] for pair in pairs])
        drawn = {f"{rate} by age": figures["wer_by_age"]}
        sections.append(
            Section(f"{rate} by age", [*few, *counted], rows, figures=drawn, table=tables["configurations"], details=runs)
        )
        if "learning_curves" in figures:
            drawn = {f"{rate}, losses and learning rate by optimizer step": figures["learning_curves"]}
            note = "Means over seeds are at the steps that all seeds have; losses and learning rates are means."
            sections.append(Section("Training", [*few, *_without_log(configurations)], figures=drawn, note=note))
        if comparison["doubts"]:
            sections.insert(1, Section("Doubts", items=comparison["doubts"]))
        if comparison["failed"]:
            sections.append(Section("Left out", items=[one["reason"] for one in comparison["failed"]]))
        return sections


def _without_log(configurations: Mapping[str, Sequence[Run]]) -> list[str]:
    """Says how many runs were published without their log."""
    trained = [run for members in configurations.values() for run in members if run.losses]
    missing = sum(not run.metrics.get("history") for run in trained)
    return [f"The log of {missing} of {len(trained)} runs is not published."] if missing else []


def _without_texts(configurations: Mapping[str, Sequence[Run]]) -> bool:
    """Whether the runs are known by speaker alone, since some are published ones."""
    return any(run.sums is not None for members in configurations.values() for run in members)


def _fixed_and_broken(
    configurations: Mapping[str, Sequence[Run]], baseline: str, names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """How the utterances are counted, and how many each configuration has fixed and broken; nothing without transcripts."""
    if _without_texts(configurations):
        return [], []
    found = {name: changes(configurations[baseline][0], configurations[name][0]) for name in names}
    return ["The utterances are counted in the first run of each configuration."], [
        f"{name}: {fixed} utterances fixed (wrong in the baseline, right here), {broken} broken (the reverse)."
        for name, (fixed, broken) in found.items()
    ]


def _training_section(curve: Figure | None, rate: str) -> list[Section]:
    """The learning curve; nothing for a model that was not trained here."""
    return [Section("Training", figures={f"{rate}, losses and learning rate by optimizer step": curve})] if curve else []


def _order_section(drawn: AgesDrawn | None) -> list[Section]:
    """The ages that training drew, step by step."""
    if drawn is None:
        return []
    said = [f"The first {drawn.edges[-1]} optimizer steps; an epoch has {drawn.epoch_steps}. The order is the curriculum's."]
    figures = {"share of each age in the training utterances, by optimizer step": ages_by_step(drawn)}
    return [Section("Ages in training", said, figures=figures)]


def _test_sections(metrics: Mapping[str, Any], tests: Mapping[str, Run], rate: str) -> list[Section]:
    """All sets in one table, then each test set by age."""
    if not tests:
        return []
    note = "The interval of a change is for other speakers, and for this model alone: another seed would give another one."
    was_scored = any(one["zero_shot"] for one in (metrics, *metrics["tests"].values()))
    sections = [
        Section(
            "All sets, before and after training" if was_scored else "All sets",
            about_undecided_sets(metrics),
            table=sets_table(metrics),
            note=note if was_scored else "",
        )
    ]
    for name, run in tests.items():
        of_set = metrics["tests"][name]
        before = of_set["zero_shot"]
        details = ("Before and after training", result_table(before, of_set["final"], rate)) if before else None
        sections.append(Section(f"Set {name}: {rate} by age", table=rates_table(describe(run), rate), details=details))
    return sections


def _text_sections(texts: Mapping[str, Any] | None) -> list[Section]:
    """What was stripped from the texts of each set, and what is odd in them; nothing if there is neither."""
    if texts is None or not any(sum(one.values()) > one["utterances"] for one in texts["sets"].values()):
        return []
    clean = ", ".join(texts["clean"]) or "none"
    said = f"data.clean: {clean}. What is odd is counted after it."
    note = "Merged numbers: the normalizer of scores writes a number of several words as one word."
    return [Section("Texts", [said], table=texts_table(texts["sets"]), note=note)]


def _about_effects(effects: Sequence[Mapping[str, Any]], rate: str) -> str:
    if effects[0]["is_screening"]:
        return (
            f"Effect: mean {rate} with a factor on minus the mean with it off. In a screening design two-way interactions "
            "are spread over the effects of other factors: confirm what it finds."
        )
    return (
        f"Main effect: mean {rate} with a hypothesis on minus the mean with it off, averaged over the others. Interaction "
        "a x b: half the difference between the effect of a with b on and with b off; below zero they help each other."
    )


def _comparison_figures(configurations: Mapping[str, Sequence[Run]], comparison: Mapping[str, Any]) -> Mapping[str, Figure]:
    """The figures of a comparison by their file name."""
    pairs, effects, rate = comparison["pairs"], comparison["effects"], comparison["rate"]
    baseline = pairs[0]["baseline"]
    note = TOO_NARROW_SHORT if pairs[0]["speakers_unknown"] else ""
    direction = f"(percentage points; ← better, worse →{'; ' if note else ''}{note})"
    axis = f"change of {rate} against {baseline}\n{direction}"
    differences = {pair["run"]: pair for pair in pairs}
    seeds: dict[str, list[Mapping[str, Any]]] = {}
    for run in comparison["runs"]:
        seeds.setdefault(run["configuration"], []).append(run)
    means = {one["configuration"]: one for one in comparison["configurations"]}
    # The baseline comes first.
    drawn = [baseline, *(name for name in configurations if name != baseline)][:MAX_DRAWN]
    figures = {
        "forest": forest(axis, differences),
        "forest_by_age": forest(axis, dict(list(differences.items())[:MAX_BY_AGE]), by_age=True),
        "wer_by_age": wer_by_age({name: means[name] for name in drawn}, seeds, rate, note),
    }
    if effects:
        figures["effects"] = forest(f"effect on {rate}\n{direction}", {one["effect"]: one for one in effects})
        mains = dict(list(main_effects(comparison).items())[:MAX_BY_AGE])
        figures["effects_by_age"] = forest(f"effect on {rate}\n{direction}", mains, by_age=True)
    curves = {name: [run.metrics for run in configurations[name] if run.metrics.get("history")] for name in drawn}
    if any(curves.values()):
        figures["learning_curves"] = learning_curve({name: one for name, one in curves.items() if one}, rate)
    return figures


def _first_few(drawn: int, number: int, what: str = "configurations") -> list[str]:
    """Says that a figure shows only the first of many."""
    return [f"The figure shows the first {drawn} of {number} {what}."] if number > drawn else []


def main_effects(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The main effects of a factorial by their names; empty if the runs are none."""
    return {one["effect"]: one for one in comparison["effects"] if one["kind"] == "main"}


def comparison_tables(comparison: Mapping[str, Any]) -> dict[str, tuple[Table, str]]:
    """The tables of a comparison by name, each with a caption for a paper."""
    rate, pairs, effects = comparison["rate"], comparison["pairs"], comparison["effects"]
    baseline = pairs[0]["baseline"]
    tables = {"pairs": (pair_table(baseline, pairs), f"Change of {rate} against {baseline}.")}
    if effects:
        tables["effects"] = effect_table(effects), f"Main effects and interactions on {rate}."
    if others := comparison.get("other_sets"):
        tables["other_sets"] = other_sets_table(others, rate), f"{rate} on the sets that are not compared on."
    if mains := main_effects(comparison):
        tables["effects_by_age"] = age_table("effect", mains), f"Main effects on {rate} by age."
    differences = {pair["run"]: pair for pair in pairs}
    tables["ages"] = age_table(f"against {baseline}", differences), f"Change of {rate} against {baseline} by age."
    tables["configurations"] = (
        configuration_table(comparison["configurations"], rate),
        f"Mean {rate} of each configuration over its seeds, overall and by age.",
    )
    tables["runs"] = comparison_table(comparison["runs"], rate), f"{rate} of each run."
    if pairs[0]["speakers_unknown"]:
        tables = {name: (table, f"{caption} {_capital(TOO_NARROW)}.") for name, (table, caption) in tables.items()}
    return tables


def _scored_files(metrics: Mapping[str, Any]) -> list[str]:
    """The files of another recogniser that were scored, and the utterances that these lack."""
    files = ", ".join(f"{name}: {one['path']}" for name, one in metrics.get("transcripts", {}).items())
    missing = [f"{one['missing']} of set {name}" for name, one in metrics.get("transcripts", {}).items() if one["missing"]]
    said = [f"Transcripts of {metrics.get('name')}: {files}."] if files else []
    return said + ([f"Utterances without a transcript, scored as empty: {', '.join(missing)}."] if missing else [])


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _title(folder: Path, run: Run) -> str:
    """What a run is: the overrides that were typed, its seed and its date."""
    typed, record = typed_overrides(folder) or [], folder / ENVIRONMENT
    evaluated = run.metrics.get("evaluated")
    default = f"evaluation of {evaluated['model']}" if evaluated else "default run"
    words = [run.own_name or " ".join(one for one in typed if one.partition("=")[0] != "seed") or default]
    if run.seed is not None:
        words.append(f"seed {run.seed}")
    if record.is_file():
        started = datetime.fromisoformat(json.loads(record.read_text(encoding="utf-8"))["started"])
        words.append(f"{started:%Y-%m-%d}")
    return f"kidasr: {', '.join(words)}"


def _how_it_was_run(folder: Path) -> list[str]:
    """The environment, from ``environment.json`` and ``.hydra``; missing files are skipped."""
    lines = []
    typed = typed_overrides(folder)
    if typed is not None:
        lines.append(f"Overrides: {' '.join(typed) or 'none'}")
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
    judged = ["p", "p_corrected", "verdict", "detectable"]
    header = [
        "baseline",
        "run",
        "set",
        "age",
        "delta_wer",
        "pooled",
        "low",
        "high",
        *judged,
        "p_mapsswe",
        "speakers_unknown",
    ]
    rows = [
        [pair["baseline"], pair["run"], pair["set"], age, one["delta_wer"], one.get("pooled"), *(one["ci95"] or ("", ""))]
        + [one.get(name, "") for name in judged]
        + [one["children"]["p_mapsswe"] if age == "all" else "", pair["speakers_unknown"]]
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
