"""Tables and their output: on the screen, in Markdown, in LaTeX and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from tabulate import LATEX_ESCAPE_RULES, tabulate

if TYPE_CHECKING:  # slow to import
    from kidasr.model.components import Component
    from kidasr.recognition.score import Rates, Score

#: A spreadsheet takes a cell that starts with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


#: On the screen, a name longer than the first is broken into lines if the second is left for it; a shorter one is not.
LONG_NAME, NAME_WIDTH = 40, 24

#: Columns that describe a difference.
CHANGE = ("change", "95% interval")
#: Columns that judge it.
JUDGED = ("p", "corrected", "verdict", "would show")


@dataclass
class Table:
    """Formatted cells. The first column holds text (left-aligned), the others numbers (right-aligned)."""

    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    #: Indices of the rows with a rule above them.
    rules: list[int] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(cells)

    def rule(self) -> None:
        """Draw a rule before the next row."""
        self.rules.append(len(self.rows))

    def text(self, width: int = 110) -> str:
        """Render for the screen and the log, in so many columns."""
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        widths = [max(map(len, cells)) + 2 for cells in zip(self.columns, *self.rows, strict=True)]
        # What names a row is never cut. If a long name alone makes a row too long, only the name is broken into lines.
        whole = sum(widths[1:]) + (NAME_WIDTH if widths[0] > LONG_NAME else widths[0]) <= width
        for place, column in enumerate(self.columns):
            table.add_column(
                Text(column),
                justify="right" if place else "left",
                overflow="ellipsis" if place else "fold",
                no_wrap=whole and place > 0,
            )
        for place, row in enumerate(self.rows):
            if place in self.rules:
                table.add_section()
            table.add_row(*map(Text, row))
        console = Console(width=width, no_color=True)
        with console.capture() as capture:
            console.print(table)
        return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines() if line.strip())

    def markdown(self) -> str:
        """Render as GitHub Markdown."""
        columns, *rows = [
            [cell.replace("|", r"\|").replace("<", "&lt;").replace("\n", " ") for cell in row]
            for row in (self.columns, *self.rows)
        ]
        return tabulate(rows, columns, "github", disable_numparse=True, colalign=self._alignment()) + "\n"

    def latex(self, caption: str, label: str) -> str:
        """Render as a LaTeX ``table``, with the booktabs package. Differences are in percentage points: pp.

        Args:
            caption: Plain text above the table.
            label: Label for references, for example ``tab:changes``.
        """
        columns = [f"{column} (pp)" if column in self._in_points() else column for column in self.columns]
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        body = tabulate(rows, columns, "latex_booktabs", disable_numparse=True, colalign=self._alignment()).split("\n")
        # After the end of a row, LaTeX would take a bracket or a star for an argument.
        body = [f"{{}}{line}" if line.lstrip().startswith(("[", "*")) else line for line in body]
        first = body.index(r"\midrule") + 1
        for place in sorted(self.rules, reverse=True):
            if 0 < place < len(rows):
                body.insert(first + place, r"\midrule")
        plain = "".join(LATEX_ESCAPE_RULES.get(character, character) for character in " ".join(caption.split()))
        head = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\small"]
        return "\n".join([*head, rf"\caption{{{plain}}}", rf"\label{{{label}}}", *body, r"\end{table}", ""])

    def _in_points(self) -> set[str]:
        """The columns in percentage points. In a table of differences, so is the interval."""
        differences = CHANGE[0] in self.columns or "pooled" in self.columns
        return {"would show", "youngest - oldest", "by itself", "pooled", *(CHANGE if differences else ())}

    def _alignment(self) -> list[str] | None:
        return ["left", *["right"] * (len(self.columns) - 1)] if self.rows else None


def to_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Unformatted values as CSV. Text that a spreadsheet would take for a formula is prefixed with an apostrophe."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row])
    return file.getvalue()


def component_table(components: Sequence[Component], learning_rate: float) -> Table:
    """Each component of the model: parameters, whether or how many of them train, and the learning rate (the peak)."""
    table = Table(["component", "parameters", "trainable", "learning rate"])
    for component in components:
        rate = f"{learning_rate:g}" if component.trainable else "-"
        whole = component.trainable in (0, component.parameters)
        trained = ("yes" if component.trainable else "no") if whole else f"{component.trainable:,}"
        table.add(component.name, f"{component.parameters:,}", trained, rate)
    total = sum(component.parameters for component in components)
    trainable = sum(component.trainable for component in components)
    table.rule()
    table.add("all", f"{total:,}", f"{trainable:,}", "")
    return table


def result_table(zero_shot: Score | None, final: Score, rate: str = "WER") -> Table:
    """WER and CER before and after training, overall and by age; only CER if that is the error rate.

    Without scores before training, those of the model alone.
    """
    by_character = rate == "CER"
    columns = ["age", "utterances", "characters" if by_character else "words"]
    if zero_shot is None:
        table = Table([*columns, rate, *([] if by_character else ["CER"])])
    else:
        table = Table([*columns, f"{rate} before", "after", "change", *([] if by_character else ["CER before", "after"])])
    for name, after in final["by_age"].items():
        _result_row(table, name, zero_shot and zero_shot["by_age"][name], after)
    table.rule()
    _result_row(table, "all", zero_shot, final)
    return table


def sets_table(metrics: Mapping[str, Any]) -> Table:
    """Every set before and after training, a row each, with the interval of its change for other speakers.

    If none was scored before training, the error rates alone.

    Args:
        metrics: The content of ``metrics.json``.
    """
    rate = metrics.get("rate", "WER")
    unit = "characters" if rate == "CER" else "words"
    sets = {metrics.get("set", "validation"): metrics, **metrics["tests"]}
    sets = {name: one for name, one in sets.items() if one["final"] is not None}
    if all(one["zero_shot"] is None for one in sets.values()):
        table = Table(["set", "utterances", unit, rate, *([] if rate == "CER" else ["CER"])])
        for name, one in sets.items():
            _result_row(table, name, None, one["final"])
        return table
    table = Table(["set", "utterances", unit, f"{rate} before", "after", *CHANGE])
    for name, one in sets.items():
        before, after, change = one["zero_shot"], one["final"], one["change"]
        known = ("-", "-")
        if change is not None:
            known = _change(change)
        elif before and before["wer"] is not None and after["wer"] is not None:
            known = (points(after["wer"] - before["wer"]), "-")
        counts = (str(after[key]) for key in ("utterances", "words"))
        table.add(name, *counts, percent(before and before["wer"]), percent(after["wer"]), *known)
    return table


def texts_table(sets: Mapping[str, Mapping[str, int]]) -> Table:
    """What was done to the texts of each set, and what is odd in them.

    Args:
        sets: The ``texts`` in ``metrics.json``, by set.
    """
    names = dict.fromkeys(name for one in sets.values() for name in one)
    table = Table(["set", *(name.replace("_", " ") for name in names)])
    for name, one in sets.items():
        table.add(name, *(str(one.get(what, "-")) for what in names))
    return table


def rates_table(described: Mapping[str, Any], rate: str = "WER") -> Table:
    """A run's rates with 95% intervals and its error types, overall and by age."""
    by_character = rate == "CER"
    columns = ["age", rate, "95% interval", *([] if by_character else ["CER", "95% interval"])]
    columns += ["sub", "del", "ins", "runaway"]
    table = Table([*columns, "speakers", "utterances", "characters" if by_character else "words"])
    for age, one in (*described["by_age"].items(), ("all", described)):
        if age == "all":
            table.rule()
        counts = (speakers_of(one), *(str(one[name]) for name in ("utterances", "words")))
        rates = [percent(one["wer"]), interval(one["ci95"])]
        rates += [] if by_character else [percent(one["cer"]), interval(one["cer_ci95"])]
        table.add(age, *rates, *_kinds(one), *counts)
    return table


def scored_table(described: Mapping[str, Any], rate: str = "WER") -> Table:
    """The most important of :func:`rates_table`, for the screen."""
    table = Table(
        ["age", "utterances", "characters" if rate == "CER" else "words", rate, "95% interval", "sub", "del", "ins"]
    )
    for age, one in (*described["by_age"].items(), ("all", described)):
        if age == "all":
            table.rule()
        counts = (str(one[name]) for name in ("utterances", "words"))
        table.add(age, *counts, percent(one["wer"]), interval(one["ci95"]), *_kinds(one)[:3])
    return table


def comparison_table(runs: Sequence[Mapping[str, Any]], rate: str = "WER") -> Table:
    """Each run of a comparison, with the 95% interval of its WER or CER."""
    cer = [] if rate == "CER" else ["CER"]
    table = Table(["run", "seed", rate, "95% interval", *cer, "sub", "del", "ins", "runaway", "youngest - oldest"])
    for run in runs:
        gap = run["gap_youngest_oldest"]
        table.add(
            run["configuration"],
            "-" if run["seed"] is None else str(run["seed"]),
            percent(run["wer"]),
            interval(run["ci95"]),
            *[percent(run["cer"]) for _ in cer],
            *_kinds(run),
            "-" if gap is None else points(gap),
        )
    return table


def _kinds(one: Mapping[str, Any]) -> list[str]:
    return [str(one[kind]) for kind in ("substitutions", "deletions", "insertions", "runaways")]


def configuration_table(configurations: Sequence[Mapping[str, Any]], rate: str = "WER") -> Table:
    """The mean of each configuration over its seeds, with the interval for other speakers and other seeds."""
    ages = list(configurations[0]["by_age"])
    table = Table(["configuration", "seeds", rate, "95% interval", *ages])
    for one in configurations:
        of_ages = [percent(one["by_age"][age]["wer"]) for age in ages]
        table.add(one["configuration"], str(len(one["seeds"])), percent(one["wer"]), interval(one["ci95"]), *of_ages)
    return table


def pair_table(baseline: str, pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Each configuration of a comparison against the baseline."""
    table = Table([f"against {baseline}", *CHANGE, *JUDGED, "p, speakers only"])
    for pair in pairs:
        table.add(pair["run"], *_change(pair), *_judged(pair), _p_value(pair["children"]["p_mapsswe"]))
    return table


def age_table(title: str, changes: Mapping[str, Mapping[str, Any]]) -> Table:
    """The changes by age: each age by itself, and partially pooled.

    Args:
        title: The head of the first column.
        changes: By name, pairs or effects as in ``comparison.json``.
    """
    table = Table([title, "age", "speakers", "by itself", "95% interval", "pooled", "95% interval"])
    for name_of_change, change in changes.items():
        table.rule()
        for number, (age, one) in enumerate(change["by_age"].items()):
            pooled = "-" if one["pooled"] is None else points(one["pooled"])
            alone, together = (_ends(one[name]) for name in ("own_ci95", "ci95"))
            name = "" if number else name_of_change
            table.add(name, age, speakers_of(one), points(one["delta_wer"]), alone, pooled, together)
    return table


def speakers_of(one: Mapping[str, Any]) -> str:
    """The number of speakers, or ``"unknown"``."""
    return "unknown" if one["speakers"] is None else str(one["speakers"])


def effect_table(effects: Sequence[Mapping[str, Any]]) -> Table:
    """Main effects and interactions of a factorial."""
    table = Table(["effect", *CHANGE, *JUDGED])
    for effect in effects:
        table.add(effect["effect"], *_change(effect), *_judged(effect))
    return table


def other_sets_table(others: Sequence[Mapping[str, Any]], rate: str = "WER") -> Table:
    """What each configuration cost or gained on the sets that a comparison is not about; of a factorial, its main effects.

    Args:
        others: The ``other_sets`` in ``comparison.json``.
        rate: Name of the error rate.
    """
    is_known = any(one["before"] is not None for other in others for one in other["configurations"])
    before = ["before training"] if is_known else []
    table = Table(["set", "configuration", *before, rate, *CHANGE, "corrected", "verdict"])
    for other in others:
        table.rule()
        pairs = {pair["run"]: pair for pair in other["pairs"]}
        mains = [effect for effect in other["effects"] if effect["kind"] == "main"]
        rows: list[tuple[str, ...]] = []
        for one in other["configurations"]:
            pair, rates = pairs.get(one["configuration"]), [*[percent(one["before"]) for _ in before], percent(one["wer"])]
            if pair is None:
                rows.insert(0, (one["configuration"], *rates, "-", "-", "-", "baseline"))
            elif not mains:
                rows.append((one["configuration"], *rates, *_cost(pair)))
        rows += [(f"{effect['effect']}, on against off", *("" for _ in before), "", *_cost(effect)) for effect in mains]
        for number, row in enumerate(rows):
            table.add("" if number else other["set"], *row)
    return table


def _cost(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    corrected = one["p_corrected"]
    return (*_change(one), "-" if corrected is None else _p_value(corrected), one["verdict"])


def _change(one: Mapping[str, Any]) -> tuple[str, str]:
    return points(change_of(one)), _ends(one["ci95"])


def says_nothing(ci95: Sequence[float] | None) -> bool:
    """Whether the interval of a difference is wider than any difference of rates: there are not enough data."""
    return ci95 is not None and ci95[1] - ci95[0] > 1


def _ends(ci95: Sequence[float] | None) -> str:
    if ci95 is None:
        return "-"
    return "not enough data" if says_nothing(ci95) else f"{points(ci95[0])} to {points(ci95[1])}"


def change_of(one: Mapping[str, Any]) -> float:
    """The change of a pair, an effect, or an age; that of an age is partially pooled where there is an interval."""
    pooled = one.get("pooled")
    return float(one["delta_wer"] if pooled is None else pooled)


def _judged(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    shown = "-" if one["detectable"] is None or one["detectable"] > 1 else points(one["detectable"]).lstrip("+")
    p, corrected = ("-" if one[name] is None else _p_value(one[name]) for name in ("p", "p_corrected"))
    these = " (these systems)" if one.get("question") == "systems" and one["verdict"] in ("better", "worse") else ""
    return p, corrected, f"{one['verdict']}{these}", shown


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def points(difference: float) -> str:
    """A difference of rates in percentage points: ``"-1.2"``."""
    return f"{100 * difference:+.1f}"


def percent(rate: float | None) -> str:
    """A rate in percent: ``"12.3%"``."""
    return "-" if rate is None else f"{100 * rate:.1f}%"


def interval(ci95: Sequence[float] | None) -> str:
    """An interval in percent: ``"10.1 to 14.8%"``."""
    return "-" if ci95 is None else f"{100 * ci95[0]:.1f} to {100 * ci95[1]:.1f}%"


def _result_row(table: Table, name: str, before: Rates | None, after: Rates) -> None:
    if before is None:
        cells = [name, str(after["utterances"]), str(after["words"]), percent(after["wer"]), percent(after["cer"])]
        table.add(*cells[: len(table.columns)])
        return
    change = "-"
    if before["wer"] is not None and after["wer"] is not None:
        change = f"{100 * (after['wer'] - before['wer']):+.1f}"
    cells = [
        name,
        str(after["utterances"]),
        str(after["words"]),
        percent(before["wer"]),
        percent(after["wer"]),
        change,
        percent(before["cer"]),
        percent(after["cer"]),
    ]
    table.add(*cells[: len(table.columns)])
