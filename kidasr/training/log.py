"""Log, progress bar and progress file of a run during training."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kidasr.durable import size_text
from kidasr.report.tables import component_table, percent
from kidasr.runs.record import write_progress

if TYPE_CHECKING:
    from kidasr.training.trainer import ChildSpeechTrainer

log = logging.getLogger(__name__)

#: Seconds between progress updates.
PROGRESS_INTERVAL_SEC = 1.0


class LogCallback(TrainerCallback):
    """Logs the trained components, losses, learning rate, WER at every evaluation, and the mean time per step.

    Args:
        trainer: The run's Trainer.
    """

    def __init__(self, trainer: ChildSpeechTrainer):
        self.trainer = trainer
        self._first_step, self._begun = 0, 0.0
        self._wer: float | None = None  # at the newest evaluation
        self._progress_written = float("-inf")  # time of the last progress update

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.is_world_process_zero:
            log.info("%s", component_table(self.trainer.recogniser.components(), args.learning_rate).text())
            self._log_checkpoint_size(args)
        self._first_step = state.global_step
        self._wer = next((row["eval_wer"] for row in reversed(state.log_history) if "eval_wer" in row), None)

    def _log_checkpoint_size(self, args: TrainingArguments) -> None:
        """Log how large a checkpoint gets once every weight has trained: SLURM waits for one before it ends a job."""
        groups: Any = self.trainer.optimizer.param_groups if self.trainer.optimizer else []
        # AdamW keeps two numbers for each weight (of one byte with adamw_8bit), the other optimizers next to nothing.
        bytes_each = 2 if args.optim == "adamw_8bit" else 8 if args.optim.startswith("adamw") else 0
        bytes_each += 4 if self.trainer.average.is_running else 0
        state = sum(bytes_each * one.numel() for group in groups for one in group["params"])
        size = size_text(state + self.trainer.weights_bytes)
        on_slurm = "; hydra.launcher.signal_delay_s must be time enough to write one" if "SLURM_JOB_ID" in os.environ else ""
        log.info("checkpoints: up to %s each, at most %s are kept%s", size, args.save_total_limit, on_slurm)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        now = time.perf_counter()
        self.trainer.stepped_sec += now - self._begun
        if state.is_world_process_zero and now - self._progress_written > PROGRESS_INTERVAL_SEC:
            self._progress_written = now
            self._write_progress(state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        steps = state.global_step - self._first_step
        if state.is_world_process_zero:
            self._write_progress(state)
        if state.is_world_process_zero and steps:
            waited_sec = self.trainer.waited_sec
            total_sec = self.trainer.stepped_sec + waited_sec
            log.info(
                "training: %.2f s per step, %s of it waiting for data", total_sec / steps, percent(waited_sec / total_sec)
            )

    def _write_progress(self, state: TrainerState) -> None:
        rate = self.trainer.scoring.rate
        write_progress(self.trainer.run_dir, step=state.global_step, max_steps=state.max_steps, wer=self._wer, rate=rate)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        where = f"step {state.global_step}/{state.max_steps}"
        if "eval_wer" in logs:
            by_age = ", ".join(
                f"{name.removeprefix('eval_wer_')}: {percent(rate)}"
                for name, rate in logs.items()
                if name.startswith("eval_wer_")
            )
            self._wer = logs["eval_wer"]
            rate = self.trainer.scoring.rate
            loss = f", loss {logs['eval_loss']:.3f}" if "eval_loss" in logs else ""
            log.info("%s: %s %s (%s)%s", where, rate, percent(logs["eval_wer"]), by_age, loss)
        elif "loss" in logs:
            log.info("%s: training loss %.3f, learning rate %.2e", where, logs["loss"], logs["learning_rate"])


class ProgressBar(ProgressCallback):
    """transformers' progress bars, without their log output: :class:`LogCallback` does the logging."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        pass
