import logging
from collections.abc import Callable
from itertools import pairwise

import pytest

from kidasr.batching.curriculum import Curriculum
from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.manifest import Utterance

AGES = ["13+", "3-4", UNKNOWN, "7-8", "3-4", "7-8", "5-6", "3-4"] * 4


@pytest.fixture
def children(utterance: Callable[..., Utterance]) -> list[Utterance]:
    one = utterance(duration_sec=0.1)
    return [
        Utterance(str(n), "s", one.audio_path, "a", bucket, None, None, None, None, "m:1") for n, bucket in enumerate(AGES)
    ]


@pytest.mark.parametrize(
    ("order", "expected"),
    [("youngest_first", ["3-4", "5-6", "7-8", "13+", UNKNOWN]), ("oldest_first", ["13+", "7-8", "5-6", "3-4", UNKNOWN])],
)
def test_the_order_is_by_bucket_unknown_last_and_shuffled_within(
    children: list[Utterance], buckets: AgeBuckets, order: str, expected: list[str]
) -> None:
    first, second = (Curriculum(order).epoch_order(children, buckets, 1, epoch) for epoch in (0, 1))
    assert list(dict.fromkeys(AGES[place] for place in first)) == expected
    assert [AGES[place] for place in first] == [AGES[place] for place in second]
    assert list(first) != list(second)
    assert sorted(first) == list(range(len(children)))


@pytest.mark.parametrize("order", ["random", "youngest_first"])
def test_the_order_is_a_function_of_seed_and_epoch(children: list[Utterance], buckets: AgeBuckets, order: str) -> None:
    orders = {
        (seed, epoch): tuple(Curriculum(order).epoch_order(children, buckets, seed, epoch))
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert orders[1, 1] == tuple(Curriculum(order).epoch_order(children, buckets, 1, 1))


def test_random_mixes_ages(children: list[Utterance], buckets: AgeBuckets) -> None:
    ages = [AGES[place] for place in Curriculum("random").epoch_order(children, buckets, 1, 0)]
    assert sum(one != next_one for one, next_one in pairwise(ages)) > len(set(AGES))


def test_the_distribution_is_logged_and_an_order_without_ages_is_a_warning(
    children: list[Utterance], buckets: AgeBuckets, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Curriculum("youngest_first").describe(children, buckets)
    assert "3-4: 12 → 5-6: 4 → 7-8: 8 → 13+: 4 → unknown: 4" in caplog.text
    assert "WARNING" not in caplog.text
    Curriculum("youngest_first").describe([one for one in children if one.age_bucket == UNKNOWN], buckets)
    assert "curriculum.order=youngest_first: no utterance has an age" in caplog.text
