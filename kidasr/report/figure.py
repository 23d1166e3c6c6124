"""The learning curve of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def draw_learning_curve(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    zero_shot_wer: float | None,
    best_step: int,
    unfreeze_step: int | None,
) -> None:
    """Draw WER above, loss and learning rate below, over the optimizer steps, with the best step and the unfreezing marked.

    Args:
        path: A picture file; its ending says the format.
        history: The Trainer's log: ``step`` with ``eval_wer`` (a fraction), or with ``loss`` and ``learning_rate``.
        zero_shot_wer: A fraction; drawn at step 0.
        best_step: The step of the model that the run kept.
        unfreeze_step: The step at which the encoder began to train; None where it was not frozen.
    """
    evaluations = [entry for entry in history if "eval_wer" in entry]
    losses = [entry for entry in history if "loss" in entry]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)

    points = [(0, zero_shot_wer)] if zero_shot_wer is not None else []
    points += [(entry["step"], entry["eval_wer"]) for entry in evaluations]
    above.plot([step for step, _ in points], [100 * wer for _, wer in points], marker="o", markersize=3, color="tab:blue")
    best = dict(points).get(best_step)
    if best is not None:
        above.plot(best_step, 100 * best, marker="*", markersize=14, color="tab:orange", linestyle="none")
        above.annotate(f"kept: {100 * best:.1f}%", (best_step, 100 * best), (0, 12), textcoords="offset points", ha="center")
    above.set_ylabel("validation WER (%)")
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
        if unfreeze_step is not None:
            axes.axvspan(0, unfreeze_step, color="tab:cyan", alpha=0.15, label="encoder frozen")
    lines, labels = below.get_legend_handles_labels()
    more_lines, more_labels = rate.get_legend_handles_labels()
    below.legend(lines + more_lines, labels + more_labels, loc="upper right", fontsize="small")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=120)
