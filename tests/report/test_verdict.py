"""The sentences that conclude a comparison."""

from typing import Any

import pytest

from kidasr.report.verdict import about_seeds, ages_that_differ, verdict


def pair(low: float, high: float, p_holm: float = 0.01, **more: Any) -> dict[str, Any]:
    return {
        "delta_wer": (low + high) / 2,
        "ci95": [low, high],
        "detectable": 0.036,
        "p_holm": p_holm,
        "seeds": [1, 1],
        **more,
    }


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            pair(-0.029, 0.021),
            "-0.4 points of WER (95% interval -2.9 to +2.1): no difference found "
            "(a true difference of 3.6 points would have been found with 80% probability)",
        ),
        (pair(-0.05, -0.01), "-3.0 points of WER (95% interval -5.0 to -1.0): significantly better"),
        (pair(0.01, 0.05), "+3.0 points of WER (95% interval +1.0 to +5.0): significantly worse"),
        (
            pair(-0.05, -0.01, p_holm=0.08),
            "-3.0 points of WER (95% interval -5.0 to -1.0): better, but not significantly so "
            "(p = 0.08, MAPSSWE, Holm-corrected for 5 comparisons)",
        ),
        (pair(-0.05, -0.01, ci95=None), "-3.0 points of WER: a single speaker, so no interval"),
    ],
)
def test_the_verdict_needs_the_interval_and_the_p_value(one: dict[str, Any], sentence: str) -> None:
    assert verdict(one, comparisons=5) == sentence


def test_a_verdict_names_its_rate_and_a_single_comparison_is_not_corrected() -> None:
    sentence = verdict(pair(-0.05, -0.01, p_holm=0.08), comparisons=1, rate="CER")
    assert sentence.startswith("-3.0 points of CER") and sentence.endswith("(p = 0.08, MAPSSWE)")


def test_it_says_whether_seed_variance_is_included() -> None:
    assert about_seeds([pair(0, 1)]) == "One seed each: seed variance is not included, so the intervals are too narrow."
    assert "include the variance between speakers and between seeds" in about_seeds([pair(0, 1), pair(0, 1, seeds=[2, 1])])


def test_ages_whose_own_interval_excludes_zero() -> None:
    by_age = {"3-4": pair(-0.035, -0.005), "5-6": pair(-0.01, 0.01), "13+": pair(0, 0, ci95=None)}
    assert ages_that_differ({"by_age": by_age}) == ["3-4: -2.0 (-3.5 to -0.5)"]
