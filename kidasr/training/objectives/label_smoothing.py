"""Label smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kidasr.config.schema import Fraction
from kidasr.training.objective import Objective

if TYPE_CHECKING:
    import torch


class LabelSmoothing(Objective):
    """Cross entropy with targets of which a part is spread evenly over the vocabulary (Szegedy et al., 2016, section 7).

    Args:
        epsilon: That part; 0 is cross entropy.
    """

    def __init__(self, epsilon: Fraction):
        self.epsilon = epsilon

    def __call__(self, logits: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """PyTorch's own, for each token."""
        from torch.nn import functional

        return functional.cross_entropy(logits[0], targets, label_smoothing=self.epsilon, reduction="none")

    def describe(self) -> str:
        """A short description for the log."""
        return f"label_smoothing, {self.epsilon:.3g} of each target is spread over the vocabulary"
