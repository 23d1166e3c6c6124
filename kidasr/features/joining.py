"""Which utterances of a training set are joined in an epoch, and how long they are then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from kidasr.features.augment import Joinable, UtteranceAugmentation

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples
    from kidasr.corpus.manifest import Utterance

Values = np.ndarray[tuple[int], np.dtype[np.float64]]
Partners = np.ndarray[tuple[int, int], np.dtype[np.int64]]
Groups = np.ndarray[tuple[int], np.dtype[np.int64]]
#: The place of each utterance in the order of an epoch.
Stages = Callable[[int], Groups]


class Joining:
    """The plan of an :class:`~kidasr.features.augment.UtteranceAugmentation` for a training set.

    The batches and the data set each have one. They agree, also in data-loader workers, since a plan is a pure function of
    the seed, the epoch and the set.

    Args:
        augmentation: Draws the utterances to join.
        utterances: The training set, of known lengths.
        seed: The run's seed.
        window_sec: The model's window. What would be longer is not joined.
        stages: The curriculum's order of an epoch; None for any order. Joining keeps to it: an utterance is followed by
            those of its own stage and of earlier ones.
        groups: A number for each utterance; only those of one group are joined, as one input. None for a single group.
    """

    def __init__(
        self,
        augmentation: UtteranceAugmentation,
        utterances: Sequence[Utterance],
        seed: int,
        window_sec: float,
        stages: Stages | None = None,
        groups: Groups | None = None,
    ):
        self._augmentation, self._utterances, self._seed, self._window_sec = augmentation, utterances, seed, window_sec
        self._stages, self._groups = stages, groups
        self._newest: tuple[int, Partners] | None = None

    @cached_property
    def _joinable(self) -> Joinable:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(one.speaker_id for one in self._utterances))}
        return Joinable(
            np.array([one.known_duration_sec for one in self._utterances], dtype=np.float64),
            np.array([numbers[one.speaker_id] for one in self._utterances], dtype=np.int64),
            self._window_sec,
        )

    def _plan(self, epoch: int) -> Partners:
        if self._newest is None or self._newest[0] != epoch:
            partners = self._augmentation.partners(self._joinable, self._seed, epoch)
            unfit = np.zeros(partners.shape, dtype=bool)
            if self._stages is not None:
                stages = self._stages(epoch)
                unfit |= stages[partners] > stages[:, None]
            if self._groups is not None:
                unfit |= self._groups[partners] != self._groups[:, None]
            self._newest = epoch, np.where(np.logical_or.accumulate(unfit, axis=1), -1, partners)
        return self._newest[1]

    def partners(self, place: int, epoch: int) -> list[int]:
        """The utterances that follow an utterance in an epoch."""
        row = self._plan(epoch)[place]
        return row[row >= 0].tolist()

    def planned_sec(self, epoch: int) -> Values:
        """The length of each utterance in an epoch, in seconds, before augmentations of waveforms."""
        partners, durations_sec = self._plan(epoch), self._joinable.durations_sec
        added = np.where(partners >= 0, durations_sec[partners] + self._augmentation.pause_sec, 0.0)
        return durations_sec + added.sum(axis=1)

    @property
    def longest_sec(self) -> Values:
        """The longest that each utterance may become in any epoch."""
        return self._augmentation.longest_sec(self._joinable)

    def join(self, first: Samples, second: Samples) -> Samples:
        """The samples of two utterances with a pause between them."""
        from kidasr.corpus.audio import SAMPLE_RATE_HZ

        pause = np.zeros(round(self._augmentation.pause_sec * SAMPLE_RATE_HZ), dtype=np.float32)
        return np.concatenate([first, pause, second])
