"""Checks a schedule against the length of the run, in optimizer steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kidasr.config.checks import ConfigError

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from kidasr.batching.batches import EpochBatches
    from kidasr.model.freeze import Freeze

log = logging.getLogger(__name__)

#: After so many steps a Whisper is used to short input (docs/evaluating.md).
USED_TO_SHORT_INPUT = 200

#: Below this, nothing much is learned. Whisper is fine-tuned at 1e-5 and thereabouts.
LOW_RATE = 1e-6


def check_run_length(arguments: TrainingArguments, batches: EpochBatches, patience: int, freeze: Freeze) -> None:
    """Check the schedule against the run's length, known once the training set is read. Logs the length and warnings.

    Args:
        arguments: Steps or epochs, warm-up, evaluations and checkpoints.
        batches: The batches of the training set.
        patience: Patience of early stopping, in evaluations; 0 for none.
        freeze: Part and duration of the freeze.

    Raises:
        ConfigError: If a setting can't work.
    """
    steps_per_epoch = math.ceil(len(batches) / arguments.gradient_accumulation_steps)
    steps = arguments.max_steps
    if steps <= 0:
        steps = math.ceil(arguments.num_train_epochs * steps_per_epoch)
    mean = len(batches.utterances) / steps_per_epoch
    log.info("run length: %d optimizer steps of %.3g utterances, %.1f epochs", steps, mean, steps / steps_per_epoch)
    eval_steps, save_steps = int(arguments.eval_steps or 0), int(arguments.save_steps)
    mistakes = list(run_length_contradictions(steps, int(arguments.warmup_steps), patience, eval_steps))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    of_curriculum = batches.curriculum.warnings(steps / steps_per_epoch)
    of_length = run_length_warnings(steps, patience, eval_steps, save_steps, freeze.steps, freeze.part)
    for warning in (*of_length, *of_curriculum):
        log.warning(warning)


def run_length_contradictions(steps: int, warmup_steps: int, patience: int, eval_steps: int) -> Iterator[str]:
    """Settings that can't work in a run of this many optimizer steps."""
    if warmup_steps > steps:
        yield f"schedule.warmup_steps={warmup_steps}: longer than the run; expected: at most its {steps} steps"
    if patience and eval_steps > steps:
        yield (
            f"early_stopping.patience={patience}: the run's {steps} steps end before the first evaluation; "
            f"expected: checkpoint.eval_steps (now {eval_steps}) of at most {steps}, or early_stopping=none"
        )


def run_length_warnings(
    steps: int, patience: int, eval_steps: int, save_steps: int, freeze_steps: int, part: str
) -> Iterator[str]:
    """Settings that are probably unintended in a run of this many optimizer steps."""
    if freeze_steps >= steps:
        yield (
            f"freeze.freeze_{part}_steps={freeze_steps}: the run ends after {steps} steps, so the {part} is never "
            f"trained (if that is intended, use freeze={part}_all)"
        )
    if eval_steps > steps:
        yield (
            f"checkpoint.eval_steps={eval_steps}: the run has only {steps} steps, so it is evaluated once, at the end: the "
            "last model is kept, best or not"
        )
    elif save_steps > steps:
        yield (
            f"checkpoint.save_steps={save_steps}: the run has only {steps} steps, so it is saved once, at the end: the last "
            "model is kept, best or not, and a killed run starts over"
        )
    elif patience and steps // eval_steps <= patience:
        yield (
            f"early_stopping.patience={patience}: the run has only {steps // eval_steps} evaluations, so it can't stop early"
        )


def train_longer(steps: int, max_steps: int, epochs: float, learning_rate: float) -> str:
    """What to type to train longer than a run did.

    Args:
        steps: The run's optimizer steps.
        max_steps, epochs, learning_rate: The keys ``trainer.max_steps``, ``trainer.num_train_epochs`` and
            ``optim.learning_rate``.
    """
    if steps < USED_TO_SHORT_INPUT:
        typed = f"trainer.max_steps={USED_TO_SHORT_INPUT}"
    elif max_steps > 0:
        typed = f"trainer.max_steps={2 * max_steps}"
    else:
        typed = f"trainer.num_train_epochs={2 * epochs:g}"
    low = f", without optim.learning_rate={learning_rate:g}, at which nothing is learned" if learning_rate < LOW_RATE else ""
    return typed + low
