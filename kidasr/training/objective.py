"""Training objectives other than the model's own loss, and adapters.

To add an objective, write a subclass of :class:`Objective` in a module of your own, and a file in ``conf/objective``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch


class Objective:
    """A loss on the logits of real tokens. Works the same on short input and on the full window."""

    #: Number of differently augmented views of each utterance in a batch.
    views: int = 1

    def __call__(self, logits: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """The loss of each token. All tokens of an optimizer step have the same weight.

        Args:
            logits: One tensor per view, shape ``(tokens, vocabulary)``; all views have the same tokens.
            targets: Token ids, shape ``(tokens,)``.

        Returns:
            Shape ``(tokens,)``.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """A short description for the log."""
        return type(self).__name__


def no_objective() -> None:
    """The model's own loss: cross entropy."""


@runtime_checkable
class Adapter(Protocol):
    """Modifies a model after loading, e.g. adds low-rank weights to frozen ones, and merges them back at the end.

    Checkpoints contain the modified model, or only a part of it: see :class:`SmallAdapter`. Both methods work in place and
    do not change the model's class.
    """

    def wrap(self, model: torch.nn.Module) -> None:
        """Modify the model, and set ``requires_grad`` on the parameters to train.

        torch's default generator is seeded for this call with the run's seed.
        """

    def merge(self, model: torch.nn.Module) -> None:
        """Restore the structure of the loaded model, keeping the function that the modified one computes."""


@runtime_checkable
class SmallAdapter(Adapter, Protocol):
    """An adapter whose checkpoints contain its own weights alone. The others must not change in training."""

    def own_weights(self, model: torch.nn.Module) -> Sequence[str]:
        """Names of the adapter's weights in the wrapped model's ``state_dict()``."""


def no_adapter() -> None:
    """No adapter: the model's own parameters are trained."""
