"""Training objectives other than the model's own loss, and adapters.

To add an objective, write a subclass of :class:`Objective` in a module of your own, and a file in ``conf/objective``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from kidasr.corpus.age import AgeBuckets
    from kidasr.corpus.manifest import Utterance
    from kidasr.features.augment import Augmentations


@dataclass(frozen=True)
class Step:
    """A batch in a training step, for objectives that need more than logits and targets."""

    #: One tensor per view, shape ``(tokens, vocabulary)``, and the token ids, shape ``(tokens,)``.
    logits: Sequence[torch.Tensor]
    targets: torch.Tensor
    #: The model's input, on its device; all first views come before all second ones.
    inputs: Mapping[str, Any]
    #: The model's outputs, with ``encoder_last_hidden_state``, shape ``(views * utterances, positions, width)``.
    outputs: Any
    #: Length of each input's recording, after augmentation; only with several views.
    durations_sec: Sequence[float] | None
    #: Share of the run's optimizer steps that are done, from 0 to less than 1; the same in a resumed run.
    progress: float
    #: The logits that another model gives for the same batch, by view, without a gradient and in the run's precision. With
    #: ``full_window=True``, short input is followed by silence up to the model's window, which it was pretrained on.
    logits_of: Callable[..., Sequence[torch.Tensor]]


class Objective:
    """A loss on the logits of real tokens. Works the same on short input and on the full window.

    The optional methods are for losses that need the pretrained model, the encoder's output, or a schedule. An objective has
    no state that training changes: what it computes depends on the pretrained model, the batch and the step alone, so that a
    resumed run is exact.
    """

    #: Number of differently augmented views of each utterance in a batch.
    views: int = 1

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterable[str]:
        """One line per key elsewhere in the config that does not go with this objective."""
        return ()

    def check(self, augment: Augmentations) -> None:
        """Check before training that it works with these augmentations.

        Raises:
            KidasrError: If it does not.
        """

    def begin(self, model: torch.nn.Module) -> None:
        """Called once before training, with the pretrained model, before an adapter modifies it; in a resumed run too."""

    def token_losses(self, step: Step) -> torch.Tensor:
        """As :meth:`__call__`, for objectives that need more than logits and targets."""
        return self(step.logits, step.targets)

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """A term of the loss that depends on the weights and not on the batch; None for none.

        It counts once in an optimizer step, into however many batches and processes the step is divided.
        """
        return None

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


@runtime_checkable
class AgeAdapter(SmallAdapter, Protocol):
    """An adapter whose model depends on the age group of each utterance: its batches have ``age_groups``."""

    #: What the scores depend on, in one line.
    scored_with: str

    def choose_groups(self, train: Sequence[Utterance], buckets: AgeBuckets) -> Mapping[str, int]:
        """The number of each age bucket that is a group. Called before :meth:`wrap`, in a resumed run too."""

    def save_groups(self, model: torch.nn.Module, folder: Path) -> None:
        """Write what :meth:`merge` does not keep to the folder of the saved model. Called before it."""


def no_adapter() -> None:
    """No adapter: the model's own parameters are trained."""
