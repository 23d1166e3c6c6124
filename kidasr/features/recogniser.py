"""What kidasr needs of a speech recogniser; Whisper is one (:mod:`kidasr.model.whisper`).

A user's own is a subclass of :class:`Recogniser` in a module of its own, and a file in ``conf/model`` whose ``_target_`` has
a method ``load()`` that returns it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples
from kidasr.features.padding import Padding

if TYPE_CHECKING:
    import torch

#: Label that the loss passes over (PyTorch's cross entropy).
IGNORED_LABEL = -100

Batch = dict[str, Any]


@dataclass(frozen=True)
class Component:
    """A part of the model; a parameter belongs to one component only."""

    name: str
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Scoring:
    """How transcripts are compared with references."""

    #: Of references and transcripts alike, before errors are counted.
    normalize: Callable[[str], str]
    #: What the rate of errors is called: ``"CER"`` where each character counts as a word.
    rate: Literal["WER", "CER"]


class Recogniser(ABC):
    """A model with what goes before and after it.

    ``model`` is a :class:`torch.nn.Module` whose ``forward`` takes a batch and returns a mapping with its ``loss``, the mean
    over the real tokens of ``labels``. Freezing asks it for ``get_encoder()``.
    """

    model: Any
    #: Length of audio that the model takes.
    window_sec: float
    #: Longest sequence of labels.
    max_tokens: int
    #: Height of the features.
    mel_bins: int

    @property
    def max_samples(self) -> int:
        """Samples in the window."""
        return round(self.window_sec * SAMPLE_RATE_HZ)

    @abstractmethod
    def features(self, samples: Samples, padding: Padding) -> tuple[torch.Tensor, int]:
        """Features of one utterance, shape ``(mel_bins, frames)``, and how many frames the recording fills."""

    @abstractmethod
    def labels(self, text: str) -> list[int]:
        """Token ids of a text to train on, with whatever stands before and after it."""

    @abstractmethod
    def collate(self, features: Sequence[torch.Tensor], labels: Sequence[list[int]], padding: Padding) -> Batch:
        """A batch as ``model`` takes it; ``labels``, shape ``(batch, tokens)``, are padded with :data:`IGNORED_LABEL`."""

    @abstractmethod
    def transcribe(self, batch: Batch, max_tokens: Sequence[int], num_beams: int) -> list[str]:
        """The transcripts of a batch.

        Args:
            batch: As :meth:`collate` makes it, on the model's device; its labels must not be looked at.
            max_tokens: The most tokens that the transcript of each utterance may have, whatever the others of its batch are.
            num_beams: 1 for greedy decoding.
        """

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How transcripts are normalized and scored."""

    @abstractmethod
    def save(self, folder: Path, num_beams: int) -> None:
        """Write the model as others can load it, and, where it can say so, with how many beams it was scored."""

    def control_tokens(self) -> Sequence[str]:
        """Texts that the tokenizer takes for something else than text, which none may hold."""
        return ()

    def components(self) -> list[Component]:
        """The parts of the model, and which of their parameters train."""
        return list(_by_first_name(self.model))


def _by_first_name(model: torch.nn.Module) -> Iterator[Component]:
    totals: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        total = totals.setdefault(name.partition(".")[0], [0, 0])
        total[0] += parameter.numel()
        total[1] += parameter.numel() * parameter.requires_grad
    for name, (parameters, trainable) in totals.items():
        yield Component(name, parameters, trainable)
