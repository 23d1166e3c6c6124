"""H3: freeze and unfreeze the encoder during training."""

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

from kidasr.errors import KidasrError
from kidasr.model.freeze import Freeze
from kidasr.model.kept_encodings import KeptEncodings, is_deterministic
from kidasr.model.short_input import WhisperEncoder

log = logging.getLogger(__name__)


class EncoderUnfreezeCallback(TrainerCallback):
    """Freezes the encoder at the start of training and unfreezes it at a given step.

    It does not freeze earlier, so that the optimizer holds the encoder's parameters from the start (it skips parameters
    without a gradient). Unfreezing restores each parameter's flag: Whisper's positional table is fixed and stays fixed. A
    run resumed after that step does not freeze again.

    Args:
        freeze: Duration of the freeze.
        kept_bytes: Memory for the outputs of the frozen encoder, where they do not change; 0 to encode every batch anew.
    """

    def __init__(self, freeze: Freeze, kept_bytes: float = 0):
        self.freeze, self.kept_bytes = freeze, kept_bytes
        self._flags: dict[str, bool] = {}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: WhisperForConditionalGeneration | None = None,
        **_: Any,
    ) -> None:
        if not self.freeze.freezes_at(state.global_step):
            return
        encoder = _encoder(model)
        self._flags = {name: parameter.requires_grad for name, parameter in encoder.named_parameters()}
        number = _trainable(encoder)
        encoder.requires_grad_(False)
        until = "for the whole run" if self.freeze.whole_run else f"until step {self.freeze.freeze_encoder_steps}"
        log.info("step %d: encoder frozen %s (%s parameters)", state.global_step, until, f"{number:,}")
        if self.kept_bytes and isinstance(encoder, WhisperEncoder) and is_deterministic(encoder.config):
            encoder.kept = KeptEncodings(self.kept_bytes)
            log.info("encodings that do not change are kept while it is frozen, up to %g GB", self.kept_bytes / 1e9)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: WhisperForConditionalGeneration | None = None,
        **_: Any,
    ) -> None:
        if not self._flags or self.freeze.freezes_at(state.global_step):
            return
        encoder = _encoder(model)
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(self._flags[name])
        self._flags = {}
        _forget(model)
        log.info("step %d: encoder unfrozen (%s parameters)", state.global_step, f"{_trainable(encoder):,}")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: WhisperForConditionalGeneration | None = None,
        **_: Any,
    ) -> None:
        """Forget the encodings: a run that is resumed after training has none either."""
        _forget(model)


def _forget(model: WhisperForConditionalGeneration | None) -> None:
    encoder = model.get_encoder() if hasattr(model, "get_encoder") else None  # type: ignore[union-attr]
    if isinstance(encoder, WhisperEncoder):
        encoder.kept = None


def _encoder(model: WhisperForConditionalGeneration | None) -> Module:
    if not hasattr(model, "get_encoder"):
        raise KidasrError(f"freeze: a {type(model).__name__} has no encoder to freeze; expected: freeze=none")
    encoder: Module = model.get_encoder()  # type: ignore[union-attr]
    return encoder


def _trainable(module: Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
