"""Figures for papers: PNG or PDF, chosen by the file name."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_learning_curve(path: Path, metrics: Mapping[str, Any]) -> None:
    """Draw WER (above), losses and learning rate (below) against optimizer steps; marks the kept step and the frozen steps.

    Args:
        path: Image file; its extension sets the format.
        metrics: The content of ``metrics.json``.
    """
    history: Sequence[Mapping[str, Any]] = metrics["history"]
    best_step, frozen_steps = metrics["best_step"], metrics["frozen_steps"]
    evaluations = [entry for entry in history if "eval_wer" in entry]
    losses = [entry for entry in history if "loss" in entry]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)

    points = wer_points(metrics)
    above.plot([step for step, _ in points], [100 * wer for _, wer in points], marker="o", markersize=3, color="tab:blue")
    best = dict(points).get(best_step)
    if best is not None:
        above.plot(best_step, 100 * best, marker="*", markersize=14, color="tab:orange", linestyle="none")
        above.annotate(f"kept: {100 * best:.1f}%", (best_step, 100 * best), (0, 12), textcoords="offset points", ha="center")
    above.set_ylabel(f"validation {rate_of(metrics)} (%)")
    above.set_ylim(bottom=0)

    below.plot([entry["step"] for entry in losses], [entry["loss"] for entry in losses], label="training loss")
    below.plot(
        [entry["step"] for entry in evaluations], [entry["eval_loss"] for entry in evaluations], label="validation loss"
    )
    below.set_ylabel("loss")
    below.set_xlabel("optimizer step")
    below.set_ylim(bottom=0)
    rate = below.twinx()
    rate.plot(
        [entry["step"] for entry in losses],
        [entry["learning_rate"] for entry in losses],
        color="tab:gray",
        linestyle=":",
        label="learning rate",
    )
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if frozen_steps:
            axes.axvspan(0, frozen_steps, color="tab:cyan", alpha=0.15, label="encoder frozen")
    lines, labels = below.get_legend_handles_labels()
    more_lines, more_labels = rate.get_legend_handles_labels()
    below.legend(lines + more_lines, labels + more_labels, loc="upper right", fontsize="small")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=120)


def rate_of(metrics: Mapping[str, Any]) -> str:
    """Name of the error rate: ``"CER"`` if the run scores characters as words."""
    return str(metrics.get("rate", "WER"))


def wer_points(metrics: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Step and WER of each evaluation, with zero-shot as step 0."""
    points = [(entry["step"], entry["eval_wer"]) for entry in metrics.get("history", []) if "eval_wer" in entry]
    zero_shot = metrics.get("zero_shot")
    return ([(0, zero_shot["wer"])] if zero_shot else []) + points


def draw_wer_by_age(path: Path, runs: Mapping[str, Mapping[str, Any]], rate: str = "WER") -> None:
    """Draw the WER of each age bucket with its 95% interval, runs side by side.

    Args:
        path: Image file; its extension sets the format.
        runs: Results of :func:`kidasr.evidence.rates.describe` by run name.
        rate: Name of the error rate.
    """
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    ages = [*next(iter(runs.values()))["by_age"], "all"]
    for number, (name, run) in enumerate(runs.items()):
        of_age = [(run if age == "all" else run["by_age"][age]) for age in ages]
        known = [(place, one) for place, one in enumerate(of_age) if one["wer"] is not None]
        axes.errorbar(
            [place + (number - (len(runs) - 1) / 2) * 0.7 / len(runs) for place, _ in known],
            [100 * one["wer"] for _, one in known],
            yerr=reach([(one["wer"], one["ci95"]) for _, one in known]),
            fmt="o",
            markersize=4,
            capsize=2,
            label="\n".join(wrapped(_plain(name))),
        )
    axes.set_xticks(range(len(ages)), ages)
    axes.set_xlabel("age in years")
    axes.set_ylabel(f"{rate} (%)")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    if len(runs) > 1:
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def draw_forest(path: Path, title: str, differences: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a forest plot of WER differences with 95% intervals.

    Args:
        path: Image file; its extension sets the format.
        title: Title of the axis.
        differences: By name: ``delta_wer`` and ``ci95`` as fractions.
    """
    names = [wrapped(_plain(name)) for name in differences]
    figure = Figure(figsize=(7, 1.2 + 0.35 * sum(len(lines) for lines in names)), layout="constrained")
    axes = figure.subplots()
    values = [(one["delta_wer"], one["ci95"]) for one in differences.values()]
    places = range(len(differences), 0, -1)
    axes.errorbar([100 * value for value, _ in values], places, xerr=reach(values), fmt="s", markersize=5, capsize=3)
    axes.axvline(0, color="gray", linestyle="--", linewidth=1)
    axes.set_yticks(places, ["\n".join(lines) for lines in names])
    axes.set_ylim(0.3, len(differences) + 0.7)
    axes.set_xlabel(_plain(title))
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)


def reach(values: Sequence[tuple[float, Sequence[float] | None]]) -> list[list[float]]:
    """Lengths of the error bars below and above the values, in percentage points; 0 without an interval."""
    ends = [(value, ci95 or (value, value)) for value, ci95 in values]
    return [
        [max(0.0, 100 * (value - low)) for value, (low, _) in ends],
        [max(0.0, 100 * (high - value)) for value, (_, high) in ends],
    ]


def wrapped(name: str) -> list[str]:
    """A configuration's name, wrapped between its overrides."""
    return textwrap.wrap(name, 40, break_long_words=False, break_on_hyphens=False) or [name]


def _plain(text: str) -> str:
    """Escape dollar signs, which matplotlib takes for mathematics."""
    return text.replace("$", r"\$")
