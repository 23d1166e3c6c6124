"""Checks of the transcript's length against the recording's: one of them may be wrong or incomplete."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kidasr.corpus.checks.findings import Examined, Finding, check, worst_first

#: Fewest utterances from which a corpus has a distribution of its own.
FEWEST = 20

#: Utterances of about the same length that are compared with each other: slow for a word is usual for a sentence.
NEIGHBOURS = 200

#: Least spread of a corpus, of the logarithm of characters per second; synthetic speech and prompts have little.
LEAST_SPREAD = 0.15

#: An outlier is at least so many times faster or slower than usual.
LEAST_FACTOR = 2.5


def characters(text: str) -> int:
    """Number of letters and digits."""
    return sum(map(str.isalnum, text))


@check
def speech_rate(examined: Examined) -> Iterator[Finding]:
    """Far more or far fewer characters per second than usual in this corpus, or possible at all.

    What is usual is the median of the utterances with about as many characters. The spread is the median absolute deviation
    of the logarithm.
    """
    places = [
        place
        for place, one in enumerate(examined.recordings)
        if not one.fault and characters(examined.utterances[place].text)
    ]
    lengths = np.array([characters(examined.utterances[place].text) for place in places], dtype=float)
    rates = lengths / np.array([examined.recordings[place].speech_sec for place in places])
    impossible = rates > examined.limits.max_chars_per_sec
    distance = np.zeros(len(places))
    if len(places) >= FEWEST:
        deviations = np.log(rates) - _usual(lengths, np.log(rates))
        spread = max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(deviations))))
        far = np.abs(deviations) > max(np.log(LEAST_FACTOR), examined.limits.rate_deviations * spread)
        distance = np.where(far, deviations, 0.0)
    fast = {place: float(rate) for place, rate, odd in zip(places, rates, (distance > 0) | impossible, strict=True) if odd}
    slow = {place: float(rate) for place, rate, odd in zip(places, rates, distance < 0, strict=True) if odd}
    usual = f"the corpus's median is {np.median(rates):.3g}" if places else ""
    told = worst_first(fast, lambda rate: f"{rate:.3g} characters per second")
    yield Finding(
        "text_too_long",
        "warning",
        told,
        f"{examined.share(told)} have far more text than speech ({usual} characters per second; check.rate_deviations, "
        "check.max_chars_per_sec): the recording may be cut, or the transcript that of another one.",
    )
    told = worst_first(slow, lambda rate: f"{rate:.2g} characters per second", descending=False)
    yield Finding(
        "text_too_short",
        "warning",
        told,
        f"{examined.share(told)} have far more speech than text ({usual} characters per second; check.rate_deviations): "
        "words may be missing from the transcript, somebody else may speak, or noise goes on after the speech.",
    )


def _usual(lengths: np.ndarray[Any, Any], logarithms: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """For each utterance, the median of those with about as many characters."""
    order = np.argsort(lengths, kind="stable")
    groups: Sequence[np.ndarray[Any, Any]] = np.array_split(order, max(1, len(order) // NEIGHBOURS))
    usual = np.empty(len(order))
    for group in groups:
        usual[group] = np.median(logarithms[group])
    return usual
