"""Staying close to what the pretrained model says."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeFloat

from kidasr.training.objective import Objective, Step

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class KlToPretrained(Objective):
    """Cross entropy plus the Kullback-Leibler divergence from the pretrained model's distribution of each token.

    Yu et al. (2013, ICASSP) adapted acoustic models with ``(1 - r)`` of cross entropy and ``r`` of this divergence; a weight
    of ``r / (1 - r)`` is the same up to a factor. Here the weight falls linearly with the optimizer step, so that the end of
    the run is trained on the transcripts alone. The pretrained model sees the same input, augmented or short, and the same
    preceding tokens.

    Args:
        weight: Weight of the divergence in the first step; 0 is cross entropy.
        until: Share of the run's optimizer steps after which the weight is 0.
        full_window: Whether the pretrained model hears short input followed by silence up to its window, as it was
            pretrained.
    """

    def __init__(self, weight: NonNegativeFloat, until: Annotated[float, Field(gt=0, le=1)], full_window: bool):
        self.weight, self.until, self.full_window = weight, until, full_window
        self.pretrained: torch.nn.Module | None = None

    def begin(self, model: torch.nn.Module) -> None:
        """Keep a frozen copy of the pretrained model."""
        if not self.weight:
            return
        self.pretrained = copy.deepcopy(model).eval().requires_grad_(False)
        size = sum(parameter.nbytes for parameter in self.pretrained.parameters())
        log.info("objective: a frozen copy of the pretrained model is kept in memory, %.0f MB", size / 1e6)

    def weight_at(self, progress: float) -> float:
        """The weight after a share of the run's optimizer steps."""
        return self.weight * max(0.0, 1 - progress / self.until)

    def token_losses(self, step: Step) -> torch.Tensor:
        """Cross entropy and the weighted divergence of each token."""
        from torch.nn import functional

        (logits,) = step.logits
        losses = functional.cross_entropy(logits, step.targets, reduction="none")
        weight = self.weight_at(step.progress)
        if not weight or self.pretrained is None:
            return losses
        (pretrained,) = step.logits_of(self.pretrained.to(logits.device), full_window=self.full_window)
        logs = logits.float().log_softmax(-1), pretrained.float().log_softmax(-1)
        return losses + weight * functional.kl_div(*logs, log_target=True, reduction="none").sum(-1)

    def describe(self) -> str:
        """A short description for the log."""
        when = "the run" if self.until == 1 else f"the first {self.until:.0%} of the run"
        what = "kl, cross entropy and the divergence from the pretrained model"
        heard = ", which hears the full window" if self.full_window else ""
        return f"{what}{heard}; its weight falls from {self.weight:g} to 0 in {when}"
