"""H3: freeze and unfreeze the encoder, or the decoder, during training."""

import logging
from collections.abc import Iterator
from typing import Any

from torch.nn import Module, Parameter
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    WhisperForConditionalGeneration,
)

from kidasr.config.checks import ConfigError
from kidasr.errors import KidasrError
from kidasr.model.freeze import Freeze
from kidasr.model.kept_encodings import KeptEncodings, is_deterministic
from kidasr.model.short_input import WhisperEncoder

log = logging.getLogger(__name__)


class UnfreezeCallback(TrainerCallback):
    """Freezes a part of the model at the start of training and unfreezes it at a given step.

    It does not freeze earlier, so that the optimizer holds the part's parameters from the start (it skips parameters
    without a gradient). Unfreezing restores each parameter's flag: Whisper's positional table is fixed and stays fixed, and
    with an adapter only the adapter's weights are trained. A run resumed after that step does not freeze again.

    Args:
        freeze: Part and duration of the freeze.
        kept_bytes: Memory for the outputs of the frozen encoder, where they do not change; 0 to encode every batch anew.
    """

    def __init__(self, freeze: Freeze, kept_bytes: float = 0):
        self.freeze, self.kept_bytes = freeze, kept_bytes
        self._flags: list[tuple[Parameter, bool]] = []

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
        parameters = list(parameters_of(model, self.freeze.part))
        self._flags = [(parameter, parameter.requires_grad) for parameter in parameters]
        number = _trainable(parameters)
        for parameter in parameters:
            parameter.requires_grad_(False)
        until = "for the whole run" if self.freeze.whole_run else f"until step {self.freeze.steps}"
        log.info("step %d: %s frozen %s (%s parameters)", state.global_step, self.freeze.part, until, f"{number:,}")
        encoder = model.get_encoder() if self.kept_bytes and model is not None else None
        if isinstance(encoder, WhisperEncoder) and is_deterministic(encoder):
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
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        parameters = [parameter for parameter, _ in self._flags]
        self._flags = []
        _forget(model)
        log.info("step %d: %s unfrozen (%s parameters)", state.global_step, self.freeze.part, f"{_trainable(parameters):,}")

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


def parameters_of(model: Any, part: str) -> Iterator[Parameter]:
    """The parameters of a model's ``encoder`` or ``decoder``; the token embedding and the output are in the decoder.

    Raises:
        KidasrError: If the model has no such part.
    """
    if not hasattr(model, f"get_{part}"):
        raise KidasrError(f"freeze: a {type(model).__name__} has no {part} to freeze; expected: freeze=none")
    modules: list[Module | None] = [getattr(model, f"get_{part}")()]
    if part == "decoder":
        modules.append(model.get_output_embeddings())
    yield from {id(one): one for module in modules if module is not None for one in module.parameters()}.values()


def check_trains(model: Any, freeze: Freeze) -> None:
    """Check that something is left to train. Call it once the adapter has chosen what to train.

    Raises:
        ConfigError: If every parameter that would train is frozen for the whole run.
    """
    frozen = {id(one) for one in parameters_of(model, freeze.part)} if freeze.whole_run else set()
    if not any(one.requires_grad and id(one) not in frozen for one in model.parameters()):
        other = "decoder" if freeze.part == "encoder" else "encoder"
        raise ConfigError(
            f"freeze={freeze.part}_all: the adapter trains nothing but the {freeze.part}, so nothing is left to train; "
            f"expected: freeze=none, or an adapter of the {other}"
        )


def _trainable(parameters: list[Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
