"""Filters of papers: utterances that are too short, too long, or that a reference model gets very wrong.

They are applied when a corpus is prepared. A set that is scored becomes easier by them, so the lines of a filtered set
are marked in its manifest, and each run on it says so. A validation set that a run holds out of a filtered train set has
the mark too.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from kidasr.config.schema import Group, Text
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.recipes.recipe import Found, SetName, read_lines
from kidasr.errors import KidasrError, truncate

#: The field of a manifest that says that its set was filtered, and how.
MARK = "filtered"

#: How such a mark ends.
MARKED = "utterances left out"


class Filters(Group):
    """Which utterances are left out, and of which sets; None for a filter that is off."""

    on: list[SetName]
    min_words: PositiveInt | None
    min_sec: PositiveFloat | None
    max_sec: PositiveFloat | None
    reference_predictions: Text | None
    reference_wer_over: NonNegativeFloat | None

    def mistakes(self) -> Iterator[str]:
        """A reference without transcripts, or transcripts without a limit; bounds that leave nothing."""
        if (self.reference_wer_over is None) != (self.reference_predictions is None):
            missing = "predictions" if self.reference_predictions is None else "wer_over"
            yield f"filters.reference_{missing} is missing; expected: both keys filters.reference_..., or neither"
        if self.min_sec is not None and self.max_sec is not None and self.min_sec > self.max_sec:
            yield f"filters.min_sec={self.min_sec:g}: leaves nothing with filters.max_sec={self.max_sec:g}"

    def described(self) -> str:
        """The filters that are on: ``"min_words=3, max_sec=30"``; empty if none is."""
        shown = ("min_words", "min_sec", "max_sec", "reference_wer_over")
        return ", ".join(f"{name}={value:g}" for name in shown if (value := getattr(self, name)) is not None)


def reasons(filters: Filters, sets: Mapping[str, Sequence[Found]]) -> Callable[[Found], str | None]:
    """A function that says why an utterance is left out; None if it is kept.

    Words are counted after Whisper's English normalizer, which removes markup in brackets, as in SPAPL's recipe. The
    reference WER is that of one utterance.

    Args:
        filters: The filters.
        sets: The sets to filter, whose utterances must all be in the reference's predictions.

    Raises:
        KidasrError: If the predictions can't be read or lack an utterance.
    """
    transcripts: dict[str, str] = {}
    if filters.reference_predictions is not None:
        transcripts = _transcripts(Path(filters.reference_predictions).expanduser())
        missing = [
            one.utterance_id for utterances in sets.values() for one in utterances if one.utterance_id not in transcripts
        ]
        if missing:
            raise KidasrError(
                f"filters.reference_predictions={filters.reference_predictions}: {len(missing)} utterances of "
                f"{', '.join(sets)} are not in it, the first {truncate(missing[0])}; expected: a transcript of each"
            )

    def reason(one: Found) -> str | None:
        length = one.duration_sec
        if filters.min_sec is not None and length is not None and length < filters.min_sec:
            return f"shorter than {filters.min_sec:g} s"
        if filters.max_sec is not None and length is not None and length > filters.max_sec:
            return f"longer than {filters.max_sec:g} s"
        if filters.min_words is not None and len(_normalized(one.text).split()) < filters.min_words:
            return f"fewer than {filters.min_words} words"
        if filters.reference_wer_over is not None:
            wer = _wer(one.text, transcripts[one.utterance_id])
            return f"reference WER over {filters.reference_wer_over:g}" if wer > filters.reference_wer_over else None
        return None

    return reason


def marks_of(utterances: Sequence[Utterance]) -> str | None:
    """How the set was filtered when it was prepared, by the marks in its manifest; None if it was not."""
    found = dict.fromkeys(
        mark
        for one in utterances
        if one.extra and isinstance(mark := one.extra.get(MARK), str) and mark.endswith(MARKED)  # not a column of the user's
    )
    return "; ".join(found) or None


def _transcripts(path: Path) -> dict[str, str]:
    found = {}
    for number, line in read_lines(path):
        try:
            row: Any = json.loads(line)
            found[str(row["utterance_id"])] = str(row["hypothesis"])
        except (ValueError, KeyError, TypeError) as error:
            raise KidasrError(
                f"{truncate(path)}:{number}: no utterance_id and hypothesis; expected: the predictions.jsonl of a run"
            ) from error
    return found


def _wer(reference: str, hypothesis: str) -> float:
    """Errors per word; infinite for words where there are none."""
    import jiwer

    said, heard = _normalized(reference), _normalized(hypothesis)
    if not said:
        return float("inf") if heard else 0.0
    wer: float = jiwer.wer(said, heard)
    return wer


def _normalized(text: str) -> str:
    return str(_normalizer()(text)).strip()


@cache
def _normalizer() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer  # slow to import

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer
