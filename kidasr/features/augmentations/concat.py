"""Concatenation of short utterances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from kidasr.config.schema import Fraction
from kidasr.features.augment import UtteranceAugmentation, share_of
from kidasr.seeding import generator_for

if TYPE_CHECKING:
    from kidasr.features.augment import Joinable
    from kidasr.features.joining import Partners, Values


class Concat(UtteranceAugmentation):
    """Lets other utterances of the training set follow a short one, audio and text, up to some seconds.

    Children's utterances last three to five seconds, and a model that is fine-tuned on them alone unlearns longer audio.
    Each utterance stays in the epoch once at its place; those that follow it are drawn in addition.

    Args:
        max_sec: Maximum length of the result; the model's window if that is shorter.
        max_utterances: Maximum number of utterances in it.
        speaker: Who follows: ``same``, the same speaker or nobody; ``same_first``, somebody else where no utterance of the
            same speaker was found; ``any``.
        pause_sec: Silence between two.
        p: Share of the utterances that are followed by others, if others fit.
    """

    def __init__(
        self,
        max_sec: PositiveFloat,
        max_utterances: Annotated[int, Field(ge=2, le=20)],
        speaker: Literal["same", "same_first", "any"],
        pause_sec: NonNegativeFloat,
        p: Fraction,
    ):
        self.max_sec, self.max_utterances, self.speaker, self.pause_sec, self.p = (
            max_sec,
            max_utterances,
            speaker,
            pause_sec,
            p,
        )

    def longest_sec(self, joinable: Joinable) -> Values:
        """The longest that each utterance may become."""
        limit_sec, durations_sec = self._limit_sec(joinable), joinable.durations_sec
        if not self.p or len(durations_sec) < 2:
            return durations_sec
        most = self.max_utterances - 1
        longest_sec = durations_sec + most * (durations_sec.max() + self.pause_sec)
        return np.maximum(durations_sec, np.minimum(longest_sec, limit_sec))

    def _limit_sec(self, joinable: Joinable) -> float:
        return min(self.max_sec, joinable.window_sec)

    def partners(self, joinable: Joinable, seed: int, epoch: int) -> Partners:
        """The utterances that follow each one: drawn one by one, for all utterances at once."""
        rng = generator_for("concat", seed, epoch)
        utterances = len(joinable.durations_sec)
        partners = np.full((utterances, self.max_utterances - 1), -1, dtype=np.int64)
        lasts_sec = joinable.durations_sec.copy()
        open_ended = rng.random(utterances) < self.p
        for place in range(self.max_utterances - 1):
            chosen = np.full(utterances, -1, dtype=np.int64)
            for candidates in self._candidates(joinable, rng):
                taken = (candidates[:, None] == partners[:, :place]).any(axis=1) | (candidates == np.arange(utterances))
                longer_sec = lasts_sec + self.pause_sec + joinable.durations_sec[candidates]
                fits = open_ended & ~taken & (longer_sec <= self._limit_sec(joinable)) & (chosen < 0)
                chosen[fits] = candidates[fits]
            open_ended &= chosen >= 0
            partners[:, place] = chosen
            lasts_sec[open_ended] += self.pause_sec + joinable.durations_sec[chosen[open_ended]]
        return partners

    def _candidates(self, joinable: Joinable, rng: np.random.Generator) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        """Draws of an utterance for each one, the preferred first: three of the same speaker, or of all."""
        found = []
        if self.speaker != "any":
            order = np.argsort(joinable.speakers, kind="stable")
            counts = np.bincount(joinable.speakers)
            first, count = (np.cumsum(counts) - counts)[joinable.speakers], counts[joinable.speakers]
            found += [order[first + (rng.random(len(count)) * count).astype(np.int64)] for _ in range(TRIES)]
        if self.speaker != "same":
            utterances = len(joinable.speakers)
            found += [rng.integers(utterances, size=utterances) for _ in range(TRIES)]
        return found

    def describe(self) -> str:
        """The longest result, who follows, and how many utterances are followed."""
        who = {"same": "the same speaker", "same_first": "the same speaker if possible", "any": "any speaker"}[self.speaker]
        return f"up to {self.max_utterances} utterances of {who} joined, up to {self.max_sec:g} s, {share_of(self.p)}"


#: Draws of a next utterance, of which the first that fits is taken.
TRIES = 3
