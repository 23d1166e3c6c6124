"""Training objectives: what is minimised, where it is not the model's own loss.

A user's own is a subclass of :class:`Objective` in a module of its own, and a file in ``conf/objective``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch


class Objective:
    """A loss of the logits of real tokens, on short input as on the whole window."""

    #: Differently augmented views of each utterance in a batch.
    views: int = 1

    def __call__(self, logits: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """The loss of each token; every token of an optimizer step weighs the same.

        Args:
            logits: Of each view, shape ``(tokens, vocabulary)``; the tokens of all views are the same.
            targets: Token ids, shape ``(tokens,)``.

        Returns:
            Shape ``(tokens,)``.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """What it is, in a few words, for the log."""
        return type(self).__name__


def no_objective() -> None:
    """The model's own loss: cross entropy."""


@runtime_checkable
class Adapter(Protocol):
    """Changes a model after it is loaded, such as by low-rank weights beside frozen ones, and back at the end.

    Checkpoints hold the changed model. Both methods change the model in place and leave its class as it is.
    """

    def wrap(self, model: torch.nn.Module) -> None:
        """Change the model, and say by ``requires_grad`` what of it trains."""

    def merge(self, model: torch.nn.Module) -> None:
        """Make a model of the kind that was loaded, which computes the same."""


def no_adapter() -> None:
    """Every parameter of the model itself trains."""
