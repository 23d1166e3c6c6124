"""H3: freeze the encoder, for the first steps or the whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kidasr.config.schema import MinusOneOrMore

if TYPE_CHECKING:
    from kidasr.model.unfreeze import EncoderUnfreezeCallback


class Freeze:
    """Number of optimizer steps for which the encoder is frozen: 0 for none, -1 for the whole run."""

    def __init__(self, freeze_encoder_steps: MinusOneOrMore):
        self.freeze_encoder_steps = freeze_encoder_steps

    @property
    def whole_run(self) -> bool:
        """Whether the encoder is frozen for the whole run."""
        return self.freeze_encoder_steps == -1

    def freezes_at(self, step: int) -> bool:
        """Whether the encoder is frozen in the next step, after ``step`` steps."""
        return self.whole_run or step < self.freeze_encoder_steps

    def frozen_steps(self, steps: int) -> int:
        """Number of steps with a frozen encoder, in a run of ``steps`` steps."""
        return steps if self.whole_run else min(self.freeze_encoder_steps, steps)

    def callback(self, kept_bytes: float = 0) -> EncoderUnfreezeCallback:
        """The Trainer callback that freezes and unfreezes the encoder.

        Args:
            kept_bytes: Memory for the frozen encoder's outputs; 0 to encode every batch anew.
        """
        from kidasr.model.unfreeze import EncoderUnfreezeCallback

        return EncoderUnfreezeCallback(self, kept_bytes)
