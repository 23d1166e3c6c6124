"""The interface of an engine that transcribes.

To add an engine, write a subclass of :class:`Backend` in a module of your own, and a file in ``conf/backend``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

    from kidasr.corpus.manifest import Utterance
    from kidasr.features.padding import Padding
    from kidasr.features.recogniser import Recogniser
    from kidasr.model.fallback import Fallback


@dataclass(frozen=True)
class Decoding:
    """How to decode: of the ``trainer`` group."""

    #: ``"cpu"`` or ``"cuda"``.
    device: str
    #: Utterances per batch.
    batch_size: int
    #: 1 for greedy decoding.
    num_beams: int
    #: Maximum number of tokens per second of the utterance's own recording: a bound for a model that repeats itself.
    max_tokens_per_sec: float
    #: Maximum length of a transcript in tokens; None for the model's own limit.
    max_tokens: int | None = None
    #: Half-precision type of an engine that computes with torch; None for full precision.
    half: torch.dtype | None = None
    #: Compute threads; None for one per core.
    num_threads: int | None = None
    #: Worker processes that load audio.
    num_workers: int = 0
    #: Decodes again what looks wrong; None for transcripts as they are.
    fallback: Fallback | None = None


class Transcribes(Protocol):
    """Transcribes utterances of up to a window's length."""

    #: Maximum length of an utterance.
    window_sec: float

    def __call__(self, utterances: Sequence[Utterance]) -> list[str]:
        """One transcript per utterance, in the same order. Sorted by length is fastest."""


class Backend(ABC):
    """An engine. The parameters of a subclass are the keys of the ``backend`` group."""

    #: Whether it computes with torch, in the precision of the ``trainer`` group.
    is_torch: ClassVar[bool] = False

    def check(self, device: str) -> None:  # noqa: B027, torch needs nothing
        """Check, before the model is loaded, that this machine has what the engine needs.

        Args:
            device: ``"cpu"`` or ``"cuda"``.

        Raises:
            KidasrError: If a package is not installed, or the device can't do it.
        """

    @abstractmethod
    def prepare(self, recogniser: Recogniser, padding: Padding, decoding: Decoding) -> Transcribes:
        """Make ready to transcribe.

        Args:
            recogniser: The model, which belongs to the engine from now on.
            padding: Length of the model's input.
            decoding: How to decode.

        Raises:
            KidasrError: If the engine can't decode with this model.
        """
