"""Error rates: corpus WER and CER, overall and by age."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import jiwer

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.features.recogniser import Scoring


@dataclass(frozen=True)
class Prediction:
    """A transcript and its errors, counted after normalization: a line of ``predictions.jsonl``."""

    utterance_id: str
    speaker_id: str
    age_bucket: str
    reference: str
    hypothesis: str
    normalized_reference: str
    normalized_hypothesis: str
    #: Number of words and characters in the normalized reference. If the error rate is CER, words are characters too.
    words: int
    characters: int
    substitutions: int
    deletions: int
    insertions: int
    character_errors: int
    audio_path: str
    duration_sec: float | None
    #: The other columns of the manifest, unchanged.
    extra: Mapping[str, Any] | None = None
    #: The part of the recording that was transcribed; None for all of it, or to its end.
    start_sec: float | None = None
    end_sec: float | None = None

    @property
    def errors(self) -> int:
        """Number of word errors."""
        return self.substitutions + self.deletions + self.insertions


class Rates(TypedDict):
    """Error rates of a set as fractions: all errors over all words (or characters); None if there are no words.

    For languages scored by character (see :class:`Scoring`), ``wer`` and ``cer`` are both CER.
    """

    wer: float | None
    cer: float | None
    words: int
    utterances: int
    substitutions: int
    deletions: int
    insertions: int
    #: Utterances whose reference is empty after normalization; words in the hypothesis count as insertions.
    empty_references: int
    #: Transcripts with endless repetitions: see :func:`is_runaway`.
    runaways: int


class Score(Rates):
    """The rates of a whole set, and of each of its age buckets."""

    by_age: dict[str, Rates]


def compare(utterances: Sequence[Utterance], hypotheses: Sequence[str], scoring: Scoring) -> list[Prediction]:
    """Align each transcript with its reference (jiwer) and count its errors. The order is that of ``utterances``."""
    references = [scoring.normalize(utterance.text).strip() for utterance in utterances]
    normalized = [scoring.normalize(hypothesis).strip() for hypothesis in hypotheses]
    by_word = jiwer.process_words(references, normalized)
    spelled, spelled_too = (
        [text.replace(" ", "") if scoring.rate == "CER" else text for text in texts] for texts in (references, normalized)
    )
    by_character = jiwer.process_characters(spelled, spelled_too)
    predictions = []
    for place, utterance in enumerate(utterances):
        errors = _errors(by_word.alignments[place])
        predictions.append(
            Prediction(
                utterance_id=utterance.utterance_id,
                speaker_id=utterance.speaker_id,
                age_bucket=utterance.age_bucket,
                reference=utterance.text,
                hypothesis=hypotheses[place],
                normalized_reference=references[place],
                normalized_hypothesis=normalized[place],
                words=len(references[place].split()),
                characters=len(spelled[place]),
                substitutions=errors["substitute"],
                deletions=errors["delete"],
                insertions=errors["insert"],
                character_errors=sum(_errors(by_character.alignments[place]).values()),
                audio_path=utterance.audio_path,
                duration_sec=utterance.duration_sec,
                extra=utterance.extra,
                start_sec=utterance.start_sec,
                end_sec=utterance.end_sec,
            )
        )
    return predictions


def score(predictions: Sequence[Prediction], buckets: AgeBuckets) -> Score:
    """Corpus error rates of a set, overall and by age bucket, youngest first."""
    by_age: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_age[prediction.age_bucket].append(prediction)
    return {
        **_rates(predictions),
        "by_age": {name: _rates(by_age[name]) for name in sorted(by_age, key=buckets.order.__getitem__)},
    }


#: A phrase of up to eight words, at least four times in a row; or one to three letters, at least ten times.
_LOOP = re.compile(r"(?<!\S)(\S+(?: \S+){0,7}?)(?: \1){3,}(?!\S)|([^\W\d]{1,3})\2{9,}")


def is_runaway(reference: str, hypothesis: str) -> bool:
    """Whether a transcript has a loop that is not in the reference, as Whisper writes when it has lost the audio.

    Args:
        reference, hypothesis: Texts after normalization.
    """
    return any(found[0] not in reference for found in _LOOP.finditer(hypothesis))


def _errors(alignment: Iterable[jiwer.AlignmentChunk]) -> dict[str, int]:
    counts = {"substitute": 0, "delete": 0, "insert": 0}
    for chunk in alignment:
        if chunk.type != "equal":
            counts[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return counts


def _rates(predictions: Sequence[Prediction]) -> Rates:
    words = sum(one.words for one in predictions)
    characters = sum(one.characters for one in predictions)
    substitutions = sum(one.substitutions for one in predictions)
    deletions = sum(one.deletions for one in predictions)
    insertions = sum(one.insertions for one in predictions)
    return {
        "wer": (substitutions + deletions + insertions) / words if words else None,
        "cer": sum(one.character_errors for one in predictions) / characters if characters else None,
        "words": words,
        "utterances": len(predictions),
        "substitutions": substitutions,
        "deletions": deletions,
        "insertions": insertions,
        "empty_references": sum(one.words == 0 for one in predictions),
        "runaways": sum(is_runaway(one.normalized_reference, one.normalized_hypothesis) for one in predictions),
    }
