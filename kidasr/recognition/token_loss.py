"""The loss of each utterance of a set, in batches, with one process or several."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

from kidasr.batching.collator import Collator
from kidasr.batching.training_set import Values
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.recogniser import IGNORED_LABEL, Batch, Recogniser


def token_losses(
    dataset: ChildSpeechDataset,
    recogniser: Recogniser,
    batch_size: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    num_workers: int = 0,
    worker_init: Callable[[int], None] | None = None,
    processes: int = 1,
    process: int = 0,
    stop: Callable[[], None] = lambda: None,
    show_progress: bool = False,
) -> Values:
    """The cross entropy of each transcript given its recording, in nats per token, shape ``(utterances,)``.

    The batches do not depend on the number of processes, so neither do the losses.

    Args:
        dataset: The set; batches are filled in its order. Sorted by length is fastest.
        recogniser: Its model is used as it is, on ``device``. One that gives no logits of tokens gets batches of one.
        batch_size: Utterances per batch.
        device: The device to compute on.
        autocast: Half-precision type; None for full precision.
        num_workers, worker_init: Worker processes that load audio.
        processes, process: The number of processes that share the work, and this one's index.
        stop: Called before each batch, equally often in all processes; raises an exception to stop the work.
        show_progress: Whether to show a progress bar.
    """
    size = batch_size if recogniser.gives_token_logits else 1
    batches = [range(start, min(start + size, len(dataset))) for start in range(0, len(dataset), size)]
    own = batches[process::processes]
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=own,  # type: ignore[arg-type]
        collate_fn=Collator(recogniser, dataset.padding),
        num_workers=num_workers,
        worker_init_fn=worker_init,
    )
    model = recogniser.model.to(device)
    was_training = model.training
    model.eval()
    found: list[tuple[int, float]] = []
    loaded = iter(loader)
    precision = torch.autocast(device.type, autocast) if autocast else contextlib.nullcontext()
    rounds = range(math.ceil(len(batches) / processes))
    try:
        for number in tqdm(rounds, desc="loss of the training set", unit="batch", leave=False, disable=not show_progress):
            stop()
            if number < len(own):
                batch = {name: tensor.to(device) for name, tensor in next(loaded).items()}
                with torch.no_grad(), precision:
                    found += zip(own[number], _losses(recogniser, batch), strict=True)
    finally:
        model.train(was_training)
    if processes > 1:
        found = gather_object(found)
    return np.array([loss for _, loss in sorted(found)], dtype=np.float64)


def _losses(recogniser: Recogniser, batch: Batch) -> Sequence[float]:
    if not recogniser.gives_token_logits:
        return [float(recogniser.model(**batch)["loss"])]
    is_token = batch["labels"] != IGNORED_LABEL
    logits = recogniser.model(**batch, token_logits=True).logits.float()
    each = torch.zeros(is_token.shape, device=logits.device)
    each[is_token] = functional.cross_entropy(logits, batch["labels"][is_token], reduction="none")
    losses: list[float] = (each.sum(1) / is_token.sum(1)).tolist()
    return losses
