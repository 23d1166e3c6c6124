import numpy as np
import pytest
from scipy.stats import ttest_1samp

from kidasr.evidence.before_after import change_of
from kidasr.recognition.score import Prediction


def heard(errors: np.ndarray, words: int, speakers: np.ndarray) -> list[Prediction]:
    return [
        Prediction(f"u{n}", str(speaker), "13+", "", "", "", "", words, 9, int(error), 0, 0, 0, "", 1.0)
        for n, (error, speaker) in enumerate(zip(errors, speakers, strict=True))
    ]


def test_a_set_is_called_worse_if_its_speakers_say_so_and_not_by_chance() -> None:
    rng = np.random.default_rng(1)
    speakers = np.repeat(np.arange(20), 10)
    before, same, worse = (rng.binomial(6, rate, 200) for rate in (0.1, 0.1, 0.2))
    found = change_of(before.tolist(), heard(worse, 6, speakers))
    of_speakers = (worse - before).reshape(20, 10).sum(axis=1) / 60  # as many words each: then it is the paired t-test
    expected = ttest_1samp(of_speakers, 0).confidence_interval()
    assert found is not None and (found["verdict"], found["speakers"]) == ("worse", 20)
    assert found["delta_wer"] == pytest.approx(of_speakers.mean())
    assert found["ci95"] == pytest.approx([expected.low, expected.high])
    by_chance = change_of(before.tolist(), heard(same, 6, speakers))
    better = change_of(worse.tolist(), heard(before, 6, speakers))
    assert by_chance and by_chance["verdict"] == "undecided" and better and better["verdict"] == "better"
    # One speaker's utterances are alike: however many, they say nothing of others.
    alone = change_of(before.tolist(), heard(worse, 6, np.zeros(200, int)))
    assert alone and alone["ci95"] is None and alone["verdict"] == "undecided"
    assert change_of(None, heard(worse, 6, speakers)) is None
    assert change_of([1, 2], heard(worse, 6, speakers)) is None, "a manifest that has changed since"
