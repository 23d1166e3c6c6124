"""Cutting long recordings at pauses: where to cut, and which words of the transcript are in which piece.

A long transcript without times has to be aligned with its recording. Forced alignment would need a CTC model of children's
speech. Whisper's own word times come from attention, which is trained for nothing of the kind and drifts where a child
hesitates, so a word can move across a cut unnoticed. Here the recording is cut at its pauses first, a model transcribes
every piece, and the reference is divided so that the pieces differ least from what was heard in them, in characters. That
takes a model that is right most of the time, not always; a misheard word still resembles itself. And it says how sure each
cut is: by how many characters the next best place is worse. Pieces at a doubtful cut are left out.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from kidasr.corpus.recipes.recipe import Found, LeftOut, SetName

#: Silence that a piece keeps at either end, in seconds, if the pause is long enough.
MARGIN_SEC = 0.5

#: Why a piece is left out.
NO_PAUSE, NO_WORDS = "no pause to cut at", "no words in the piece"
DOUBTFUL, MISHEARD = "words can't be assigned to the piece", "transcript and piece differ"

Array = np.ndarray[Any, Any]


class Span(NamedTuple):
    """A part of a recording, in seconds."""

    start_sec: float
    end_sec: float


class Cut(NamedTuple):
    """A piece between two pauses."""

    span: Span
    #: The pause after it: its place among all pauses.
    pause: int


@dataclass(frozen=True)
class Piece:
    """A piece of a recording with its part of the transcript."""

    span: Span
    text: str
    #: Why it is left out; empty if it is used.
    doubt: str = ""


class Segmenter(ABC):
    """Cuts recordings: the ``segment`` group."""

    #: The sets whose recordings are cut.
    on: Sequence[SetName]
    #: Longer recordings are cut, into pieces of at most this length.
    max_sec: float

    @abstractmethod
    def described(self) -> str:
        """How it cuts, for summaries and reports."""

    @abstractmethod
    def pieces(self, utterances: Sequence[Found]) -> Iterator[list[Piece]]:
        """The pieces of each utterance, in order. Their texts together are its text.

        Raises:
            KidasrError: If a library or the model is missing.
        """


def no_segmentation() -> None:
    """Recordings stay whole."""


def segmented(
    sets: Mapping[str, list[Found]], segmenter: Segmenter | None, left_out: list[LeftOut]
) -> tuple[dict[str, list[Found]], dict[str, dict[str, Any]]]:
    """The sets with the long recordings of some of them in pieces, and for each of those what was done.

    Args:
        sets: The sets, whose utterances have durations.
        segmenter: What cuts; None for nothing.
        left_out: Takes the pieces that are left out.
    """
    cut, told = dict(sets), {}
    for name in [] if segmenter is None else [name for name in sets if name in segmenter.on]:
        assert segmenter is not None
        long = [one for one in sets[name] if (one.duration_sec or 0) > segmenter.max_sec]
        if not long:
            continue
        found = dict(zip([one.utterance_id for one in long], segmenter.pieces(long), strict=True))
        cut[name] = [part for one in sets[name] for part in _parts(one, found.get(one.utterance_id), name, left_out)]
        pieces = [piece for several in found.values() for piece in several]
        doubtful = [piece for piece in pieces if piece.doubt]
        told[name] = {
            "described": segmenter.described(),
            "recordings": len(long),
            "pieces": len(pieces),
            "left_out": len(doubtful),
            "left_out_sec": round(sum(piece.span.end_sec - piece.span.start_sec for piece in doubtful), 1),
        }
    return cut, told


def in_words(told: Mapping[str, Any]) -> str:
    """What was done to a set, on one line."""
    return (
        f"{told['described']}: {told['recordings']} recordings cut into {told['pieces']} pieces, {told['left_out']} of them "
        f"({told['left_out_sec']:g} s) left out"
    )


def _parts(one: Found, pieces: Sequence[Piece] | None, set_name: str, left_out: list[LeftOut]) -> Iterator[Found]:
    if pieces is None:
        yield one
        return
    offset_sec = one.start_sec or 0.0
    for number, piece in enumerate(pieces, start=1):
        name = f"{one.utterance_id}-{number:03}"
        start_sec, end_sec = (round(offset_sec + time, 3) for time in piece.span)
        if piece.doubt:
            detail = f"{start_sec:g} to {end_sec:g} s: {piece.text}"
            left_out.append(LeftOut(name, str(one.audio_path), piece.doubt, detail, set_name))
            continue
        yield replace(
            one,
            utterance_id=name,
            text=piece.text,
            start_sec=start_sec,
            end_sec=end_sec,
            duration_sec=round(end_sec - start_sec, 3),
            extra={**one.extra, "segment_of": one.utterance_id},
        )


def cuts(
    speech: Sequence[Span], length_sec: float, max_sec: float, avoid: Collection[int] = (), keep: Collection[int] = ()
) -> list[Cut]:
    """Join stretches of speech across the shortest pauses, as long as no piece becomes longer than ``max_sec``.

    So recordings are cut at their longest pauses. Pause ``n`` is the one after stretch ``n``.

    Args:
        speech: Stretches of speech in order.
        length_sec: Length of the recording.
        max_sec: Length of the longest piece, with silence at its ends. A longer stretch is a piece by itself.
        avoid: Pauses that are not cut at if there are others.
        keep: Pauses that are cut at.
    """
    pauses = [after.start_sec - before.end_sec for before, after in pairwise(speech)]
    first, last = list(range(len(speech))), list(range(len(speech)))

    def span(start: int, end: int) -> Span:
        before = speech[start].start_sec if start == 0 else pauses[start - 1] / 2
        after = length_sec - speech[end].end_sec if end == len(pauses) else pauses[end] / 2
        margin = MARGIN_SEC
        if start == end:  # less silence rather than a piece that is too long
            margin = min(margin, max(0.0, max_sec - (speech[end].end_sec - speech[start].start_sec)) / 2)
        return Span(
            round(speech[start].start_sec - min(margin, before), 3), round(speech[end].end_sec + min(margin, after), 3)
        )

    for pause in sorted(range(len(pauses)), key=lambda pause: (pause not in avoid, pauses[pause])):
        start, end = first[pause], last[pause + 1]
        joined = span(start, end)
        if pause not in keep and joined.end_sec - joined.start_sec <= max_sec:
            first[pause + 1 : end + 1] = [start] * (end - pause)
            last[start : pause + 1] = [end] * (pause + 1 - start)
    ends = sorted(set(last))
    return [Cut(span(first[end], end), end) for end in ends]


def divide(words: Sequence[str], heard: Sequence[str]) -> tuple[list[int], list[int]]:
    """Divide a transcript among consecutive pieces so that it differs least, in characters, from what was heard in them.

    The sum of the pieces' edit distances is the least edit distance from the start to a cut plus that from there to the end
    (Hirschberg, 1975), for each place where the transcript could be cut.

    Args:
        words: The normalized words of the transcript. Empty ones, such as markup, go with the word before.
        heard: The normalized transcript of each piece.

    Returns:
        For each cut between two pieces, the number of words before it, and the number of characters by which the next best
        place is worse.
    """
    offsets = np.cumsum([0, *(len(word) + 1 if word else 0 for word in words)])
    reference = _codes("".join(f"{word} " for word in words if word))
    pieces = [_codes(f"{text} " if text else "") for text in heard]
    forward = _distances(reference, pieces[:-1])
    backward = _distances(reference[::-1], [piece[::-1] for piece in pieces[:0:-1]])
    # Of words that end at the same character, the last.
    places, numbers = np.unique(offsets[::-1], return_index=True)
    numbers = len(words) - numbers
    found, margins = [], []
    for ahead, behind in zip(forward, backward[::-1], strict=True):
        distance = (ahead + behind[::-1])[places]
        best = int(distance.argmin())
        others = np.delete(distance, best)
        found.append(int(numbers[best]))
        margins.append(int(others.min() - distance[best]) if len(others) else 0)
    return [int(place) for place in np.maximum.accumulate(np.array(found, dtype=int))], margins


def _codes(text: str) -> Array:
    return np.array([ord(letter) for letter in text], dtype=np.int32)


def _distances(reference: Array, pieces: Iterable[Array]) -> list[Array]:
    """After each piece, the edit distance of all text so far from each beginning of the reference, ``(characters + 1,)``.

    A row of the usual table at a time. The cheapest way to skip characters of the reference is a running minimum.
    """
    places = np.arange(len(reference) + 1)
    row = places.copy()
    found = []
    for piece in pieces:
        for letter in piece:
            below = row + 1
            below[1:] = np.minimum(below[1:], row[:-1] + (reference != letter))
            row = np.minimum.accumulate(below - places) + places
        found.append(row)
    return found
