"""Interactive versions of the figures, for a page (plotly)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kidasr.report.figure import rate_of, reach, wer_points, wrapped


def wer_by_age_chart(runs: Mapping[str, Mapping[str, Any]], rate: str = "WER") -> go.Figure:
    """The WER of each age bucket with its 95% interval, runs side by side.

    Args:
        runs: Results of :func:`kidasr.evidence.rates.describe` by run name.
        rate: Name of the error rate.
    """
    figure = go.Figure()
    for name, run in runs.items():
        of_age = {**run["by_age"], "all": run}
        known = {age: one for age, one in of_age.items() if one["wer"] is not None}
        figure.add_bar(
            x=list(known),
            y=[100 * one["wer"] for one in known.values()],
            error_y=_error_bars([(one["wer"], one["ci95"]) for one in known.values()]),
            name=escape(name),
            customdata=[[one["speakers"], one["words"]] for one in known.values()],
            hovertemplate="%{x}: %{y:.1f}% (%{customdata[0]} speakers, %{customdata[1]} words)",
        )
    figure.update_layout(barmode="group", xaxis_title="age in years", yaxis_title=f"{rate} (%)")
    figure.update_xaxes(type="category")
    return figure


def forest_chart(title: str, differences: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Forest plot of WER differences with 95% intervals; a click in the legend shows an age bucket.

    Args:
        title: Title of the axis.
        differences: By name: ``delta_wer`` and ``ci95`` as fractions, and optionally ``by_age`` with the same.
    """
    figure = go.Figure()
    ages = list(next(iter(differences.values())).get("by_age", {}))
    for age in ["all", *ages]:
        ones = [one if age == "all" else one["by_age"][age] for one in differences.values()]
        figure.add_scatter(
            x=[100 * one["delta_wer"] for one in ones],
            y=["<br>".join(map(escape, wrapped(name))) for name in differences],
            error_x=_error_bars([(one["delta_wer"], one["ci95"]) for one in ones]),
            mode="markers",
            marker={"size": 10 if age == "all" else 7, "symbol": "square" if age == "all" else "circle"},
            name=escape(age),
            visible=True if age == "all" else "legendonly",
        )
    figure.add_vline(0, line_dash="dash", line_color="gray")
    figure.update_layout(
        xaxis_title=escape(title),
        yaxis={"autorange": "reversed", "type": "category"},
        scattermode="group",
        showlegend=bool(ages),
        height=160 + 42 * len(differences),
    )
    return figure


def learning_chart(runs: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """WER, losses and learning rate against optimizer steps, on a shared axis, with each run's best step marked.

    Args:
        runs: The content of ``metrics.json`` by run name.
    """
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.45, 0.3, 0.25])
    for number, (name, metrics) in enumerate(runs.items()):
        colour = PALETTE[number % len(PALETTE)]
        group = {"legendgroup": str(number), "line": {"color": colour}}
        points = wer_points(metrics)
        figure.add_scatter(
            x=[step for step, _ in points],
            y=[100 * wer for _, wer in points],
            name=escape(name),
            mode="lines+markers",
            row=1,
            col=1,
            **group,
        )
        best = dict(points).get(metrics["best_step"])
        if best is not None:
            figure.add_scatter(
                x=[metrics["best_step"]],
                y=[100 * best],
                name="best step",
                legendgroup=str(number),
                showlegend=len(runs) == 1,
                mode="markers",
                marker={"symbol": "star", "size": 15, "color": colour, "line": {"width": 1, "color": "white"}},
                row=1,
                col=1,
            )
        losses = [entry for entry in metrics["history"] if "loss" in entry]
        evaluations = [entry for entry in metrics["history"] if "eval_loss" in entry]
        for entries, key, what, dash in (
            (losses, "loss", "training", "dot"),
            (evaluations, "eval_loss", "validation", None),
        ):
            figure.add_scatter(
                x=[entry["step"] for entry in entries],
                y=[entry[key] for entry in entries],
                name=f"{what} loss",
                legendgroup=str(number),
                showlegend=len(runs) == 1,
                mode="lines",
                line={"color": colour, "dash": dash},
                row=2,
                col=1,
            )
        figure.add_scatter(
            x=[entry["step"] for entry in losses],
            y=[entry["learning_rate"] for entry in losses],
            name="learning rate",
            showlegend=False,
            mode="lines",
            row=3,
            col=1,
            **group,
        )
    frozen = sorted({metrics["frozen_steps"] for metrics in runs.values()} - {0})
    for steps in frozen:
        figure.add_vline(steps, line_dash="dash", line_color="gray", row="all", col=1)
        figure.add_annotation(
            x=steps,
            y=1,
            yref="y domain",
            text=f"encoder frozen until {steps}",
            showarrow=False,
            xanchor="left",
            yanchor="top",
        )
    rate = rate_of(next(iter(runs.values())))
    figure.update_yaxes(title_text=f"validation {rate} (%)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="loss", rangemode="tozero", row=2, col=1)
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", exponentformat="e", row=3, col=1)
    figure.update_xaxes(title_text="optimizer step", row=3, col=1)
    figure.update_layout(height=720)
    return figure


#: Okabe and Ito's palette, which is safe for colour-blind readers.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")


def _error_bars(values: Sequence[tuple[float, Sequence[float] | None]]) -> dict[str, Any]:
    below, above = reach(values)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
