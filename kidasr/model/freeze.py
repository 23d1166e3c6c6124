"""H3: a frozen encoder, for the first steps or for the whole run."""

import logging
from typing import Any

from torch.nn import Module
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    WhisperForConditionalGeneration,
)

log = logging.getLogger(__name__)


class EncoderUnfreezeCallback(TrainerCallback):
    """Freezes the encoder when training begins and unfreezes it at a step.

    It freezes when training begins, not before, so that the optimizer holds the encoder's parameters from the start; a
    parameter without gradient is passed over. Unfreezing gives every parameter the flag that it had: Whisper's positional
    table is fixed and stays so. A run resumed beyond the step does not freeze again.

    Args:
        freeze_encoder_steps: Optimizer steps before the encoder trains; 0 never freezes, -1 never unfreezes.
    """

    def __init__(self, freeze_encoder_steps: int):
        self.freeze_encoder_steps = freeze_encoder_steps
        self._flags: dict[str, bool] = {}

    def freezes_at(self, step: int) -> bool:
        """Whether the encoder is frozen in the step after this many."""
        return self.freeze_encoder_steps == -1 or step < self.freeze_encoder_steps

    def frozen_steps(self, steps: int) -> int:
        """For how many of a run's steps the encoder is frozen."""
        return steps if self.freeze_encoder_steps == -1 else min(self.freeze_encoder_steps, steps)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: WhisperForConditionalGeneration | None = None,
        **_: Any,
    ) -> None:
        if not self.freezes_at(state.global_step):
            return
        encoder = _encoder(model)
        self._flags = {name: parameter.requires_grad for name, parameter in encoder.named_parameters()}
        number = _trainable(encoder)
        encoder.requires_grad_(False)
        until = "for the whole run" if self.freeze_encoder_steps == -1 else f"until step {self.freeze_encoder_steps}"
        log.info("step %d: encoder frozen %s (%s parameters)", state.global_step, until, f"{number:,}")

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: WhisperForConditionalGeneration | None = None,
        **_: Any,
    ) -> None:
        if not self._flags or self.freezes_at(state.global_step):
            return
        encoder = _encoder(model)
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(self._flags[name])
        self._flags = {}
        log.info("step %d: encoder unfrozen (%s parameters train again)", state.global_step, f"{_trainable(encoder):,}")


def _encoder(model: WhisperForConditionalGeneration | None) -> Module:
    assert model is not None, "the Trainer hands its model to every callback"
    return model.get_encoder()


def _trainable(module: Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
