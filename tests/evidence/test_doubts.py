"""Warnings about a comparison."""

from dataclasses import replace
from itertools import combinations

import numpy as np

from kidasr.evidence.differences import Differences
from kidasr.evidence.doubts import doubts
from tests.evidence.experiments import World, as_runs

FACTORS = ("a", "b", "c")
FULL = {"+".join(one) or "baseline": frozenset(one) for size in range(4) for one in combinations(FACTORS, size)}


def found(errors: np.ndarray, words: np.ndarray, names: list[str], on: dict[str, frozenset[str]] | None = None) -> list[str]:
    return list(doubts(Differences(as_runs(errors, words, names), names[0], on), on or {}))


def test_an_ordinary_comparison_leaves_no_doubt() -> None:
    errors, words = World().errors(np.random.default_rng(1), np.repeat(np.arange(8), 2))
    assert found(errors, words, [name for name in FULL for _ in range(2)], FULL) == []


def test_a_run_far_from_the_others_and_a_child_with_most_words_are_named() -> None:
    errors, words = World().errors(np.random.default_rng(1), [0, 0, 1, 1])
    errors[:, 3] = words
    assert [
        "run2: an error rate of 100.0%, far from the others'" in one for one in found(errors, words, ["a", "a", "b", "b"])
    ] == [True]
    words[0] += words.sum()
    assert any("speaker s0000 has 5" in one for one in found(errors[:, :3], words, ["a", "a", "b"]))


def test_runaways_that_make_a_difference_are_named() -> None:
    errors, words = World().errors(np.random.default_rng(1), [0, 0, 1, 1])
    errors[7, 3] += 90
    groups = as_runs(errors, words, ["a", "a", "b", "b"])
    (one, run) = groups["b"]
    groups["b"] = [one, replace(run, hypotheses=["and so " * 45 if place == 7 else "" for place in range(len(words))])]
    (said,) = doubts(Differences(groups, "a"), {})
    assert (
        said.startswith(f"1 runaway transcript of b, seed 2 ({errors[7, 3]} errors) make 3.")
        and "points of its rate" in said
    )


def test_few_speakers_are_named() -> None:
    errors, words = World(speakers=2).errors(np.random.default_rng(1), [0, 0, 1, 1])
    assert found(errors, words, ["a", "a", "b", "b"]) == ["2 speaker(s): too few for a verdict; expected: 3 or more"]


def test_a_factorial_with_a_failed_configuration_says_so() -> None:
    left = {name: on for name, on in FULL.items() if name != "a+c"}
    errors, words = World().errors(np.random.default_rng(1), range(7))
    said = found(errors, words, list(left), left)
    assert said == ["no effects of the factors, since 1 configuration(s) of the factorial are missing: a+c"]
    one_at_a_time = {name: on for name, on in FULL.items() if len(on) < 2}
    assert found(errors[:, :4], words, list(one_at_a_time), one_at_a_time) == []
