"""The sentences that conclude a comparison."""

from typing import Any

import pytest

from kidasr.report.verdict import TOO_NARROW, about_seeds, about_set, about_spread, ages_that_differ, verdict


def pair(low: float, high: float, said: str = "undecided", **more: Any) -> dict[str, Any]:
    return {
        "delta_wer": (low + high) / 2,
        "ci95": [low, high],
        "detectable": 0.036,
        "comparisons": 5,
        "p": 0.004,
        "p_corrected": 0.012,
        "verdict": said,
        "seeds": [2, 2],
        "children": {"p_mapsswe": 0.2, "p_holm": 0.3, "ci95": None},
        **more,
    }


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            pair(-0.029, 0.021),
            "-0.4 points of WER (95% interval -2.9 to +2.1): undecided "
            "(a true difference of 3.6 points would have been shown with 80% probability)",
        ),
        (
            pair(-0.05, -0.01, "better"),
            "-3.0 points of WER (95% interval -5.0 to -1.0): significantly better "
            "(p = 0.012 after correction for 5 comparisons)",
        ),
        (
            pair(0.01, 0.05, "worse", p_corrected=0.0004),
            "+3.0 points of WER (95% interval +1.0 to +5.0): significantly worse "
            "(p < 0.001 after correction for 5 comparisons)",
        ),
        (
            pair(-0.05, -0.01, p_corrected=0.08),
            "-3.0 points of WER (95% interval -5.0 to -1.0): undecided, p = 0.080 after correction for 5 comparisons "
            "(a true difference of 3.6 points would have been shown with 80% probability)",
        ),
        (pair(-0.05, -0.01, ci95=None), "-3.0 points of WER: a single speaker, so no interval"),
        (pair(-0.9, 0.8), "-5.0 points of WER: undecided, not enough data"),
        (pair(0, 0), "+0.0 points of WER: not a single error more or less"),
    ],
)
def test_the_verdict_is_that_of_the_corrected_p_value(one: dict[str, Any], sentence: str) -> None:
    assert verdict(one) == sentence


def test_one_seed_says_what_can_be_said_of_it() -> None:
    one = pair(-0.05, -0.01, "one seed", ci95=None, p=None, p_corrected=None)
    sentence = verdict(one, speakers=40)
    assert sentence.startswith("-3.0 points of WER, with one seed: not even these very runs differ by more than chance")
    assert "seeds each would tell (if seeds differ as usual, by" in sentence and "significant" not in sentence
    one["children"]["p_holm"] = 0.01
    assert "these very runs differ on these speakers (p = 0.010 over speakers), but another seed may" in verdict(one)
    tiny = verdict({**one, "delta_wer": -0.0005}, speakers=40)
    assert "More than 50 seeds would be needed" in tiny


def test_unknown_speakers_are_said_beside_every_verdict() -> None:
    for one in (pair(-0.05, -0.01, "better"), pair(-0.029, 0.021), pair(0, 0, "one seed", ci95=None, p=None)):
        assert verdict({**one, "speakers_unknown": True}) == f"{verdict(one)}; {TOO_NARROW}"
    assert "too narrow" not in verdict(pair(-0.05, -0.01, "better"))


def test_a_verdict_names_its_rate_and_a_single_comparison_is_not_corrected() -> None:
    sentence = verdict(pair(-0.05, -0.01, "better", comparisons=1), rate="CER")
    assert sentence.startswith("-3.0 points of CER") and sentence.endswith("significantly better (p = 0.012)")


def test_it_says_whether_seed_variance_is_included() -> None:
    assert "nothing can be called significant" in about_seeds([pair(0, 1, "one seed", run="h1")])
    some = [pair(0, 1, "one seed", run="h1"), pair(0, 1, run="h2")]
    assert about_seeds(some).startswith("One seed of these or of the baseline, so no interval: h1.")
    assert "effects take their error" in about_seeds([pair(0, 1, "one seed", run="h1")], [pair(0, 1)])
    assert "include the spread between speakers and between seeds" in about_seeds([pair(0, 1)])


def test_it_says_where_the_uncertainty_comes_from_and_what_would_shrink_it() -> None:
    seeds = pair(0, 1, spread={"children": 0.002, "seeds": 0.009, "both": 0.001})
    assert "seeds 0.9" in about_spread([seeds]) and "more seeds" in about_spread([seeds])
    assert "more speakers in the set" in about_spread([pair(0, 1, spread={"children": 0.02, "seeds": 0, "both": 0})])
    assert about_spread([pair(0, 1, spread=None)]) == ""


def test_it_says_which_set_was_compared_and_what_chose_the_checkpoints() -> None:
    choice = {"evaluations": 10, "utterances": 200, "wer": 0.2, "optimism": 0.006, "spread": 0.004}
    runs = [
        {"configuration": name, "choice": {**choice, "optimism": optimism}, "utterances": 800}
        for name, optimism in (("legacy", 0.002), ("aligned", 0.01))
    ]
    on_validation = about_set("validation", runs)
    assert "200 of whose 800 utterances chose the checkpoints" in on_validation and "about 0.6 points lower" in on_validation
    assert "on other utterances (legacy 0.2, aligned 1.0)" in on_validation
    assert "which chose no checkpoint" in about_set("test", runs)
    assert "which chose the checkpoints" in about_set("validation", [{"choice": None}])


def test_single_ages_are_named_only_where_the_pair_has_a_verdict() -> None:
    of_age = {"pooled": -0.02, "ci95": [-0.035, -0.005]}
    by_age = {"3-4": of_age, "5-6": {"pooled": 0.0, "ci95": [-0.01, 0.01]}, "13+": {"pooled": None, "ci95": None}}
    assert ages_that_differ(pair(-0.05, -0.01, "better", by_age=by_age)) == ["3-4: -2.0 (-3.5 to -0.5)"]
    assert ages_that_differ(pair(-0.05, 0.01, by_age=by_age)) == []
