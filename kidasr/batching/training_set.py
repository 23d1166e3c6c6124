"""The training set as the order of its utterances depends on it."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


class TrainingSet:
    """Utterances, and what is known of each as an array in their order.

    Args:
        utterances: Of known length.
        buckets: The run's age buckets.
    """

    def __init__(self, utterances: Sequence[Utterance], buckets: AgeBuckets):
        self.utterances, self.buckets = utterances, buckets

    def __len__(self) -> int:
        return len(self.utterances)

    @cached_property
    def age_buckets(self) -> Indices:
        """Place of each utterance's age bucket, youngest first, unknown last."""
        return np.array([self.buckets.order[one.age_bucket] for one in self.utterances], dtype=np.int64)

    @cached_property
    def ages(self) -> Values:
        """Years; NaN where the manifest gives none."""
        return np.array([np.nan if one.age is None else one.age for one in self.utterances], dtype=np.float64)

    @cached_property
    def durations_sec(self) -> Values:
        """Length of each recording."""
        return np.array([one.known_duration_sec for one in self.utterances], dtype=np.float64)

    def column(self, name: str) -> Values:
        """A column of the manifest that kidasr has no use for itself, such as a score; NaN where it is no number."""
        return np.array([_number((one.extra or {}).get(name)) for one in self.utterances], dtype=np.float64)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
