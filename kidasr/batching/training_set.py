"""The training set, with the properties that its order can depend on."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


class TrainingSet:
    """Utterances, with their properties as arrays in the same order.

    Args:
        utterances: Utterances of known length.
        buckets: The run's age buckets.
        losses: The pretrained model's loss on each utterance, in nats per token; None unless the curriculum needs it
            (:attr:`kidasr.batching.curriculum.Curriculum.needs_losses`).
    """

    def __init__(self, utterances: Sequence[Utterance], buckets: AgeBuckets, losses: Values | None = None):
        self.utterances, self.buckets, self.losses = utterances, buckets, losses

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def age_buckets(self) -> Indices:
        """Index of each utterance's age bucket, youngest first, unknown last."""
        return np.array([self.buckets.order[one.age_bucket] for one in self.utterances], dtype=np.int64)

    @cached_property
    def ages(self) -> Values:
        """Ages in years; NaN if the manifest has none."""
        return np.array([np.nan if one.age is None else one.age for one in self.utterances], dtype=np.float64)

    @cached_property
    def durations_sec(self) -> Values:
        """Length of each recording, in seconds."""
        return np.array([one.known_duration_sec for one in self.utterances], dtype=np.float64)

    def column(self, name: str) -> Values:
        """A column of the manifest that kidasr itself does not use, e.g. a score; NaN where it is not a number."""
        return np.array([_number((one.extra or {}).get(name)) for one in self.utterances], dtype=np.float64)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
