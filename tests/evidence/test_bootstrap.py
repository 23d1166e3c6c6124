"""Coverage on simulated corpora with correlated speakers: intervals by speaker reach 95%, intervals by utterance do not."""

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, t

from kidasr.evidence.bootstrap import (
    replicate_rates,
    replicate_sums,
    seed_error,
    speaker_sums,
    summarize,
    wer_difference,
    wer_interval,
)
from kidasr.evidence.significance import mapsswe

SPEAKERS, UTTERANCES, CORPORA = 40, 25, 300


def corpus(rng: np.random.Generator, difference: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Speakers, errors of a run and of its baseline, words. Speakers differ in difficulty and in how much the run helps."""
    speakers = np.repeat(np.arange(SPEAKERS), UTTERANCES)
    words = rng.integers(3, 9, len(speakers))
    hard, gain = rng.normal(0.3, 0.08, SPEAKERS)[speakers], rng.normal(difference, 0.06, SPEAKERS)[speakers]
    baseline = rng.binomial(words, np.clip(hard, 0.02, 0.98))
    run = rng.binomial(words, np.clip(hard + gain, 0.02, 0.98))
    return speakers.astype(str), run, baseline, words


def test_the_interval_of_a_difference_covers_it_95_times_in_100_and_one_without_speakers_does_not() -> None:
    rng, covered, covered_without = np.random.default_rng(1), 0, 0
    for _ in range(CORPORA):
        speakers, run, baseline, words = corpus(rng, -0.02)
        found = wer_difference(speakers, run, baseline, words, replicates=400)
        covered += found.low <= -0.02 <= found.high
        alone = np.arange(len(speakers)).astype(str)
        found = wer_difference(alone, run, baseline, words, replicates=400)
        covered_without += found.low <= -0.02 <= found.high
    assert 0.91 <= covered / CORPORA <= 0.98
    assert covered_without / CORPORA < 0.88


def test_the_interval_of_a_rate_covers_it() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(CORPORA):
        speakers, _, baseline, words = corpus(rng, 0)
        found = wer_interval(speakers, baseline, words, replicates=400)
        covered += found.low <= 0.3 <= found.high
    assert 0.91 <= covered / CORPORA <= 0.98


def test_where_nothing_differs_few_intervals_say_that_it_does() -> None:
    rng, found = np.random.default_rng(3), 0
    for _ in range(CORPORA):
        speakers, run, baseline, words = corpus(rng, 0)
        one = wer_difference(speakers, run, baseline, words, replicates=400)
        found += not one.low <= 0 <= one.high
    assert 0.02 <= found / CORPORA <= 0.09


def test_shuffled_labels_are_told_apart_once_in_twenty_and_far_more_often_without_speakers() -> None:
    """A run that helps some speakers and harms others; for each speaker a coin decides which of the two is the run."""
    rng, found, found_without, tested = np.random.default_rng(5), 0, 0, 0
    speakers, run, baseline, words = corpus(rng, 0)
    alone = np.arange(len(speakers)).astype(str)
    for _ in range(CORPORA):
        swapped = rng.random(SPEAKERS)[np.repeat(np.arange(SPEAKERS), UTTERANCES)] < 0.5
        ours, theirs = np.where(swapped, baseline, run), np.where(swapped, run, baseline)
        one = wer_difference(speakers, ours, theirs, words, replicates=400)
        found += not one.low <= 0 <= one.high
        one = wer_difference(alone, ours, theirs, words, replicates=400)
        found_without += not one.low <= 0 <= one.high
        tested += mapsswe(speaker_sums(speakers, ours - theirs)[0]) < 0.05
    assert 0.02 <= found / CORPORA <= 0.085
    assert 0.02 <= tested / CORPORA <= 0.085
    assert found_without / CORPORA > 0.12


def test_the_interval_of_few_speakers_covers_what_it_should() -> None:
    rng, covered = np.random.default_rng(6), 0
    for _ in range(CORPORA):
        speakers, run, baseline, words = corpus(rng, -0.02)
        few = np.isin(speakers, np.unique(speakers)[:6])
        found = wer_difference(speakers[few], run[few], baseline[few], words[few], replicates=1000)
        covered += found.low <= -0.02 <= found.high
    assert covered / CORPORA >= 0.91


def test_the_spread_between_seeds_is_pooled_over_all_configurations() -> None:
    """Variances 2, 0 and 6 with 2, 2 and 3 seeds pool to 14 / 4; the difference of the first two has 3.5 (1/2 + 1/2)."""
    rates = {"a": [1.0, 3.0], "b": [5.0, 5.0], "c": [0.0, 0.0, np.sqrt(18)]}
    found = seed_error(rates, {"a": 1, "b": -1})
    assert found is not None and found.degrees == 4
    assert found.standard_error == pytest.approx(np.sqrt(3.5))
    assert seed_error({"a": [1.0], "b": [2.0]}, {"a": 1, "b": -1}) is None


def test_an_interval_with_two_seeds_of_four_configurations_covers_it_and_one_that_forgets_the_seeds_does_not() -> None:
    """A run's WER depends on its seed too; only the second configuration truly differs, by 2 points."""
    rng, covered, covered_without = np.random.default_rng(9), 0, 0
    for _ in range(CORPORA):
        speakers = np.repeat(np.arange(SPEAKERS), UTTERANCES)
        words = rng.integers(3, 9, len(speakers))
        hard = rng.normal(0.3, 0.08, SPEAKERS)[speakers]
        runs = {}
        for name, change in (("a", 0), ("b", -0.02), ("c", 0), ("d", 0)):
            chances = [np.clip(hard + change + rng.normal(0, 0.01), 0.02, 0.98) for _ in range(2)]
            runs[name] = [rng.binomial(words, chance) for chance in chances]
        sums = speaker_sums(speakers, np.mean(runs["b"], axis=0) - np.mean(runs["a"], axis=0), words)
        replicates = replicate_rates(sums, 400, seed=1)
        rates = {name: [one.sum() / words.sum() for one in some] for name, some in runs.items()}
        found = summarize(sums, replicates, seed_error(rates, {"b": 1, "a": -1}))
        covered += found.low <= -0.02 <= found.high
        found = summarize(sums, replicates)
        covered_without += found.low <= -0.02 <= found.high
    assert 0.91 <= covered / CORPORA <= 0.99
    assert covered_without / CORPORA < 0.85


def test_a_single_speaker_says_nothing_of_others() -> None:
    assert wer_difference(["a", "a"], [1, 0], [1, 1], [5, 5]).ends is None


def test_a_difference_as_large_as_detectable_is_detected_four_times_in_five() -> None:
    rng, detected = np.random.default_rng(4), 0
    detectable = [wer_difference(*corpus(rng, 0), replicates=400).detectable for _ in range(50)]
    for _ in range(CORPORA):
        one = wer_difference(*corpus(rng, -float(np.mean(detectable))), replicates=400)
        detected += one.high < 0
    assert 0.72 <= detected / CORPORA <= 0.89


def test_values_against_a_computation_of_another_kind() -> None:
    """Two speakers: of the four draws with replacement, two contain only one speaker; the percentiles are those two."""
    speakers, words = ["a", "a", "b"], [4, 6, 10]
    found = wer_difference(speakers, [1, 0, 2], [1, 1, 6], words, replicates=2000)
    assert found.value == pytest.approx((3 - 8) / 20)
    assert (found.low, found.high) == pytest.approx(((2 - 6) / 10, (1 - 2) / 10))
    assert found.p_improvement == 1
    sums = speaker_sums(speakers, [1, 0, 2], words)
    assert sums.tolist() == [[1, 2], [10, 10]]
    drawn = replicate_sums(sums, 4000, seed=1)
    shares = {pair: np.mean((drawn == pair).all(axis=1)) for pair in ((2, 20), (3, 20), (4, 20))}
    assert shares == pytest.approx({(2, 20): 0.25, (3, 20): 0.5, (4, 20): 0.25}, abs=0.03)
    assert (replicate_sums(sums, 4000, seed=1) == drawn).all()


def test_an_interval_against_scipys_bootstrap_of_the_same_speakers() -> None:
    speakers, run, baseline, words = corpus(np.random.default_rng(7), -0.02)
    found = wer_difference(speakers, run, baseline, words, replicates=20_000)
    tail = norm.cdf(-np.sqrt(SPEAKERS / (SPEAKERS - 1)) * t.ppf(0.975, SPEAKERS - 1))
    expected = bootstrap(
        tuple(speaker_sums(speakers, run - baseline, words)),
        lambda errors, words, axis: errors.sum(axis=axis) / words.sum(axis=axis),
        n_resamples=20_000,
        paired=True,
        vectorized=True,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=np.random.default_rng(8),
    )
    assert found.ends == pytest.approx(list(expected.confidence_interval), abs=0.0007)
    spread = expected.standard_error * np.sqrt(SPEAKERS / (SPEAKERS - 1))
    assert found.standard_error == pytest.approx(spread, rel=0.03)


def test_an_equal_run_is_as_likely_better_as_worse_and_silence_is_no_error() -> None:
    found = wer_difference(["a", "b"], [1, 2], [1, 2], [5, 5])
    assert (found.value, found.low, found.high, found.p_improvement) == (0, 0, 0, 0.5)
    assert wer_interval(["a", "b"], [0, 1], [0, 5]).low == 0
