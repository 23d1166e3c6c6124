"""Transcribe a set of utterances in batches, with one process or several."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from tqdm import tqdm

from kidasr.batching.collator import Collator
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.dataset import ChildSpeechDataset, Example
from kidasr.features.recogniser import Batch, Fallback, Recogniser
from kidasr.freed_memory import return_freed_memory
from kidasr.model.fallback import fallback_of


@dataclass(frozen=True)
class Transcription:
    """The transcripts of a set."""

    #: One per utterance, in the order of the set.
    texts: list[str]
    #: Mean of the batch losses, weighted by utterances; None if it was not computed.
    loss: float | None


@dataclass
class Transcriber:
    """Transcribes sets of utterances with a model.

    A transcript does not depend on its batch, nor on the number of processes.
    """

    recogniser: Recogniser
    #: Utterances per batch, in each process.
    batch_size: int
    #: 1 for greedy decoding.
    num_beams: int
    #: Maximum number of tokens per second of the utterance's own recording: a bound for a model that repeats itself.
    max_tokens_per_sec: float
    #: Maximum length of a transcript in tokens; None for the model's own limit.
    max_tokens: int | None = None
    device: torch.device | str = "cpu"
    #: Half-precision type; None for full precision.
    autocast: torch.dtype | None = None
    #: Worker processes that load audio, for each process.
    num_workers: int = 0
    worker_init: Callable[[int], None] | None = None
    #: The number of processes that share the work, and this one's index.
    processes: int = 1
    process: int = 0
    #: Called before each batch, equally often in all processes; raises an exception to stop the work.
    stop: Callable[[], None] = lambda: None
    show_progress: bool = False
    #: Decodes again what looks wrong; None for transcripts as they are.
    fallback: Fallback | None = None

    @classmethod
    def configured(cls, recogniser: Recogniser, trainer: Mapping[str, Any], seed: int = 0, **others: Any) -> "Transcriber":
        """A transcriber with the batch size, decoding and workers of the ``trainer`` group.

        Args:
            recogniser: The recogniser.
            trainer: The keys of the group.
            seed: What temperature fallback draws depends on this and the utterance.
            others: Other arguments, such as the device.

        Raises:
            KidasrError: If temperature fallback is on and the recogniser has none.
        """
        fallback = fallback_of(trainer, seed)
        if fallback is not None and not recogniser.has_fallback:
            name = type(recogniser.model).__name__
            raise KidasrError(f"trainer.generation_temperatures: a {name} has no temperature fallback; expected: [0.0]")
        return cls(
            recogniser,
            trainer["per_device_eval_batch_size"],
            trainer["generation_num_beams"],
            trainer["generation_max_tokens_per_sec"],
            trainer["generation_max_length"],
            num_workers=trainer["dataloader_num_workers"] or 0,
            fallback=fallback,
            **others,
        )

    def __post_init__(self) -> None:
        self._kept: tuple[ChildSpeechDataset, DataLoader[Any]] | None = None

    def __call__(self, dataset: ChildSpeechDataset, with_loss: bool = False, keep_workers: bool = False) -> Transcription:
        """Transcribe a set.

        Args:
            dataset: The set; batches are filled in its order. Sorted by length is fastest.
            with_loss: Whether to compute the loss as well.
            keep_workers: Whether to keep the worker processes for the next call with the same set.
        """
        batches = [
            range(start, min(start + self.batch_size, len(dataset))) for start in range(0, len(dataset), self.batch_size)
        ]
        own = batches[self.process :: self.processes]
        loader = iter(self._loader(dataset, own, keep_workers))
        device = torch.device(self.device).type
        found: list[tuple[int, str]] = []
        losses: list[tuple[float, int]] = []
        rounds = math.ceil(len(batches) / self.processes)
        was_training = self.recogniser.model.training
        self.recogniser.model.eval()
        stack = contextlib.ExitStack()
        try:
            # One for all batches: it casts each weight once.
            stack.enter_context(self._precision(device))
            for number in tqdm(
                range(rounds), desc="transcribing", unit="batch", leave=False, disable=not self.show_progress
            ):
                self.stop()
                if number >= len(own):
                    continue
                with torch.autocast(device, enabled=False):  # features are always in full precision
                    batch, durations_sec = next(loader)
                names = [_name(dataset.utterances[place]) for place in own[number]] if self.fallback else []
                texts, loss = self._transcribe(batch, durations_sec, with_loss, names)
                found += zip(own[number], texts, strict=True)
                losses.append((loss, len(texts)))
        finally:
            stack.close()
            return_freed_memory()  # a training step needs it in other pieces
            self.recogniser.model.train(was_training)
        if self.processes > 1:
            found, losses = gather_object(found), gather_object(losses)
        mean = sum(loss * number for loss, number in losses) / max(1, len(dataset))
        return Transcription([text for _, text in sorted(found)], mean if with_loss else None)

    def _transcribe(
        self, batch: Batch, durations_sec: Sequence[float], with_loss: bool, names: Sequence[str]
    ) -> tuple[list[str], float]:
        device = torch.device(self.device)
        batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        bounds = [self._bound(duration_sec) for duration_sec in durations_sec]
        with torch.no_grad():
            if self.fallback is None:
                texts = self.recogniser.transcribe(batch, bounds, self.num_beams)
            else:
                texts = self.recogniser.transcribe_with_fallback(batch, bounds, self.num_beams, self.fallback, names)
            loss = self.recogniser.model(**batch)["loss"].float().item() if with_loss else 0.0
        return texts, loss

    def _precision(self, device: str) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(device, self.autocast) if self.autocast else contextlib.nullcontext()

    def _bound(self, duration_sec: float) -> int:
        bound = max(1, math.ceil(duration_sec * self.max_tokens_per_sec))
        return bound if self.max_tokens is None else min(bound, self.max_tokens)

    def _loader(self, dataset: ChildSpeechDataset, batches: Sequence[range], keep_workers: bool) -> DataLoader[Any]:
        if self._kept is not None and self._kept[0] is dataset:
            return self._kept[1]
        collate = Collator(self.recogniser, dataset.padding)

        def with_durations(examples: Sequence[Example]) -> tuple[Batch, list[float]]:
            return collate(examples), [one["duration_sec"] for one in examples]

        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=with_durations,
            num_workers=self.num_workers,
            worker_init_fn=self.worker_init,
            pin_memory=torch.device(self.device).type == "cuda",
            persistent_workers=keep_workers and self.num_workers > 0,
        )
        if keep_workers:
            self._kept = (dataset, loader)
        return loader


def shortest_first(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Sort utterances for transcription: a batch takes as long as its longest utterance and its longest transcript."""
    return sorted(utterances, key=lambda utterance: utterance.known_duration_sec)


def _name(utterance: Utterance) -> str:
    """Identifies an utterance, or a piece of one."""
    return f"{utterance.utterance_id} {utterance.start_sec}"
