"""Tables for the screen and the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # they are heavy
    from kidasr.model.components import Component
    from kidasr.recognition.score import Rates, Score


def component_table(components: Sequence[Component], learning_rate: float) -> str:
    """Each component of the model, its parameters, whether they train, and at which learning rate (the schedule's peak)."""
    table = _table("component", "parameters", "trainable", "learning rate")
    for component in components:
        rate = f"{learning_rate:g}" if component.trainable else "-"
        table.add_row(component.name, f"{component.parameters:,}", "yes" if component.trainable else "no", rate)
    total = sum(component.parameters for component in components)
    trainable = sum(component.trainable for component in components)
    table.add_section()
    table.add_row("all", f"{total:,}", f"{trainable:,}", "")
    return _render(table)


def result_table(zero_shot: Score, final: Score) -> str:
    """WER and CER before and after training, overall and by age."""
    table = _table("age", "utterances", "words", "WER before", "after", "change", "CER before", "after")
    for name, after in final["by_age"].items():
        _result_row(table, name, zero_shot["by_age"][name], after)
    table.add_section()
    _result_row(table, "all", zero_shot, final)
    return _render(table)


def comparison_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Each run of a comparison, with the 95% interval of its WER."""
    table = _table("run", "WER", "95% interval", "CER", "sub", "del", "ins", "youngest - oldest")
    for run in runs:
        low, high = run["ci95"] or (None, None)
        gap = run["gap_youngest_oldest"]
        table.add_row(
            _name(run["configuration"], run["path"]),
            percent(run["wer"]),
            f"{percent(low)} to {percent(high)}",
            percent(run["cer"]),
            *(str(run[kind]) for kind in ("substitutions", "deletions", "insertions")),
            "-" if gap is None else points(gap),
        )
    return _render(table)


def pair_table(baseline: str, pairs: Sequence[Mapping[str, Any]]) -> str:
    """Each configuration of a comparison against the baseline, overall and by age."""
    table = _table(f"against {baseline}", "age", "change", "95% interval", "improved", "MAPSSWE", "Holm", "detectable")
    for pair in pairs:
        table.add_row(
            *(pair["run"], "all", *_change(pair), f"{pair['p_mapsswe']:.3f}", f"{pair['p_holm']:.3f}"),
            percent(pair["detectable"]),
        )
        for age, one in pair["by_age"].items():
            table.add_row("", age, *_change(one))
        table.add_section()
    return _render(table)


def _change(one: Mapping[str, Any]) -> tuple[str, str, str]:
    low, high = one["ci95"]
    return points(one["delta_wer"]), f"{points(low)} to {points(high)}", percent(one["p_improvement"])


def _name(configuration: str, path: str) -> str:
    return path if configuration == path else f"{configuration} ({path})"


def points(difference: float) -> str:
    """A difference of rates in percentage points: ``"-1.2"``."""
    return f"{100 * difference:+.1f}"


def percent(rate: float | None) -> str:
    """A rate as people read it: ``"12.3%"``."""
    return "-" if rate is None else f"{100 * rate:.1f}%"


def _result_row(table: Table, name: str, before: Rates, after: Rates) -> None:
    change = "-"
    if before["wer"] is not None and after["wer"] is not None:
        change = f"{100 * (after['wer'] - before['wer']):+.1f}"
    table.add_row(
        name,
        str(after["utterances"]),
        str(after["words"]),
        percent(before["wer"]),
        percent(after["wer"]),
        change,
        percent(before["cer"]),
        percent(after["cer"]),
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _render(table: Table) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines() if line.strip())
