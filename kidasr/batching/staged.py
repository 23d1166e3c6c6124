"""Age buckets that join the training set one after the other."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt

from kidasr.batching.curriculum import AgeCurriculum
from kidasr.batching.training_set import Indices, TrainingSet
from kidasr.config.schema import Fraction
from kidasr.corpus.age import UNKNOWN
from kidasr.features.padding import Padding
from kidasr.seeding import generator_for

log = logging.getLogger(__name__)


class StagedAgeCurriculum(AgeCurriculum):
    """Age buckets join over the first epochs, in random order within an epoch; unknown ages join last.

    This is the curriculum by competence of Platanios et al. (2019, arXiv 1903.09848), with the age bucket as the difficulty
    of an utterance: in an epoch with competence ``c``, a bucket takes part if it and the buckets before it hold at most the
    share ``c`` of the training set. The first bucket always takes part. The number of utterances in an epoch stays: those
    that take part are repeated, each as often as any other, give or take one.

    Args:
        order: Which bucket is first: ``youngest_first`` or ``oldest_first``.
        pacing: How competence grows from ``first_share`` to 1. ``linear``: by as much in every epoch. ``root``: fast at
            first, as the square root of the time, so that utterances that join later have fewer epochs to wait.
        first_share: Competence in the first epoch, a share of the training set.
        epochs: Number of epochs before all buckets take part.
    """

    def __init__(
        self,
        order: Literal["youngest_first", "oldest_first"],
        pacing: Literal["linear", "root"],
        first_share: Fraction,
        epochs: PositiveInt,
    ):
        super().__init__(order)
        self.pacing, self.first_share, self.epochs = pacing, first_share, epochs

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """Repeated utterances of other lengths would make another number of batches."""
        limit = config["trainer"]["max_batch_sec"]
        if limit is not None and Padding.groups(config["padding"]):
            yield (
                f"trainer.max_batch_sec={limit}: with this curriculum, which repeats utterances, epochs would have "
                "different numbers of batches; expected: trainer.max_batch_sec=null"
            )

    def warnings(self, epochs: float) -> Iterator[str]:
        """The run may end before all ages have joined."""
        if epochs <= self.epochs:
            yield (
                f"curriculum.epochs={self.epochs}: the run has {epochs:.3g} epochs, so the buckets that join last are never "
                "trained on"
            )

    def competence(self, epoch: int) -> float:
        """Share of the training set that may take part in an epoch, counted from 0."""
        power = 1 if self.pacing == "linear" else 2
        start = self.first_share**power
        return min(1.0, (start + (1 - start) * epoch / self.epochs) ** (1 / power))

    def joined(self, training_set: TrainingSet, epoch: int) -> Indices:
        """Indices of the utterances that take part in an epoch, in the order of the training set."""
        places = super().ranks(training_set, epoch)
        # The share of utterances in a bucket or before it.
        share = np.searchsorted(np.sort(places), places, side="right") / len(places)
        takes_part = (share <= self.competence(epoch) + 1e-9) | (places == places.min())
        return np.flatnonzero(takes_part)

    def ranks(self, training_set: TrainingSet, epoch: int) -> Indices:
        """All the same: within an epoch, the order is random."""
        return np.zeros(len(training_set), dtype=np.int64)

    def stages(self, training_set: TrainingSet, epoch: int) -> Indices:
        """Those that do not take part are in a stage that this epoch does not reach."""
        stages = np.ones(len(training_set), dtype=np.int64)
        stages[self.joined(training_set, epoch)] = 0
        return stages

    def order(self, training_set: TrainingSet, seed: int, epoch: int) -> Indices:
        """As many utterances as the training set has, of the buckets that take part."""
        joined = self.joined(training_set, epoch)
        rng = generator_for("order", seed, epoch)
        rounds = -(-len(training_set) // len(joined))
        return np.concatenate([joined[rng.permutation(len(joined))] for _ in range(rounds)])[: len(training_set)]

    def describe(self, training_set: TrainingSet) -> None:
        """Log the epoch in which each bucket joins."""
        super().describe(training_set)
        stages, before = [], 0
        for epoch in range(self.epochs + 1):
            joined = self.joined(training_set, epoch)
            if len(joined) > before:
                names = {training_set.utterances[place].age_bucket for place in joined.tolist()}
                ordered = [name for name in training_set.buckets.names if name in names]
                stages.append(f"epoch {epoch + 1}: {', '.join(ordered)} ({len(joined) / len(training_set):.0%})")
            before = len(joined)
        log.info("curriculum: %s pacing; buckets that take part: %s", self.pacing, "; ".join(stages))
        share = float(np.mean([one.age_bucket == UNKNOWN for one in training_set.utterances]))
        if 0.2 < share < 1:
            log.warning(
                "curriculum: %.0f%% of the utterances have no age; they join in epoch %d", 100 * share, self.epochs + 1
            )
