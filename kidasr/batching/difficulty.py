"""Easy utterances first: by their length, or by the pretrained model's own loss."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from kidasr.batching.curriculum import Curriculum
from kidasr.batching.training_set import Indices, TrainingSet, Values
from kidasr.features.padding import Padding

log = logging.getLogger(__name__)


class DifficultyCurriculum(Curriculum):
    """Easy utterances first, in parts of equal size that are shuffled within; the base of the two below.

    Args:
        parts: Number of parts. Fewer parts mean more randomness, and batches of more similar lengths.
        epochs: Number of epochs in this order; later ones are in random order. None for all.
    """

    def __init__(self, parts: PositiveInt, epochs: PositiveInt | None):
        self.parts, self.epochs = parts, epochs

    def difficulty(self, training_set: TrainingSet) -> Values | None:
        """The difficulty of each utterance; None if it is not known yet."""
        raise NotImplementedError

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """In another order, batches limited in seconds would be another number."""
        limit, epochs = config["trainer"]["max_batch_sec"], config["curriculum"].get("epochs")
        if limit is not None and epochs is not None and Padding.groups(config["padding"]):
            yield (
                f"curriculum.epochs={epochs}: with trainer.max_batch_sec={limit}, epochs in different orders would have "
                "different numbers of batches; expected: curriculum.epochs=null, or trainer.max_batch_sec=null"
            )

    def ranks(self, training_set: TrainingSet, epoch: int) -> Indices:
        """The part that each utterance is in."""
        difficulty = self.difficulty(training_set)
        if difficulty is None or (self.epochs is not None and epoch >= self.epochs):
            return np.zeros(len(training_set), dtype=np.int64)
        ranks = np.empty(len(training_set), dtype=np.int64)
        ranks[np.argsort(difficulty, kind="stable")] = np.arange(len(training_set)) * self.parts // len(training_set)
        return ranks

    def _when(self) -> str:
        return "in every epoch" if self.epochs is None else f"in the first {self.epochs} epoch(s)"


class DurationCurriculum(DifficultyCurriculum):
    """Short utterances first: SortaGrad of Deep Speech 2 (Amodei et al., 2016, arXiv 1512.02595), in parts.

    Args:
        parts, epochs: See :class:`DifficultyCurriculum`.
    """

    def __init__(self, parts: PositiveInt, epochs: PositiveInt | None):
        super().__init__(parts, epochs)

    def difficulty(self, training_set: TrainingSet) -> Values:
        """Length of each recording, in seconds."""
        return training_set.durations_sec

    def _what(self) -> str:
        return f"short utterances first, {self._when()}, in {self.parts} parts"


class LossCurriculum(DifficultyCurriculum):
    """Utterances that the pretrained model finds likely first (Weinshall et al., 2018, arXiv 1802.03796).

    Difficulty is the pretrained model's own cross entropy per token, computed once before training.

    Args:
        parts, epochs: See :class:`DifficultyCurriculum`.
    """

    needs_losses: ClassVar[bool] = True

    def __init__(self, parts: PositiveInt, epochs: PositiveInt | None):
        super().__init__(parts, epochs)

    def difficulty(self, training_set: TrainingSet) -> Values | None:
        """The pretrained model's loss on each utterance, in nats per token."""
        return training_set.losses

    def _what(self) -> str:
        return f"a low loss of the pretrained model first, {self._when()}, in {self.parts} parts"
