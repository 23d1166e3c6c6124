"""Batches, and the order they are drawn in."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
from transformers.trainer_pt_utils import BatchRebalanceSampler

from kidasr.batching.curriculum import Curriculum
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio import duration_sec
from kidasr.corpus.manifest import Utterance
from kidasr.features.log_mel import Padding
from kidasr.seeding import generator_for

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]

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
        utterances: The training set.
        curriculum: Gives the order.
        buckets: The run's age buckets.
        seed: The run's seed.
        padding: How long the model's input is, and whether utterances of similar length are batched.
        window_sec: The model's window.
        batch_size: Utterances in a batch.
        max_batch_sec: Seconds of input in a batch, the padding to its longest utterance counted; None for any. An utterance
            longer than this is a batch of its own.
        processes, process: How many there are, and which of them this is.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        curriculum: Curriculum,
        buckets: AgeBuckets,
        seed: int,
        padding: Padding,
        window_sec: float,
        batch_size: int,
        max_batch_sec: float | None = None,
        processes: int = 1,
        process: int = 0,
    ):
        self.utterances = utterances
        self.curriculum, self.buckets, self.seed = curriculum, buckets, seed
        self.padding, self.window_sec = padding, window_sec
        self.batch_size, self.max_batch_sec = batch_size, max_batch_sec
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
        for batch in self.batches(epoch):
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
        order = self.curriculum.epoch_order(self.utterances, self.buckets, self.seed, epoch)
        if not self.padding.group_by_length:
            size = int(self._largest.min())
            return [order[start : start + size] for start in range(0, len(order), size)]
        ranks = self.curriculum.ranks(self.utterances, self.buckets)
        rng = generator_for("batches", self.seed, epoch)
        return similar_lengths_together(order, ranks, self._durations_sec, self._largest, rng)

    @cached_property
    def _durations_sec(self) -> np.ndarray:
        return np.array([duration_sec(utterance) for utterance in self.utterances])

    @cached_property
    def _largest(self) -> Indices:
        """Utterances in the largest batch that each may be in."""
        largest = np.full(len(self.utterances), self.batch_size, dtype=np.int64)
        if self.max_batch_sec is not None:
            input_sec = np.full(len(self.utterances), self.window_sec)
            if self.padding.is_short:
                input_sec = np.minimum(self._durations_sec + self.padding.trailing_silence_sec, self.window_sec)
            largest = np.clip(self.max_batch_sec // input_sec, 1, largest).astype(np.int64)
        return largest
