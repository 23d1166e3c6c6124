import logging
from collections.abc import Callable
from itertools import pairwise

import pytest

from kidasr.batching.curriculum import AgeCurriculum, Curriculum
from kidasr.batching.training_set import TrainingSet
from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.manifest import Utterance

AGES = ["13+", "3-4", UNKNOWN, "7-8", "3-4", "7-8", "5-6", "3-4"] * 4


@pytest.fixture
def children(utterance: Callable[..., Utterance], buckets: AgeBuckets) -> TrainingSet:
    one = utterance(duration_sec=0.1)
    return TrainingSet(
        [
            Utterance(str(n), "s", one.audio_path, "a", bucket, None, n / 10, None, None, "m:1", {"score": str(n)})
            for n, bucket in enumerate(AGES)
        ],
        buckets,
    )


CURRICULA = {
    "random": Curriculum(),
    "youngest_first": AgeCurriculum("youngest_first"),
    "oldest_first": AgeCurriculum("oldest_first"),
}


@pytest.mark.parametrize(
    ("order", "expected"),
    [("youngest_first", ["3-4", "5-6", "7-8", "13+", UNKNOWN]), ("oldest_first", ["13+", "7-8", "5-6", "3-4", UNKNOWN])],
)
def test_the_order_is_by_bucket_unknown_last_and_shuffled_within(
    children: TrainingSet, order: str, expected: list[str]
) -> None:
    first, second = (CURRICULA[order].order(children, 1, epoch) for epoch in (0, 1))
    assert list(dict.fromkeys(AGES[place] for place in first)) == expected
    assert [AGES[place] for place in first] == [AGES[place] for place in second]
    assert list(first) != list(second)
    assert sorted(first) == list(range(len(children)))


@pytest.mark.parametrize("order", ["random", "youngest_first"])
def test_the_order_is_a_function_of_seed_and_epoch(children: TrainingSet, order: str) -> None:
    orders = {(seed, epoch): tuple(CURRICULA[order].order(children, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(set(orders.values())) == 4
    assert orders[1, 1] == tuple(CURRICULA[order].order(children, 1, 1))


def test_random_mixes_ages(children: TrainingSet) -> None:
    ages = [AGES[place] for place in Curriculum().order(children, 1, 0)]
    assert sum(one != next_one for one, next_one in pairwise(ages)) > len(set(AGES))


def test_the_distribution_is_logged_and_an_order_without_ages_is_a_warning(
    children: TrainingSet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    AgeCurriculum("youngest_first").describe(children)
    assert "3-4: 12 → 5-6: 4 → 7-8: 8 → 13+: 4 → unknown: 4" in caplog.text
    assert "WARNING" not in caplog.text
    unknown = [one for one in children.utterances if one.age_bucket == UNKNOWN]
    AgeCurriculum("youngest_first").describe(TrainingSet(unknown, children.buckets))
    assert "curriculum.order=youngest_first: no utterance has an age" in caplog.text
