"""What padding to the full window costs a model that was trained on short input.

Other programs (transformers' pipeline, faster-whisper, whisper.cpp) pad every recording to Whisper's 30 seconds. A run on
short input (``padding=longest``) scores the kept model that way, too, on a sample of the validation set.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.recognition.doubts import OtherInput
from kidasr.recognition.score import Prediction, is_runaway
from kidasr.report.verdict import about_full_window
from kidasr.training.trainer import ChildSpeechTrainer

log = logging.getLogger(__name__)

#: Utterances in the sample of a run that is long enough.
USUAL = 64

#: Trained utterances for each one in the sample: decoding one of 30 s takes two to four times as long as training on one.
TRAINED_FOR_EACH = 200

#: A smaller sample says nothing.
FEWEST = 16


def sample_size(wanted: int | None, trained: int) -> int:
    """Number of utterances to score on the full window.

    Args:
        wanted: ``report.card.full_window_utterances``: None for one in 200 trained utterances, up to 64, or none if that is
            fewer than 16.
        trained: Utterances that training drew, repetitions included; 0 if nothing was trained.
    """
    if wanted is not None:
        return wanted
    size = min(USUAL, trained // TRAINED_FOR_EACH) if trained else USUAL
    return size if size >= FEWEST else 0


def sample_of(utterances: Sequence[Utterance], size: int) -> list[Utterance]:
    """A random sample that depends on nothing but the utterances: the same in every process, attempt and run."""
    return sorted(utterances, key=lambda one: blake2b(one.utterance_id.encode()).digest())[:size]


def score_full_window(
    trainer: ChildSpeechTrainer,
    sample: Sequence[Utterance],
    padded: Callable[[Sequence[Utterance]], ChildSpeechDataset],
    heard_short: Sequence[Prediction],
) -> dict[str, Any] | None:
    """Transcribe a sample on the full window.

    Args:
        trainer: Has the kept model.
        sample: See :func:`sample_of`.
        padded: Makes a data set whose input has the full window.
        heard_short: What was heard on short input, in all of the set.

    Returns:
        The entry ``full_window`` of ``metrics.json``: both rates of the sample, and the change from the short input to the
        full window with its interval for other speakers. None without a sample, if it has no words, or if memory ran out.
    """
    from kidasr.evidence.before_after import change_of  # scipy, which training has no use for

    if not sample:
        return None
    log.info("padding: scoring %d utterances on the full window, too", len(sample))
    known = {one.utterance_id: one for one in heard_short}
    try:
        after = trainer.transcribe(padded(sample))
    except KidasrError as error:  # no memory for it is no reason to lose the run
        log.warning("padding: what it costs was not measured: %s", error)
        return None
    before = [known[one.utterance_id] for one in after]
    change, words = change_of([one.errors for one in before], after), sum(one.words for one in after)
    if change is None:
        return None
    found = {
        "utterances": len(after),
        "words": words,
        "window_sec": trainer.recogniser.window_sec,
        "wer_short": sum(one.errors for one in before) / words,
        "wer": sum(one.errors for one in after) / words,
        "runaways_short": _runaways(before),
        "runaways": _runaways(after),
        "change": change,
    }
    log.info(about_full_window(found, trainer.scoring.rate))
    return found


def as_other_input(full_window: Mapping[str, Any]) -> OtherInput:
    """The result as the proof, or not, that a bad score comes from short input (:mod:`kidasr.recognition.doubts`)."""
    return {
        "input": "window",
        "utterances": full_window["utterances"],
        "wer": full_window["wer"],
        "own_wer": full_window["wer_short"],
    }


def _runaways(heard: Sequence[Prediction]) -> int:
    return sum(is_runaway(one.normalized_reference, one.normalized_hypothesis) for one in heard)
