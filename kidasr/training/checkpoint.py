"""H1: when to evaluate and save, and which model is kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

if TYPE_CHECKING:
    from transformers import TrainerState

log = logging.getLogger(__name__)


class Checkpoint:
    """Evaluation and checkpoints by step; the model with the lowest WER among the checkpoints is the run's.

    The Trainer can restore an evaluated model only if the same step was saved. With ``save_steps`` larger than
    ``eval_steps`` the best evaluation may have no checkpoint, and the model is lost: that is what
    ``checkpoint=legacy`` does and ``checkpoint=aligned`` does not.

    Args:
        eval_steps, save_steps: Optimizer steps between evaluations, and between checkpoints.
        save_total_limit: Checkpoints kept: the newest, and the best among them.
    """

    def __init__(self, eval_steps: PositiveInt, save_steps: PositiveInt, save_total_limit: PositiveInt):
        self.eval_steps, self.save_steps, self.save_total_limit = eval_steps, save_steps, save_total_limit

    def training_arguments(self) -> dict[str, Any]:
        """The part of ``Seq2SeqTrainingArguments`` that this decides."""
        return {
            "eval_strategy": "steps",
            "eval_steps": self.eval_steps,
            "save_strategy": "steps",
            "save_steps": self.save_steps,
            "save_total_limit": self.save_total_limit,
            "load_best_model_at_end": True,
            "metric_for_best_model": "wer",
            "greater_is_better": False,  # the Trainer's own default is True for a metric of this name
            # Without it every resume would begin the patience of early stopping anew.
            "restore_callback_states_from_checkpoint": True,
        }

    def kept_step(self, state: TrainerState) -> int:
        """The step of the model that the Trainer holds at the end of training: the best saved, else the last."""
        if state.best_model_checkpoint is None:
            return state.global_step
        return int(state.best_model_checkpoint.rpartition("-")[2])

    def report_kept(self, state: TrainerState, rate: str = "WER") -> None:
        """Log which model is kept, and what was lost where the best evaluation had no checkpoint.

        Args:
            state: The Trainer's, at the end.
            rate: What the rate of errors is called: see :class:`kidasr.recognition.score.Scoring`.
        """
        kept = self.kept_step(state)
        evaluations = {entry["step"]: entry["eval_wer"] for entry in state.log_history if "eval_wer" in entry}
        if not evaluations:
            log.warning("no evaluation in the whole run: the last model is kept, step %d", kept)
            return
        best = min(evaluations, key=lambda step: (evaluations[step], step))
        of_kept = f"{rate} {100 * evaluations[kept]:.1f}%" if kept in evaluations else "never evaluated"
        if kept == best:
            log.info("kept: the best model, step %d (%s)", kept, of_kept)
        else:
            log.warning(
                "the lowest %s, %.1f%% at step %d, has no checkpoint: kept is step %d (%s)",
                rate,
                100 * evaluations[best],
                best,
                kept,
                of_kept,
            )
