"""H3: freeze the encoder, for the first steps or the whole run. Also the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from kidasr.config.schema import MinusOneOrMore

if TYPE_CHECKING:
    from kidasr.model.unfreeze import UnfreezeCallback


class Freeze:
    """Number of optimizer steps for which the encoder is frozen: 0 for none, -1 for the whole run."""

    #: The part of the model that is frozen. The token embedding, tied to the output, is in the decoder.
    part: Literal["encoder", "decoder"] = "encoder"

    def __init__(self, freeze_encoder_steps: MinusOneOrMore):
        self.steps = freeze_encoder_steps

    @property
    def whole_run(self) -> bool:
        """Whether the part is frozen for the whole run."""
        return self.steps == -1

    def freezes_at(self, step: int) -> bool:
        """Whether the part is frozen in the next step, after ``step`` steps."""
        return self.whole_run or step < self.steps

    def frozen_encoder_steps(self, steps: int) -> int:
        """Number of steps with a frozen encoder, in a run of ``steps`` steps."""
        if self.part != "encoder":
            return 0
        return steps if self.whole_run else min(self.steps, steps)

    def callback(self, kept_bytes: float = 0) -> UnfreezeCallback:
        """The Trainer callback that freezes and unfreezes the part.

        Args:
            kept_bytes: Memory for a frozen encoder's outputs; 0 to encode every batch anew.
        """
        from kidasr.model.unfreeze import UnfreezeCallback

        return UnfreezeCallback(self, kept_bytes)


class FreezeDecoder(Freeze):
    """Number of optimizer steps for which the decoder is frozen: 0 for none, -1 for the whole run."""

    part = "decoder"

    def __init__(self, freeze_decoder_steps: MinusOneOrMore):
        self.steps = freeze_decoder_steps
