"""The figures of reports and papers (matplotlib).

All are as wide as a column of a two-column paper, with 8-point text, which is also legible on a phone.
"""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kidasr.corpus.age import UNKNOWN, is_in_years
from kidasr.report.ages_drawn import AgesDrawn
from kidasr.report.tables import change_of, says_nothing

#: Width of a column, in inches.
WIDTH = 3.4

#: Text, axes and grid are drawn in ink and open markers are filled with paper. A page replaces both by its own colours.
INK, PAPER = "#1d1d1f", "#ffffff"

#: Okabe and Ito's palette, which is safe for colour-blind readers, and a marker for each colour.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: Height of a line of text, in inches.
LINE = 0.145

#: Columns of points side by side that fit into the width.
MAX_COLUMNS = 24

#: Width of a line of text, in points: across the figure, in a legend, in a legend of two columns, and beside the axes.
ACROSS, KEY, HALF_KEY, BESIDE = 232, 205, 88, 105

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "figure.labelsize": 8,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar sign is a dollar sign
    "pdf.fonttype": 42,  # text that can be selected and edited
    "svg.fonttype": "none",
    "svg.hashsalt": "kidasr",  # the same ids every time
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as ``.png`` and as ``.pdf``.

    Args:
        figure: The figure.
        path: The file without its extension.
    """
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every glyph of a PDF
    with rc_context(STYLE):
        figure.savefig(f"{path}.png", dpi=200)
        figure.savefig(f"{path}.pdf", metadata={"CreationDate": None})


@rc_context(STYLE)
def forest(title: str, rows: Mapping[str, Mapping[str, Any]], by_age: bool = False) -> Figure:
    """Forest plot of WER differences with 95% intervals.

    Args:
        title: Title of the axis.
        rows: By name: ``delta_wer`` and ``ci95`` (or None) as fractions; with ``by_age``, that of each age too.
        by_age: Whether to draw the ages, below each row.
    """
    rows = {name: _known(row) for name, row in rows.items()}
    # Label, difference, and whether it is that of an age.
    lines: list[tuple[str, Mapping[str, Any], bool]] = []
    for name, row in rows.items():
        lines.append(("\n".join(wrapped(name, BESIDE)), row, False))
        ages = row.get("by_age", {}).items() if by_age else ()
        lines += [(_plain(age), one, True) for age, one in ages if one["delta_wer"] is not None]
    heights = [1.3 + 0.85 * label.count("\n") if not of_age else 0.9 for label, _, of_age in lines]
    places = [-sum(heights[:number]) - height / 2 for number, height in enumerate(heights)]
    keys = [
        *(
            [_key("change, 95% interval", PALETTE[0], marker="s", linewidth=1.4)]
            if any(one["ci95"] for _, one, _ in lines)
            else []
        ),
        *([_key("of one age", PALETTE[0], marker="o", markersize=3, linewidth=0.8)] if any(one[2] for one in lines) else []),
        *_no_interval([one["ci95"] for _, one, _ in lines], "s"),
        _key("no change", INK, linestyle="--", linewidth=0.8),
    ]
    axis = _across(title)
    figure = _figure(0.4 + LINE * (axis.count("\n") + 1) + 0.17 * sum(heights), keys)
    axes = figure.subplots()
    for place, (_, one, of_age) in zip(places, lines, strict=True):
        _interval(
            axes.errorbar,
            100 * change_of(one),
            place,
            xerr=reach(change_of(one), one["ci95"]),
            color=PALETTE[0],
            marker="o" if of_age else "s",
            markersize=3 if of_age else 4.5,
            elinewidth=0.8 if of_age else 1.4,
            alpha=0.8 if of_age else 1,
        )
    axes.axvline(0, color=INK, linestyle="--", linewidth=0.8, zorder=0)
    axes.set_yticks(places, [label for label, _, _ in lines])
    for tick, (_, _, of_age) in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_alpha(0.75 if of_age else 1)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-sum(heights), 0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10], min_n_ticks=3))
    axes.grid(axis="x")
    figure.supxlabel(axis)
    return _laid_out(figure)


def _known(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a forest plot without intervals that are wider than any difference, which would hide the others."""
    ages = {age: _known(one) for age, one in row.get("by_age", {}).items()}
    return {**row, "ci95": None if says_nothing(row["ci95"]) else row["ci95"], **({"by_age": ages} if ages else {})}


@rc_context(STYLE)
def power_curves(
    effect: float,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    bounds: Mapping[str, Sequence[tuple[int, float, float]]],
) -> Figure:
    """The probability of showing a difference, against the number of runs.

    Args:
        effect: The difference, as a fraction.
        curves: By design, runs and probability.
        bounds: By design, runs and the probabilities with the upper and the lower bound of the spread between seeds.
    """
    colours = dict(zip(curves, PALETTE, strict=False))
    keys = [_key(name, colours[name], marker=MARKERS[number], linewidth=1.4) for number, name in enumerate(curves)]
    keys.append(_key("80%", INK, linestyle="--", linewidth=0.8))
    figure = _figure(2.4, keys)
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        runs = [one for one, _ in curve]
        axes.plot(
            runs, [100 * one for _, one in curve], color=colours[name], marker=MARKERS[number], markersize=3, linewidth=1.4
        )
        low, high = ([100 * one[place] for one in bounds[name]] for place in (1, 2))
        axes.fill_between([one[0] for one in bounds[name]], low, high, color=colours[name], alpha=0.15, linewidth=0)
    axes.axhline(80, color=INK, linestyle="--", linewidth=0.8, zorder=0)
    axes.set_ylim(0, 100)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("runs")
    axes.set_ylabel(f"power to show a\nchange of {100 * effect:g} points (%)")
    axes.grid()
    return _laid_out(figure)


@rc_context(STYLE)
def wer_by_age(
    configurations: Mapping[str, Mapping[str, Any]],
    seeds: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    rate: str = "WER",
    note: str = "",
) -> Figure:
    """The WER of each age bucket with its 95% interval, configurations side by side.

    Args:
        configurations: By name: ``wer``, ``ci95`` (or None) and ``by_age`` with the same, averaged over seeds.
        seeds: By name, the same of each run. Drawn as small dots where there are several.
        rate: Name of the error rate.
        note: Said below the figure.
    """
    seeds = seeds or {}
    ages = [*dict.fromkeys(age for one in configurations.values() for age in one["by_age"]), ""]
    per_panel = max(2, MAX_COLUMNS // len(configurations))
    panels = [ages[start : start + per_panel] for start in range(0, len(ages), per_panel)]
    known = [one for each in configurations.values() for age in ages if (one := _of_age(each, age)) is not None]
    several_seeds = any(len(runs) > 1 for runs in seeds.values())
    what = "mean over seeds, " if several_seeds else ""
    keys = [
        *(
            [_key(f"{what}95% interval", PALETTE[0] if len(configurations) == 1 else INK, marker="o", linewidth=1.2)]
            if any(one["ci95"] for one in known)
            else []
        ),
        *_no_interval([one["ci95"] for one in known], "o", what),
        *([_key("one seed", INK, marker="o", markersize=1.8, markeredgewidth=0)] if several_seeds else []),
    ]
    names = [
        _key("\n".join(wrapped(name, KEY)), PALETTE[number % len(PALETTE)], marker=MARKERS[number % len(MARKERS)])
        for number, name in enumerate(configurations)
    ]
    figure = _figure(0.2 + 1.5 * len(panels), names if len(names) > 1 else [], keys)
    grid = figure.subplots(len(panels), 1, sharey=True, squeeze=False)[:, 0]
    width = 0.76 / len(configurations)
    for axes, of_panel in zip(grid, panels, strict=True):
        for number, (name, configuration) in enumerate(configurations.items()):
            for place, age in enumerate(of_panel):
                where = place + (number - (len(configurations) - 1) / 2) * width
                one = _of_age(configuration, age)
                if one is None:
                    continue
                _interval(
                    axes.errorbar,
                    where,
                    100 * one["wer"],
                    yerr=reach(one["wer"], one["ci95"]),
                    color=PALETTE[number % len(PALETTE)],
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=4,
                    elinewidth=1.2,
                )
                runs = [found for run in seeds.get(name, ()) if (found := _of_age(run, age)) is not None]
                if len(runs) > 1:
                    axes.plot(
                        [where + 0.32 * width] * len(runs),
                        [100 * run["wer"] for run in runs],
                        linestyle="none",
                        marker="o",
                        markersize=1.8,
                        markeredgewidth=0,
                        color=PALETTE[number % len(PALETTE)],
                    )
        axes.set_xticks(range(len(of_panel)), [_plain(age) or "all" for age in of_panel])
        axes.set_xlim(-0.5, per_panel - 0.5 if len(panels) > 1 else len(of_panel) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"{rate} (%)")
        axes.grid(axis="y")
        axes.tick_params(axis="x", length=0)
    in_years = all(is_in_years(age) for age in ages if age not in ("", UNKNOWN))
    grid[-1].set_xlabel("; ".join(filter(None, ["age in years" if in_years else "age", note])))
    return _laid_out(figure)


def _of_age(rates: Mapping[str, Any], age: str) -> Mapping[str, Any] | None:
    """The rates of an age, or of all ages (``""``); None if there are none."""
    found: Mapping[str, Any] | None = rates["by_age"].get(age) if age else rates
    return found if found is not None and found["wer"] is not None else None


@rc_context(STYLE)
def learning_curve(configurations: Mapping[str, Sequence[Mapping[str, Any]]], rate: str = "WER") -> Figure:
    """WER, losses and learning rate against optimizer steps, with the kept step of each run and the frozen steps.

    Args:
        configurations: The content of ``metrics.json`` of each run, by the name of its configuration.
        rate: Name of the error rate.
    """
    several_seeds = any(len(runs) > 1 for runs in configurations.values())
    everything = [metrics for runs in configurations.values() for metrics in runs]
    names = [
        _key("\n".join(wrapped(name, KEY)), PALETTE[number % len(PALETTE)], linewidth=1.6)
        for number, name in enumerate(configurations)
    ]
    keys = [
        _key("validation", INK, linewidth=1.2),
        _key("training (loss)", INK, linewidth=1.2, linestyle=":"),
        _key(_kept(everything), INK, marker="*", markersize=7),
    ]
    if several_seeds:
        keys[:1] = [_key("validation, mean over seeds", INK, linewidth=1.6), _key("one seed", INK, linewidth=0.6, alpha=0.6)]
    # The line is in the colour of a configuration if only that one is frozen.
    frozen: dict[int, str] = {}
    for number, runs in enumerate(configurations.values()):
        for steps in sorted({metrics.get("frozen_steps", 0) for metrics in runs} - {0}):
            frozen[steps] = INK if steps in frozen or len(configurations) == 1 else PALETTE[number % len(PALETTE)]
    keys += [_key(f"encoder frozen until step {one}", frozen[one], linewidth=0.8, linestyle="--") for one in sorted(frozen)]
    figure = _figure(3.7, names if len(names) > 1 else [], keys)
    # Runs that ended before their first log entry have neither losses nor learning rates.
    drawn = {"wer": 1.5, **{key: high for key, high in (("loss", 1.0), ("learning_rate", 0.8)) if _any(everything, key)}}
    rows = figure.subplots(len(drawn), 1, sharex=True, height_ratios=list(drawn.values()), squeeze=False)[:, 0]
    panels = dict(zip(drawn, rows, strict=True))
    wers = panels["wer"]
    for number, runs in enumerate(configurations.values()):
        colour = PALETTE[number % len(PALETTE)]
        curves = [wer_points(metrics) for metrics in runs]
        _seeds_and_mean(wers, [[(step, 100 * wer) for step, wer in curve] for curve in curves], colour, marker=".")
        for metrics in runs:
            step, kept = kept_point(metrics)
            if kept is not None:
                wers.plot(
                    step,
                    100 * kept,
                    marker="*",
                    markersize=9,
                    color=colour,
                    markeredgecolor=INK,
                    markeredgewidth=0.5,
                    linestyle="none",
                    zorder=4,
                )
        for panel, key, style in (
            ("loss", "loss", ":"),
            ("loss", "eval_loss", "-"),
            ("learning_rate", "learning_rate", "-"),
        ):
            mean = mean_curve([_points(metrics, key) for metrics in runs])
            if mean and panel in panels:
                steps_of, values = zip(*mean, strict=True)
                marker = "." if len(mean) == 1 else ""  # no line
                panels[panel].plot(steps_of, values, color=colour, linestyle=style, linewidth=1.2, marker=marker)
    for axes in rows:
        axes.grid()
        axes.set_ylim(bottom=0)
        for steps, colour in frozen.items():
            axes.axvline(steps, color=colour, linestyle="--", linewidth=0.8, zorder=0)
    wers.set_ylabel(f"validation {rate} (%)")
    if "loss" in panels:
        panels["loss"].set_ylabel("loss")
    if rates := panels.get("learning_rate"):
        rates.set_ylabel("learning rate")
        rates.yaxis.set_major_locator(MaxNLocator(3))
        rates.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))
    rows[-1].set_xlabel("optimizer step")
    rows[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.align_ylabels()
    return _laid_out(figure)


def _any(everything: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(_points(metrics, key) for metrics in everything)


def _kept(everything: Sequence[Mapping[str, Any]]) -> str:
    if len(everything) > 1:
        return "kept step"
    _, wer = kept_point(everything[0])
    step = everything[0].get("best_step")
    return f"kept: {'average' if step is None else f'step {step}'}" + (f", {100 * wer:.1f}%" if wer is not None else "")


def kept_point(metrics: Mapping[str, Any]) -> tuple[int, float | None]:
    """Step and error rate of what a run kept, on the utterances of evaluations; an average stands at the last step."""
    if metrics.get("best_step") is None:
        average = metrics.get("average")
        return metrics["steps"], average and average["wer"]
    return metrics["best_step"], dict(wer_points(metrics)).get(metrics["best_step"])


def _seeds_and_mean(axes: Axes, curves: Sequence[Sequence[tuple[int, float]]], colour: str, marker: str) -> None:
    """A line for a single run; for several, a thin line for each and a thick one for their mean."""
    if len(curves) > 1:
        for curve in curves:
            axes.plot(*_unzipped(curve), color=colour, linewidth=0.6, alpha=0.6)
    axes.plot(
        *_unzipped(mean_curve(curves)), color=colour, linewidth=1.6 if len(curves) > 1 else 1.2, marker=marker, markersize=4
    )


def _unzipped(curve: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [value for _, value in curve]


def mean_curve(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """The mean of several curves, at the steps that all of them have."""
    by_step = [dict(curve) for curve in curves]
    common = sorted(set.intersection(*map(set, by_step))) if by_step else []
    return [(step, math.fsum(one[step] for one in by_step) / len(by_step)) for step in common]


def rate_of(metrics: Mapping[str, Any]) -> str:
    """Name of the error rate: ``"CER"`` if the run scores characters as words."""
    return str(metrics.get("rate", "WER"))


def wer_points(metrics: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Step and WER of each evaluation, with zero-shot as step 0 if it was scored on the same number of utterances."""
    zero_shot = metrics.get("zero_shot")
    evaluated = metrics.get("evaluated_utterances")
    points = _points(metrics, "eval_wer")
    if not zero_shot or zero_shot.get("wer") is None or (evaluated is not None and zero_shot.get("utterances") != evaluated):
        return points
    return [(0, zero_shot["wer"]), *points]


def _points(metrics: Mapping[str, Any], key: str) -> list[tuple[int, float]]:
    return [(entry["step"], entry[key]) for entry in metrics.get("history", []) if entry.get(key) is not None]


def _interval(errorbar: Callable[..., Any], x: float, y: float, color: str, **options: Any) -> None:
    """Draw a value with its interval, or as an open marker without one."""
    options["xerr"], options["yerr"] = options.get("xerr"), options.get("yerr")
    known = options["xerr"] is not None or options["yerr"] is not None
    errorbar(x, y, color=color, markerfacecolor=color if known else PAPER, markeredgewidth=0.8, **options)


def _no_interval(intervals: Sequence[Any], marker: str, what: str = "") -> list[Line2D]:
    """The key of open markers, if there are any."""
    return (
        [_key(f"{what}no interval", INK, marker=marker, markerfacecolor=PAPER)]
        if any(one is None for one in intervals)
        else []
    )


@rc_context(STYLE)
def histogram(label: str, values: Mapping[str, Sequence[float]], bins: int = 40) -> Figure:
    """The distribution of a quantity in each set, in percent of the set. The ends hold what is beyond the axis.

    Args:
        label: The quantity, with its unit.
        values: Its values by set.
        bins: Number of bars.
    """
    values = {name: numbers for name, numbers in values.items() if len(numbers)}
    low, high = np.percentile(np.concatenate([np.asarray(one, dtype=float) for one in values.values()]), (0.2, 99.8))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    figure = _figure(1.6, _set_keys(list(values), linewidth=1.4) if len(values) > 1 else [])
    axes = figure.subplots()
    for number, numbers in enumerate(values.values()):
        counts, _ = np.histogram(np.clip(numbers, edges[0], edges[-1]), edges)
        colour = PALETTE[number % len(PALETTE)]
        axes.stairs(100 * counts / len(numbers), edges, color=colour, linewidth=1.2, fill=False)
        axes.stairs(100 * counts / len(numbers), edges, color=colour, alpha=0.15, fill=True)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel("% of the set")
    axes.grid(axis="y")
    return _laid_out(figure)


@rc_context(STYLE)
def bars(label: str, unit: str, groups: Sequence[str], counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Counts by group, the sets side by side.

    Args:
        label: What the groups are.
        unit: What is counted.
        groups: Names of the groups, in order.
        counts: By set, the count of each group.
    """
    figure = _figure(1.6, _set_keys(list(counts), marker="s") if len(counts) > 1 else [])
    axes = figure.subplots()
    width = 0.8 / max(1, len(counts))
    for number, of in enumerate(counts.values()):
        where = [place + (number - (len(counts) - 1) / 2) * width for place in range(len(groups))]
        axes.bar(where, [of.get(group, 0) for group in groups], 0.9 * width, color=PALETTE[number % len(PALETTE)])
    axes.set_xticks(range(len(groups)), [_plain(group) for group in groups])
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    axes.grid(axis="y")
    return _laid_out(figure)


@rc_context(STYLE)
def ages_by_step(drawn: AgesDrawn) -> Figure:
    """The share of each age in the utterances drawn, against the optimizer step, with the ends of epochs."""
    ends = range(drawn.epoch_steps, drawn.edges[-1], drawn.epoch_steps)
    colours = [PALETTE[number % len(PALETTE)] for number in range(len(drawn.ages))]
    names = ["\n".join(wrapped(age, KEY)) for age in drawn.ages]
    keys = [_key(name, colour, marker="s") for name, colour in zip(names, colours, strict=True)]
    figure = _figure(1.8, keys, [_key("end of an epoch", INK, linewidth=0.8, linestyle="--")] if ends else [])
    axes = figure.subplots()
    rows = 100 * np.vstack([drawn.shares, drawn.shares[-1:]])  # the last step lasts until the end
    axes.stackplot(drawn.edges, rows.T, colors=colours, step="post", linewidth=0)
    for end in ends:
        axes.axvline(end, color=INK, linestyle="--", linewidth=0.8)
    axes.set_xlim(0, drawn.edges[-1])
    axes.set_ylim(0, 100)
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylabel("% of the utterances")
    return _laid_out(figure)


def _set_keys(names: Sequence[str], **options: Any) -> list[Line2D]:
    """An entry of a legend for each set."""
    return [_key(_plain(name), PALETTE[number % len(PALETTE)], **options) for number, name in enumerate(names)]


def _key(label: str, colour: str, **options: Any) -> Line2D:
    """An entry of a legend: a line, a marker, or both."""
    linestyle = "-" if "linewidth" in options else "none"
    return Line2D(
        [], [], **{"linestyle": linestyle, "markersize": 4.5, "markeredgewidth": 0.8, **options}, color=colour, label=label
    )


def _figure(height: float, *legends: Sequence[Line2D]) -> Figure:
    """An empty figure with legends: the first above the axes, and the second below them if both have entries.

    Args:
        height: Its height without legends, in inches.
        legends: Their entries.
    """
    shown = [keys for keys in legends if keys]
    labels = [[str(key.get_label()).split("\n") for key in keys] for keys in shown]
    columns = [2 if max(_length(line) for label in one for line in label) <= HALF_KEY else 1 for one in labels]
    lines = sum(sum(map(len, one)) / number for one, number in zip(labels, columns, strict=True))
    figure = Figure(figsize=(WIDTH, height + LINE * lines), layout="constrained")
    places: Sequence[Any] = ("outside upper left", "outside lower left")
    for keys, number, place in zip(shown, columns, places, strict=False):
        figure.legend(
            handles=keys,
            loc=place,
            ncols=number,
            handlelength=1.6,
            columnspacing=1,
            labelspacing=0.3,
            borderpad=0.1,
        )
    return figure


def _laid_out(figure: Figure) -> Figure:
    """Lay out a figure once, for all formats."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def reach(value: float, ci95: Sequence[float] | None) -> list[list[float]] | None:
    """Lengths of the error bar below and above a value, in percentage points; None without an interval."""
    return None if ci95 is None else [[max(0.0, 100 * (value - ci95[0]))], [max(0.0, 100 * (ci95[1] - value))]]


def wrapped(text: str, width: float, max_lines: int = 6) -> list[str]:
    """A text in lines: broken between words, and within one only if it is too long for a line.

    Args:
        text: The text.
        width: Width of a line, in points.
        max_lines: Number of lines; what is left becomes an ellipsis.
    """
    lines = [""]
    for word in _plain(text).split():
        pieces = [word] if _length(word) <= width else re.findall(r"[^=./,+_-]*[=./,+_-]|[^=./,+_-]+", word)
        pieces = [part for piece in pieces for part in ([piece] if _length(piece) <= width else piece)]
        for number, piece in enumerate(pieces):
            joined = f"{lines[-1]}{'' if number or not lines[-1] else ' '}{piece}"
            if lines[-1] and _length(joined) > width:
                lines.append(piece)
            else:
                lines[-1] = joined
    return lines if len(lines) <= max_lines else [*lines[: max_lines - 1], "…"]


def _across(title: str) -> str:
    """The title of an axis, wrapped to the width of the figure."""
    return "\n".join(part for line in title.split("\n") for part in wrapped(line, ACROSS))


def _length(text: str) -> float:
    """Width of a text in points."""
    return math.fsum(map(_advance, text))


@cache
def _advance(character: str) -> float:
    font = FontProperties(family=STYLE["font.family"], size=STYLE["font.size"])
    width, _, _ = text_to_path.get_text_width_height_descent(character, font, ismath=False)
    return float(width)


def _plain(text: str) -> str:
    """Text without the characters that an SVG can't hold."""
    return re.sub(r"[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)
