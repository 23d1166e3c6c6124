from collections.abc import Callable
from pathlib import Path

import jiwer
import pytest
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from kidasr.recognition.score import Scoring, compare, score
from kidasr.report.tables import result_table
from tests.conftest import MICRO, TINY_EN, real_data

REFERENCES = ["the red cat sat", "two dogs", "a big big bear", "yes"]
#: No normalization.
AS_IT_IS = Scoring(str, "WER")

HYPOTHESES = ["the rat sat", "two dogs", "a big pig bear ran", "no"]


@pytest.fixture
def children(utterance: Callable[..., Utterance]) -> list[Utterance]:
    ages = ["3-4", "13+", "3-4", "unknown"]
    return [
        utterance(f"u{n}", text=text, age_bucket=age, duration_sec=0.1)
        for n, (text, age) in enumerate(zip(REFERENCES, ages, strict=True))
    ]


def test_rates_are_of_the_corpus_overall_and_by_age(children: list[Utterance], buckets: AgeBuckets) -> None:
    result = score(compare(children, HYPOTHESES, AS_IT_IS), buckets)
    assert result["wer"] == pytest.approx(jiwer.wer(REFERENCES, HYPOTHESES)) == pytest.approx(5 / 11)
    assert result["cer"] == pytest.approx(jiwer.cer(REFERENCES, HYPOTHESES))
    assert list(result["by_age"]) == ["3-4", "13+", "unknown"]
    youngest = result["by_age"]["3-4"]
    assert (youngest["words"], youngest["utterances"], youngest["wer"]) == (8, 2, 4 / 8)
    assert (youngest["substitutions"], youngest["deletions"], youngest["insertions"]) == (2, 1, 1)
    assert result["by_age"]["13+"]["wer"] == 0


def test_a_predictions_counts_are_its_own(children: list[Utterance]) -> None:
    first, _, third, _ = compare(children, HYPOTHESES, AS_IT_IS)
    assert (first.words, first.substitutions, first.deletions, first.insertions) == (4, 1, 1, 0)
    assert (third.words, third.substitutions, third.deletions, third.insertions) == (4, 1, 0, 1)
    assert (first.reference, first.hypothesis) == (REFERENCES[0], HYPOTHESES[0])
    assert first.characters == len(REFERENCES[0])


def test_an_empty_reference_is_counted_and_its_words_are_insertions(
    utterance: Callable[..., Utterance], buckets: AgeBuckets
) -> None:
    pair = [utterance("a", text="hello there", duration_sec=0.1), utterance("b", text="[laughs]", duration_sec=0.1)]
    english = Scoring(EnglishTextNormalizer({}), "WER")
    result = score(compare(pair, ["hello there", "ha ha"], english), buckets)
    assert (result["empty_references"], result["words"], result["insertions"], result["wer"]) == (1, 2, 2, 1.0)
    assert score(compare(pair[1:], ["ha ha"], english), buckets)["wer"] is None
    assert score(compare(pair[1:], [""], english), buckets)["insertions"] == 0


def scoring(language: str, folder: Path = MICRO) -> Scoring:
    """That of a checkpoint whose transcripts are in a language."""
    whisper = PretrainedWhisper(str(folder), "en", "transcribe").load()
    return Whisper(whisper.model, whisper.processor, language, whisper.prompt).scoring


@real_data
def test_the_normalizer_is_whispers_own() -> None:
    assert scoring("en", TINY_EN).normalize("Mr. Brown's  COLOUR, twenty-one!") == "mister brown is color 21"
    assert scoring("fr", TINY_EN).normalize("L'été, déjà!").split() == ["l", "été", "déjà"]


def test_a_language_without_spaces_is_scored_by_characters(utterance: Callable[..., Utterance], buckets: AgeBuckets) -> None:
    chinese, german = scoring("zh"), scoring("de")
    assert (chinese.rate, german.rate) == ("CER", "WER")
    child = utterance("a", text="我喜欢猫。", duration_sec=0.1)
    one = compare([child], ["我喜欢狗"], chinese)[0]
    assert (one.words, one.substitutions, one.deletions, one.insertions) == (4, 1, 0, 0)
    assert (one.characters, one.character_errors) == (4, 1), "spaces that the normalizer puts in are no characters"
    result = score([one], buckets)
    assert result["wer"] == result["cer"] == 0.25
    assert compare([child], ["我喜欢狗"], german)[0].words == 1
    table = result_table(result, result, chinese.rate)
    assert table.columns == ["age", "utterances", "characters", "CER before", "after", "change"]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_transcripts_that_loop_are_counted(utterance: Callable[..., Utterance], buckets: AgeBuckets) -> None:
    pair = [
        utterance("a", text="no no no no no no", duration_sec=0.1),
        utterance("b", text="frog can see", duration_sec=0.1),
    ]
    said = ["no no no no no no", "frog can see see see see see see"]
    assert score(compare(pair, said, AS_IT_IS), buckets)["runaways"] == 1
