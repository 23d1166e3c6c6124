"""H5: the order of the training utterances, a pure function of (seed, epoch).

To add a curriculum, write a subclass of :class:`Curriculum` in a module of your own, and a file in ``conf/curriculum``.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from kidasr.batching.training_set import Indices, TrainingSet
from kidasr.corpus.age import UNKNOWN
from kidasr.seeding import generator_for

log = logging.getLogger(__name__)


class Curriculum:
    """Random order; the base class of all curricula.

    Sorting the data set itself would have no effect, because the Trainer's sampler shuffles. kidasr's sampler takes its
    order from here instead, before each epoch.
    """

    #: Whether the order depends on :attr:`TrainingSet.losses`, which are then computed before training.
    needs_losses: ClassVar[bool] = False

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterable[str]:
        """One line per key elsewhere in the config that does not go with this curriculum."""
        return ()

    def warnings(self, epochs: float) -> Iterable[str]:
        """What is probably unintended in a run of this many epochs."""
        return ()

    def ranks(self, training_set: TrainingSet, epoch: int) -> Indices:
        """The rank of each utterance in the order, shape ``(len(training_set),)``; utterances of equal rank are shuffled.

        Args:
            training_set: The utterances' ages, durations and other columns of the manifest.
            epoch: The epoch, counted from 0.
        """
        return np.zeros(len(training_set), dtype=np.int64)

    def stages(self, training_set: TrainingSet, epoch: int) -> Indices:
        """When each utterance may first be met in an epoch, shape ``(len(training_set),)``.

        Where utterances are joined (``augment=concat``), one is followed only by those of its own stage and of earlier ones.
        """
        return self.ranks(training_set, epoch)

    def order(self, training_set: TrainingSet, seed: int, epoch: int) -> Indices:
        """Indices of the utterances in the order of an epoch, as many as there are utterances.

        A self-paced curriculum may leave out some utterances and repeat others; the number of steps per epoch stays.
        """
        shuffled = generator_for("order", seed, epoch).permutation(len(training_set))
        return shuffled[np.argsort(self.ranks(training_set, epoch)[shuffled], kind="stable")]

    def describe(self, training_set: TrainingSet) -> None:
        """Log the order, and warn if it has no effect."""
        names = training_set.buckets.names
        log.info("curriculum: %s; utterances by age: %s", self._what(), ", ".join(_by_age(training_set, names)))

    def _what(self) -> str:
        return "random order" if type(self) is Curriculum else type(self).__name__


class AgeCurriculum(Curriculum):
    """By age bucket, random within each bucket; unknown ages come last.

    The checklist asks for youngest first. The youngest children are also the hardest to recognise, so the usual easy-to-hard
    curriculum (Bengio et al., 2009) is oldest first.

    Args:
        order: ``youngest_first`` or ``oldest_first``.
    """

    def __init__(self, order: Literal["youngest_first", "oldest_first"]):
        self.by = order

    def ranks(self, training_set: TrainingSet, epoch: int) -> Indices:
        """The place of each utterance's bucket in the order."""
        if self.by == "youngest_first":
            return training_set.age_buckets
        unknown = training_set.buckets.order[UNKNOWN]
        buckets = training_set.age_buckets
        return np.where(buckets == unknown, unknown, unknown - 1 - buckets)

    def describe(self, training_set: TrainingSet) -> None:
        """Log the number of utterances in each bucket, in training order."""
        known = [name for name in training_set.buckets.names if name != UNKNOWN]
        names = [*(known if self.by == "youngest_first" else reversed(known)), UNKNOWN]
        distribution = " → ".join(_by_age(training_set, names))
        log.info("curriculum: %s; utterances by age: %s", self.by.replace("_", " "), distribution)
        if all(one.age_bucket == UNKNOWN for one in training_set.utterances):
            log.warning("curriculum.order=%s: no utterance has an age, so the order is random", self.by)


def _by_age(training_set: TrainingSet, names: list[str] | tuple[str, ...]) -> list[str]:
    counts = Counter(one.age_bucket for one in training_set.utterances)
    return [f"{name}: {counts[name]}" for name in names if counts[name]]
