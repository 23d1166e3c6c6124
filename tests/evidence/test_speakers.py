"""Intervals of one run's error rate over children."""

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp, ttest_ind

from kidasr.evidence.speakers import gap_interval, rate_interval, speaker_sums
from tests.evidence.experiments import World, at_most, within


def test_speakers_of_equal_size_against_scipys_t_tests() -> None:
    """With as many words each, the rate is the mean of the speakers' rates."""
    errors = np.array([3, 5, 1, 8, 2])
    expected = ttest_1samp(errors / 10, 0).confidence_interval()
    found = rate_interval(list("abcde"), errors, [10] * 5)
    assert (found.value, found.low, found.high) == pytest.approx((0.38, expected.low, expected.high))
    young, old = (np.array([one, [10] * len(one)]) for one in ([4, 7, 6, 9], [1, 3, 2]))
    expected = ttest_ind(young[0] / 10, old[0] / 10, equal_var=False).confidence_interval()
    gap = gap_interval(young, old)
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))


def test_unequal_speakers_against_a_bootstrap_of_speakers() -> None:
    errors, words = World(speakers=60).errors(np.random.default_rng(1), [0])
    found = rate_interval(np.arange(60).astype(str), errors[:, 0], words)
    expected = bootstrap(
        (errors[:, 0], words),
        lambda errors, words, axis: errors.sum(axis=axis) / words.sum(axis=axis),
        paired=True,
        vectorized=True,
        rng=np.random.default_rng(2),
    )
    assert (found.high - found.low) / 2 / 2.001 == pytest.approx(expected.standard_error, rel=0.05)


@pytest.mark.parametrize("speakers", [2, 3, 5, 10, 40])
def test_a_rate_is_covered_however_few_the_speakers(speakers: int) -> None:
    rng, trials, missed, without = np.random.default_rng(speakers), 1000, 0, 0
    for _ in range(trials):
        chances = np.clip(rng.normal(0.3, 0.08, speakers), 0.02, 0.98)
        words = rng.integers(60, 160, speakers)
        errors = rng.binomial(words, chances)
        found = rate_interval(np.arange(speakers).astype(str), errors, words)
        missed += not found.low <= 0.3 <= found.high
        drawn = rng.integers(speakers, size=(200, speakers))
        low, high = np.quantile(errors[drawn].sum(axis=1) / words[drawn].sum(axis=1), [0.025, 0.975])
        without += not low <= 0.3 <= high
    assert at_most(missed / trials, 0.06, trials)
    # Percentiles of resampled speakers, which can't pass the extremes, do not hold it.
    assert speakers > 5 or not at_most(without / trials, 0.06, trials)


def test_what_can_not_be_known() -> None:
    assert rate_interval(["a", "a"], [1, 0], [5, 5]).ends is None
    assert rate_interval(["a", "b"], [0, 1], [0, 5]).ends is None, "one speaker with words"
    assert rate_interval(["a", "b"], [0, 3], [5, 5]).low == 0
    assert gap_interval(np.array([[1.0], [5.0]]), np.array([[1.0, 2.0], [5.0, 5.0]])).ends is None
    assert speaker_sums(["b", "a", "b"], [1, 2, 3], [4, 5, 6]).tolist() == [[2, 4], [5, 10]]
    assert within(0.05, 0.05, 100) and not within(0.5, 0.05, 100)
