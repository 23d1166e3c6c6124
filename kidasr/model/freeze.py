"""H3: a frozen encoder, for the first steps or for the whole run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kidasr.config.schema import MinusOneOrMore

if TYPE_CHECKING:
    from kidasr.model.unfreeze import EncoderUnfreezeCallback


class Freeze:
    """For how many optimizer steps the encoder is frozen: 0 for none, -1 for the whole run."""

    def __init__(self, freeze_encoder_steps: MinusOneOrMore):
        self.freeze_encoder_steps = freeze_encoder_steps

    @property
    def whole_run(self) -> bool:
        """Whether the encoder never trains."""
        return self.freeze_encoder_steps == -1

    def freezes_at(self, step: int) -> bool:
        """Whether the encoder is frozen in the step after this many."""
        return self.whole_run or step < self.freeze_encoder_steps

    def frozen_steps(self, steps: int) -> int:
        """For how many of a run's steps the encoder is frozen."""
        return steps if self.whole_run else min(self.freeze_encoder_steps, steps)

    def callback(self) -> EncoderUnfreezeCallback:
        """What freezes and unfreezes while the Trainer runs."""
        from kidasr.model.unfreeze import EncoderUnfreezeCallback

        return EncoderUnfreezeCallback(self)
