"""Batches, and the order they are drawn in."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from transformers.trainer_pt_utils import BatchRebalanceSampler

from kidasr.batching.curriculum import Curriculum
from kidasr.batching.training_set import Indices, TrainingSet
from kidasr.errors import KidasrError
from kidasr.features.padding import Padding
from kidasr.seeding import generator_for

#: Utterances of similar length are looked for among so many batches; more would be more alike, and less random.
POOL_BATCHES = 32


def similar_lengths_together(
    order: Indices, ranks: Indices, durations_sec: np.ndarray, largest: Indices, rng: np.random.Generator
) -> list[Indices]:
    """The batches of an epoch: utterances of similar length together, the batches of a rank in random order.

    Utterances are grouped by rank and by the largest batch that they may be in, which depends on their length, not on the
    epoch: so every epoch has as many batches. A group is cut into batches from pools of :data:`POOL_BATCHES`, each sorted
    by length (as in transformers' ``get_length_grouped_indices``). What is left over goes to the next group, if that group's
    batches are not larger; else it is a smaller batch.

    Args:
        order: Indices of the utterances, as they would be seen.
        ranks: The place of each utterance's bucket in a curriculum; ranks stay in order.
        durations_sec: The length of each utterance.
        largest: The number of utterances in the largest batch that each may be in.
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
    """Draws batches of ``(epoch, place)`` in the curriculum's order of the epoch: a pure function of (seed, epoch).

    The batches are the same for any number of processes, of which each draws its share. The class above it is that of
    transformers' own sampler of such shares: what it yields reaches the process as it is, while accelerate would deal out
    the batches of any other.

    Args:
        training_set: What is drawn.
        curriculum: Gives the order.
        seed: The run's seed.
        padding: How long the model's input is, and whether utterances of similar length are batched.
        window_sec: The model's window.
        batch_size: Utterances in a batch.
        max_batch_sec: Seconds of input in a batch, the padding to its longest utterance counted; None for any. An utterance
            longer than this is a batch of its own.
        max_length_factor: How many times longer augmentation may make an utterance, which ``max_batch_sec`` allows for.
        processes, process: How many there are, and which of them this is.
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
    ):
        self.training_set = training_set
        self.utterances = training_set.utterances
        self.curriculum, self.seed = curriculum, seed
        self.padding, self.window_sec = padding, window_sec
        self.batch_size, self.max_batch_sec, self.max_length_factor = batch_size, max_batch_sec, max_length_factor
        self.processes, self.process = processes, process
        #: Tells the epoch that is about to start. The trainer sets it: its own state knows the epoch also where a run was
        #: resumed, which a call of ``set_epoch`` may not reach.
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
                f"trainer.max_batch_sec={self.max_batch_sec}: epoch {epoch} of this curriculum has {len(batches)} batches "
                f"and the first had {len(self)}; expected: null, with a curriculum that leaves utterances out"
            )
        for batch in batches:
            yield [(epoch, place) for place in self._share(batch)]

    def _share(self, batch: Indices) -> list[int]:
        """This process's part of a batch."""
        # Where there are fewer utterances than processes, some are drawn twice, as in PyTorch's DistributedSampler.
        filled = np.resize(batch, max(len(batch), self.processes))
        return filled[self.process :: self.processes].tolist()

    def utterance_ids(self, epoch: int, number: int) -> list[str]:
        """The utterances in one of an epoch's batches, this process's share."""
        return [self.utterances[place].utterance_id for place in self._share(self.batches(epoch)[number])]

    def batches(self, epoch: int) -> list[Indices]:
        """The batches of an epoch: indices into the utterances."""
        order = self.curriculum.order(self.training_set, self.seed, epoch)
        if not self.padding.group_by_length:
            size = int(self._largest.min())
            return [order[start : start + size] for start in range(0, len(order), size)]
        ranks = self.curriculum.ranks(self.training_set, epoch)
        rng = generator_for("batches", self.seed, epoch)
        return similar_lengths_together(order, ranks, self.training_set.durations_sec, self._largest, rng)

    @cached_property
    def _largest(self) -> Indices:
        """Utterances in the largest batch that each may be in."""
        largest = np.full(len(self.utterances), self.batch_size, dtype=np.int64)
        if self.max_batch_sec is not None:
            input_sec = np.full(len(self.utterances), self.window_sec)
            if self.padding.is_short:
                longest_sec = self.max_length_factor * self.training_set.durations_sec
                input_sec = np.minimum(longest_sec + self.padding.trailing_silence_sec, self.window_sec)
            largest = np.clip(self.max_batch_sec // input_sec, 1, largest).astype(np.int64)
        return largest
