"""Batches, and the order in which they are drawn."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from transformers.trainer_pt_utils import BatchRebalanceSampler

from kidasr.batching.curriculum import Curriculum
from kidasr.batching.training_set import Indices, TrainingSet
from kidasr.errors import KidasrError
from kidasr.features.joining import Joining
from kidasr.features.padding import Padding
from kidasr.seeding import generator_for

#: Number of batches in a pool that is sorted by length. A larger pool gives more similar lengths, but less randomness.
POOL_BATCHES = 32


def similar_lengths_together(
    order: Indices, ranks: Indices, durations_sec: np.ndarray, largest: Indices, rng: np.random.Generator
) -> list[Indices]:
    """The batches of an epoch: utterances of similar length together, and the batches of a rank in random order.

    Utterances are grouped by rank and by maximum batch size. The latter depends on their length but not on the epoch, so
    every epoch has the same number of batches. A group is cut into batches from pools of :data:`POOL_BATCHES` batches, each
    sorted by length (as in transformers' ``get_length_grouped_indices``). The rest of a group goes to the next group, unless
    that group's batches are larger; in that case it becomes a smaller batch.

    Args:
        order: Indices of the utterances, in the order without grouping.
        ranks: The place of each utterance's bucket in a curriculum; the order of ranks is kept.
        durations_sec: The length of each utterance.
        largest: The maximum batch size of each utterance.
        rng: Shuffles the batches.
    """
    members = order[np.lexsort((-largest[order], ranks[order]))]
    changes = np.diff(ranks[members], prepend=-1).astype(bool) | np.diff(largest[members], prepend=-1).astype(bool)
    batches: list[Indices] = []
    rest, size = members[:0], 0
    for group in np.split(members, np.flatnonzero(changes)[1:]):
        before, size = size, int(largest[group[0]])
        if size > before and len(rest):
            batches.append(rest)
            rest = rest[:0]
        group = np.concatenate([rest, group])
        whole = len(group) // size * size
        group, rest = group[:whole], group[whole:]
        for start in range(0, whole, POOL_BATCHES * size):
            pool = group[start : start + POOL_BATCHES * size]
            batches += list(pool[np.lexsort((durations_sec[pool], ranks[pool]))].reshape(-1, size))
    if len(rest):
        batches.append(rest)
    mean_ranks = np.array([ranks[batch].mean() for batch in batches])
    return [batches[place] for place in np.lexsort((rng.random(len(batches)), mean_ranks))]


class EpochBatches(BatchRebalanceSampler):
    """Draws batches of ``(epoch, place)`` in the curriculum's order: a pure function of (seed, epoch).

    The batches do not depend on the number of processes; each process draws its share of every batch. Subclasses
    BatchRebalanceSampler so that accelerate does not re-shard: it would distribute the batches of any other sampler.

    Args:
        training_set: The utterances to draw.
        curriculum: Determines the order.
        seed: The run's seed.
        padding: Length of the model's input, and whether to batch utterances of similar length.
        window_sec: The model's window.
        batch_size: Utterances per batch.
        max_batch_sec: Maximum seconds of input per batch, including padding; None for no limit. A longer utterance gets a
            batch of its own.
        max_length_factor: Maximum factor by which augmentation lengthens an utterance; ``max_batch_sec`` allows for it.
        processes, process: The number of processes, and this one's index.
        joining: Which utterances are joined in an epoch, and how long they are then; None if none are.
        views: Number of views of each utterance in its batch; ``max_batch_sec`` is for all of them.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        curriculum: Curriculum,
        seed: int,
        padding: Padding,
        window_sec: float,
        batch_size: int,
        max_batch_sec: float | None = None,
        max_length_factor: float = 1.0,
        processes: int = 1,
        process: int = 0,
        joining: Joining | None = None,
        views: int = 1,
    ):
        self.joining, self.views = joining, views
        self.training_set = training_set
        self.utterances = training_set.utterances
        self.curriculum, self.seed = curriculum, seed
        self.padding, self.window_sec = padding, window_sec
        self.batch_size, self.max_batch_sec, self.max_length_factor = batch_size, max_batch_sec, max_length_factor
        self.processes, self.process = processes, process
        #: Returns the epoch that is about to start. Set by the trainer, whose state knows it in a resumed run too;
        #: ``set_epoch`` may not be called then.
        self.current_epoch: Callable[[], int] = lambda: 0

    @cached_property
    def _count(self) -> int:
        return len(self.batches(0))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.current_epoch()
        batches = self.batches(epoch)
        if len(batches) != len(self):
            raise KidasrError(
                f"trainer.max_batch_sec={self.max_batch_sec}: with this curriculum, epoch {epoch} has {len(batches)} "
                f"batches and the first had {len(self)}; expected: null, for a curriculum that leaves out utterances"
            )
        for batch in batches:
            yield [(epoch, place) for place in self._share(batch)]

    def _share(self, batch: Indices) -> list[int]:
        """This process's part of a batch."""
        # With fewer utterances than processes, some are drawn twice, as in PyTorch's DistributedSampler.
        filled = np.resize(batch, max(len(batch), self.processes))
        return filled[self.process :: self.processes].tolist()

    def utterance_ids(self, epoch: int, number: int) -> list[str]:
        """Ids of the utterances in this process's share of a batch."""
        return [self.utterances[place].utterance_id for place in self._share(self.batches(epoch)[number])]

    def lengths_sec(self, epoch: int) -> np.ndarray:
        """Seconds of each utterance in an epoch, with those that are joined to it, before other augmentations."""
        return self.joining.planned_sec(epoch) if self.joining else self.training_set.durations_sec

    def batches(self, epoch: int) -> list[Indices]:
        """The batches of an epoch, as indices of utterances."""
        order = self.curriculum.order(self.training_set, self.seed, epoch)
        if not self.padding.group_by_length:
            size = int(self._largest.min())
            return [order[start : start + size] for start in range(0, len(order), size)]
        ranks = self.curriculum.ranks(self.training_set, epoch)
        rng = generator_for("batches", self.seed, epoch)
        return similar_lengths_together(order, ranks, self.lengths_sec(epoch), self._largest, rng)

    @cached_property
    def _largest(self) -> Indices:
        """The maximum batch size of each utterance."""
        largest = np.full(len(self.utterances), self.batch_size, dtype=np.int64)
        if self.max_batch_sec is not None:
            input_sec = np.full(len(self.utterances), self.window_sec)
            if self.padding.is_short:
                longest_sec = self.joining.longest_sec if self.joining else self.training_set.durations_sec
                longest_sec = self.max_length_factor * longest_sec
                input_sec = np.minimum(longest_sec + self.padding.trailing_silence_sec, self.window_sec)
            largest = np.clip(self.max_batch_sec // (self.views * input_sec), 1, largest).astype(np.int64)
        return largest
