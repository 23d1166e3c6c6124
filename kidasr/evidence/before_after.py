"""What training changed on a set: its utterances before and after, as matched pairs."""

from collections.abc import Sequence
from typing import Literal, TypedDict

import numpy as np

from kidasr.evidence.differences import FEWEST_SPEAKERS
from kidasr.evidence.speakers import change_interval
from kidasr.recognition.score import Prediction


class Change(TypedDict):
    """How much a set's error rate changed."""

    #: After minus before, as a fraction.
    delta_wer: float
    #: For other speakers, of this very model: another seed would give another one. None with a single speaker.
    ci95: list[float] | None
    speakers: int
    #: Whether the interval excludes zero. With fewer than three speakers it is undecided.
    verdict: Literal["better", "worse", "undecided"]


def change_of(before: Sequence[int] | None, after: Sequence[Prediction]) -> Change | None:
    """The change on one set, by the matched-pairs test with speakers as segments (Gillick and Cox, 1989).

    Args:
        before: Word errors in each utterance before training; None if it was not scored.
        after: The transcripts after training, in the same order.

    Returns:
        None if there is nothing to compare: no scores before training, those of other utterances, or no words.
    """
    if before is None or len(before) != len(after) or not any(one.words for one in after):
        return None
    speakers, words = [one.speaker_id for one in after], [one.words for one in after]
    change = change_interval(speakers, before, [one.errors for one in after], words)
    number = len(np.unique([one.speaker_id for one in after if one.words]))
    verdict: Literal["better", "worse", "undecided"] = "undecided"
    if number >= FEWEST_SPEAKERS and not change.low <= 0 <= change.high:
        verdict = "worse" if change.low > 0 else "better"
    return {"delta_wer": change.value, "ci95": change.ends, "speakers": number, "verdict": verdict}
