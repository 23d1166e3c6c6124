"""The interface of a speech recogniser; Whisper's implementation is in :mod:`kidasr.model.whisper`.

To add a recogniser, write a subclass of :class:`Recogniser` in a module of your own, and a file in ``conf/model``. Its
``_target_`` has a method ``load()`` that returns the recogniser.
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

#: Label that the loss ignores, as in PyTorch's cross entropy.
IGNORED_LABEL = -100

Batch = dict[str, Any]


@dataclass(frozen=True)
class Component:
    """A part of the model. Every parameter belongs to exactly one component."""

    name: str
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Scoring:
    """How transcripts are compared with references."""

    #: Normalizes references and transcripts before errors are counted.
    normalize: Callable[[str], str]
    #: Name of the error rate: ``"CER"`` if each character counts as a word.
    rate: Literal["WER", "CER"]


@dataclass(frozen=True)
class Fallback:
    """When a transcript is decoded again at a higher temperature: Whisper's temperature fallback."""

    #: Tried in this order; the first is 0.
    temperatures: Sequence[float]
    #: A transcript that compresses better than this repeats itself; None: not asked.
    compression_ratio_threshold: float | None
    #: The model is unsure of a transcript whose tokens have a lower mean log-probability; None: not asked.
    logprob_threshold: float | None
    #: If it is unsure and the probability of no speech is higher than this, the transcript is empty; None: not asked.
    no_speech_threshold: float | None
    #: What is drawn depends on this and the utterance.
    seed: int


class Recogniser(ABC):
    """A model with its pre- and postprocessing.

    ``model`` is a :class:`torch.nn.Module`. Its ``forward`` takes a batch and returns a mapping with the ``loss``, the mean
    over the real tokens of ``labels``. Freezing calls its ``get_encoder()``.
    """

    model: Any
    #: Maximum length of the audio.
    window_sec: float
    #: Maximum number of labels.
    max_tokens: int
    #: Number of mel bins in the features.
    mel_bins: int
    #: Code of the language that it writes, such as ``"en"``; None if it is not known.
    language: str | None = None
    #: Identifies the settings of :meth:`features`; with it, the runs of a process share the features of a set.
    features_made_by: str | None = None
    #: Whether batches have ``keys``, shape ``(batch,)``, which identify inputs that are the same in every epoch.
    takes_keys: bool = False
    #: Whether ``forward`` takes ``token_logits=True``, and then returns the ``logits`` of real tokens in the order of
    #: ``labels != -100``, shape ``(tokens, vocabulary)``, and ``encoder_last_hidden_state``. Objectives need them.
    gives_token_logits: bool = False
    #: Whether it has :meth:`transcribe_with_fallback`.
    has_fallback: bool = False
    #: With keys: bytes of the encoder's output for a second of audio, in float32.
    encoding_bytes_per_sec: int = 0

    @property
    def max_samples(self) -> int:
        """Number of samples in the window."""
        return round(self.window_sec * SAMPLE_RATE_HZ)

    @abstractmethod
    def features(self, samples: Samples, padding: Padding) -> tuple[torch.Tensor, int]:
        """Features of one utterance, shape ``(mel_bins, frames)``, and the number of frames covered by the recording."""

    @abstractmethod
    def labels(self, text: str) -> list[int]:
        """Token ids of a training text, including the tokens before and after it."""

    @abstractmethod
    def collate(self, features: Sequence[torch.Tensor], labels: Sequence[list[int]], padding: Padding) -> Batch:
        """The model's input. ``labels``, shape ``(batch, tokens)``, are padded with :data:`IGNORED_LABEL`."""

    def on_full_window(self, batch: Batch) -> Batch:
        """A batch of short input with silence after each recording, up to the model's window; others stay as they are."""
        return batch

    @abstractmethod
    def transcribe(self, batch: Batch, max_tokens: Sequence[int], num_beams: int) -> list[str]:
        """The transcripts of a batch.

        Args:
            batch: A batch from :meth:`collate`, on the model's device. Its labels must not be used.
            max_tokens: Maximum number of tokens in each transcript, independent of the other utterances in the batch.
            num_beams: 1 for greedy decoding.
        """

    def transcribe_with_fallback(
        self, batch: Batch, max_tokens: Sequence[int], num_beams: int, fallback: Fallback, utterances: Sequence[str]
    ) -> list[str]:
        """The transcripts of a batch, those that look wrong decoded again.

        Args:
            batch, max_tokens, num_beams: See :meth:`transcribe`.
            fallback: When, and how.
            utterances: Identify the utterances, for what is drawn.

        Raises:
            NotImplementedError: If it has none (``has_fallback``), which is refused before anything is transcribed.
        """
        raise NotImplementedError

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How transcripts are normalized and scored."""

    @abstractmethod
    def save(self, folder: Path, num_beams: int) -> None:
        """Save the model in a format that others can load, with the beam size it was scored with if the format allows."""

    def control_tokens(self) -> Sequence[str]:
        """Strings that the tokenizer encodes as control tokens; no text may contain them."""
        return ()

    def components(self) -> list[Component]:
        """The parts of the model, with their numbers of parameters and of trainable parameters."""
        return list(_by_first_name(self.model))


def _by_first_name(model: torch.nn.Module) -> Iterator[Component]:
    totals: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        total = totals.setdefault(name.partition(".")[0], [0, 0])
        total[0] += parameter.numel()
        total[1] += parameter.numel() * parameter.requires_grad
    for name, (parameters, trainable) in totals.items():
        yield Component(name, parameters, trainable)
