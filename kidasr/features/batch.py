"""Batches, and the order they are drawn in."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Sampler

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.curriculum import Curriculum
from kidasr.corpus.manifest import Utterance
from kidasr.features.audio import duration_sec
from kidasr.features.dataset import Example
from kidasr.seeding import generator_for

Order = np.ndarray[tuple[int], np.dtype[np.int64]]

#: Label that the loss passes over (PyTorch's cross entropy).
IGNORED_LABEL = -100


#: Utterances of similar length are looked for among so many batches; more would be more alike, and less random.
POOL_BATCHES = 32


def similar_lengths_together(
    order: Order, durations_sec: np.ndarray, ranks: Order, batch_size: int, rng: np.random.Generator
) -> Order:
    """An epoch's order in which the utterances of a batch are of similar length, and the batches in random order.

    Within a pool of batches of the given order, utterances are sorted by length, cut into batches, and those shuffled
    (as in transformers' ``get_length_grouped_indices``, which does not shuffle them). A curriculum's buckets stay in order.

    Args:
        order: Indices of the utterances, as they would be seen.
        durations_sec, ranks: Of each utterance: its length, and the place of its bucket.
        batch_size: Utterances in a batch.
        rng: Shuffles the batches.
    """
    grouped: list[np.ndarray] = []
    for start in range(0, len(order), POOL_BATCHES * batch_size):
        pool = order[start : start + POOL_BATCHES * batch_size]
        pool = pool[np.lexsort((durations_sec[pool], ranks[pool]))]
        batches = [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
        rest = [batches.pop()] if len(batches[-1]) < batch_size else []
        drawn = rng.random(len(batches))
        places = sorted(range(len(batches)), key=lambda place: (ranks[batches[place]].sum(), drawn[place]))
        grouped += [batches[place] for place in places] + rest
    return np.concatenate(grouped) if grouped else order


class EpochSampler(Sampler[tuple[int, int]]):
    """Draws ``(epoch, place)`` in the curriculum's order of the epoch.

    Args:
        utterances: The training set.
        curriculum: Gives the order.
        buckets: The run's age buckets.
        seed: The run's seed.
        current_epoch: Tells the epoch that is about to start. The trainer's own state knows it also in the epoch in which
            a run was resumed, which a call of ``set_epoch`` may not reach.
        similar_lengths: Utterances in a batch, if those of similar length are to be seen together; else None.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        curriculum: Curriculum,
        buckets: AgeBuckets,
        seed: int,
        current_epoch: Callable[[], int],
        similar_lengths: int | None = None,
    ):
        self.utterances = utterances
        self.curriculum = curriculum
        self.buckets = buckets
        self.seed = seed
        self.current_epoch = current_epoch
        self.similar_lengths = similar_lengths

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.current_epoch()
        order = self.curriculum.epoch_order(self.utterances, self.buckets, self.seed, epoch)
        if self.similar_lengths is not None:
            ranks = self.curriculum.ranks(self.utterances, self.buckets)
            rng = generator_for("batches", self.seed, epoch)
            order = similar_lengths_together(order, self._durations_sec, ranks, self.similar_lengths, rng)
        return ((epoch, place) for place in order.tolist())

    @cached_property
    def _durations_sec(self) -> np.ndarray:
        return np.array([duration_sec(utterance) for utterance in self.utterances])


class Collator:
    """Puts examples into a batch: features and labels padded on the right to the longest.

    The model puts the start token before the labels itself (``shift_tokens_right``), so it is taken off here.

    Args:
        start_token_id: The model's ``decoder_start_token_id``.
        mask: Whether the model is told which frames are real, where they are not all.
    """

    def __init__(self, start_token_id: int, mask: bool = False):
        self.start_token_id = start_token_id
        self.mask = mask

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """A batch as the model takes it.

        Returns:
            ``input_features``, shape ``(batch, mel_bins, frames)``; ``labels``, ``(batch, tokens)``; and, if some utterances
            are shorter than others and ``mask`` is on, ``frame_mask``, ``(batch, frames / 2)``, bool.
        """
        features = [example["input_features"] for example in examples]
        frames = torch.tensor([one.shape[1] for one in features])
        longest = int(frames.max())
        labels = [
            torch.tensor(example["labels"][1:] if example["labels"][0] == self.start_token_id else example["labels"])
            for example in examples
        ]
        batch = {
            "input_features": torch.stack([functional.pad(one, (0, longest - one.shape[1])) for one in features]),
            "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL),
        }
        if self.mask and int(frames.min()) < longest:
            batch["frame_mask"] = torch.arange(longest // 2) < frames[:, None] // 2
        return batch
