"""H1: when to evaluate and save, and which model to keep."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

if TYPE_CHECKING:
    from transformers import TrainerState

log = logging.getLogger(__name__)

#: In the Trainer's log of an evaluation: the errors in each utterance, and the places of those whose transcripts repeat
#: themselves (:func:`kidasr.recognition.score.is_runaway`), if there are any.
ERRORS, RUNAWAYS = "errors_by_utterance", "runaways"


class Checkpoint:
    """Evaluates and saves at fixed steps; the run keeps the checkpoint with the lowest WER.

    The Trainer can restore the model of an evaluation only if it was saved at the same step. If ``save_steps`` is larger
    than ``eval_steps``, the best evaluation may have no checkpoint, and its model is lost. ``checkpoint=legacy`` has this
    problem, ``checkpoint=aligned`` avoids it.

    Args:
        eval_steps, save_steps: Optimizer steps between evaluations, and between checkpoints.
        save_total_limit: Number of checkpoints to keep; the newest and the best are always among them.
        keep_when_finished: Whether a finished run keeps its checkpoints beside its model.
    """

    def __init__(
        self,
        eval_steps: PositiveInt,
        save_steps: PositiveInt,
        save_total_limit: PositiveInt,
        keep_when_finished: bool,
    ):
        self.eval_steps, self.save_steps, self.save_total_limit = eval_steps, save_steps, save_total_limit
        self.keep_when_finished = keep_when_finished

    def training_arguments(self) -> dict[str, Any]:
        """The ``TrainingArguments`` that follow from this."""
        return {
            "eval_strategy": "steps",
            "eval_steps": self.eval_steps,
            "save_strategy": "steps",
            "save_steps": self.save_steps,
            "save_total_limit": self.save_total_limit,
            "load_best_model_at_end": True,
            "metric_for_best_model": "wer",
            "greater_is_better": False,  # the Trainer's own default is True for a metric of this name
            # Otherwise every resume would reset the patience of early stopping.
            "restore_callback_states_from_checkpoint": True,
        }

    def kept_step(self, state: TrainerState) -> int:
        """The step of the model that the Trainer holds after training: the best checkpoint, or the last step."""
        if state.best_model_checkpoint is None:
            return state.global_step
        return int(state.best_model_checkpoint.rpartition("-")[2])

    def report_kept(self, state: TrainerState, rate: str = "WER") -> None:
        """Log which model is kept, and warn if the best evaluation had no checkpoint.

        Args:
            state: The Trainer's state at the end.
            rate: Name of the error rate: see :class:`kidasr.features.recogniser.Scoring`.
        """
        kept = self.kept_step(state)
        evaluations = {entry["step"]: entry["eval_wer"] for entry in state.log_history if "eval_wer" in entry}
        if not evaluations:
            log.warning("the run had no evaluation: keeping the last model, step %d", kept)
            return
        best = min(evaluations, key=lambda step: (evaluations[step], step))
        of_kept = f"{rate} {100 * evaluations[kept]:.1f}%" if kept in evaluations else "never evaluated"
        if kept == best:
            log.info("keeping the best model, step %d (%s)", kept, of_kept)
        else:
            later = [step for step in evaluations if step > kept and self._is_saved(step, state)]
            better = min(later, key=evaluations.__getitem__, default=kept)
            missed = ""
            if evaluations[better] < evaluations.get(kept, 0.0):
                missed = f"; saved later, and better: step {better} ({100 * evaluations[better]:.1f}%)"
            log.warning(
                "the lowest %s, %.1f%% at step %d, has no checkpoint: keeping step %d (%s)%s",
                rate,
                100 * evaluations[best],
                best,
                kept,
                of_kept,
                missed,
            )

    def _is_saved(self, step: float, state: TrainerState) -> bool:
        return step % self.save_steps == 0 or step == state.max_steps

    def report_runaways(self, state: TrainerState, words: Sequence[int], rate: str = "WER") -> None:
        """Warn if another checkpoint would have been kept without the transcripts that are runaways at some evaluation.

        One of them may have more errors than all that two evaluations differ by.

        Args:
            state: The Trainer's state at the end.
            words: The words of each utterance of the evaluation set.
            rate: As in :meth:`report_kept`.
        """
        saved: list[dict[str, Any]] = [
            entry for entry in state.log_history if ERRORS in entry and self._is_saved(entry["step"], state)
        ]
        runaways = {place for entry in saved for place in entry.get(RUNAWAYS, ())}
        others = [place for place in range(len(words)) if place not in runaways]
        of_others = sum(words[place] for place in others)
        if not runaways or not of_others:
            return
        rates = {entry["step"]: sum(entry[ERRORS][place] for place in others) / of_others for entry in saved}
        kept, best = self.kept_step(state), min(rates, key=lambda step: (rates[step], step))
        if kept in rates and rates[best] < rates[kept]:
            log.warning(
                "%d of %d transcripts, which repeat themselves at some evaluation, decided that step %d is kept: without "
                "them step %d would be the best, with %s %.1f%% instead of %.1f%%. average=last chooses nothing",
                len(runaways),
                len(words),
                kept,
                best,
                rate,
                100 * rates[best],
                100 * rates[kept],
            )
