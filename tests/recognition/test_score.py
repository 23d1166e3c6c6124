from collections.abc import Callable

import jiwer
import pytest
from transformers import WhisperProcessor

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.recognition.score import compare, score, whisper_normalizer
from tests.conftest import MICRO, TINY_EN, real_data

REFERENCES = ["the red cat sat", "two dogs", "a big big bear", "yes"]
HYPOTHESES = ["the rat sat", "two dogs", "a big pig bear ran", "no"]


@pytest.fixture
def children(utterance: Callable[..., Utterance]) -> list[Utterance]:
    ages = ["3-4", "13+", "3-4", "unknown"]
    return [
        utterance(f"u{n}", text=text, age_bucket=age, duration_sec=0.1)
        for n, (text, age) in enumerate(zip(REFERENCES, ages, strict=True))
    ]


def test_rates_are_of_the_corpus_overall_and_by_age(children: list[Utterance], buckets: AgeBuckets) -> None:
    result = score(compare(children, HYPOTHESES, str), buckets)
    assert result["wer"] == pytest.approx(jiwer.wer(REFERENCES, HYPOTHESES)) == pytest.approx(5 / 11)
    assert result["cer"] == pytest.approx(jiwer.cer(REFERENCES, HYPOTHESES))
    assert list(result["by_age"]) == ["3-4", "13+", "unknown"]
    youngest = result["by_age"]["3-4"]
    assert (youngest["words"], youngest["utterances"], youngest["wer"]) == (8, 2, 4 / 8)
    assert (youngest["substitutions"], youngest["deletions"], youngest["insertions"]) == (2, 1, 1)
    assert result["by_age"]["13+"]["wer"] == 0


def test_a_predictions_counts_are_its_own(children: list[Utterance]) -> None:
    first, _, third, _ = compare(children, HYPOTHESES, str)
    assert (first.words, first.substitutions, first.deletions, first.insertions) == (4, 1, 1, 0)
    assert (third.words, third.substitutions, third.deletions, third.insertions) == (4, 1, 0, 1)
    assert (first.reference, first.hypothesis) == (REFERENCES[0], HYPOTHESES[0])
    assert first.characters == len(REFERENCES[0])


def test_an_empty_reference_is_counted_and_its_words_are_insertions(
    utterance: Callable[..., Utterance], buckets: AgeBuckets
) -> None:
    pair = [utterance("a", text="hello there", duration_sec=0.1), utterance("b", text="[laughs]", duration_sec=0.1)]
    normalize = whisper_normalizer(WhisperProcessor.from_pretrained(MICRO), is_english=True)
    result = score(compare(pair, ["hello there", "ha ha"], normalize), buckets)
    assert (result["empty_references"], result["words"], result["insertions"], result["wer"]) == (1, 2, 2, 1.0)
    assert score(compare(pair[1:], ["ha ha"], normalize), buckets)["wer"] is None
    assert score(compare(pair[1:], [""], normalize), buckets)["insertions"] == 0


@real_data
def test_the_normalizer_is_whispers_own() -> None:
    normalize = whisper_normalizer(WhisperProcessor.from_pretrained(TINY_EN), is_english=True)
    assert normalize("Mr. Brown's  COLOUR, twenty-one!") == "mister brown is color 21"
    other = whisper_normalizer(WhisperProcessor.from_pretrained(TINY_EN), is_english=False)
    assert other("L'été, déjà!").split() == ["l", "été", "déjà"]
