"""Curricula besides the age curriculum: buckets that join over time, and easy utterances first."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kidasr.batching.batches import EpochBatches
from kidasr.batching.curriculum import Curriculum
from kidasr.batching.difficulty import DurationCurriculum, LossCurriculum
from kidasr.batching.staged import StagedAgeCurriculum
from kidasr.batching.training_set import TrainingSet
from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.features.padding import Padding
from kidasr.report.ages_drawn import ages_drawn

#: Ten utterances in a hundred each: the youngest and the unknown; the others are 20, 20 and 40.
AGES = {"3-4": 10, "5-6": 20, "7-8": 20, "9-10": 40, UNKNOWN: 10}


@pytest.fixture
def children(utterance: Callable[..., Utterance], buckets: AgeBuckets) -> TrainingSet:
    one, rng = utterance(duration_sec=0.1), np.random.default_rng(1)
    ages = rng.permutation([age for age, number in AGES.items() for _ in range(number)])
    return TrainingSet(
        [
            replace(one, utterance_id=str(number), age_bucket=str(age), duration_sec=float(rng.uniform(1, 9)))
            for number, age in enumerate(ages)
        ],
        buckets,
    )


def ages_of(children: TrainingSet, places: np.ndarray) -> Counter[str]:
    return Counter(children.utterances[place].age_bucket for place in places.tolist())


STAGES = {
    # Competence: 0.25, 0.44, 0.63, 0.81, 1; the buckets end at 0.1, 0.3, 0.5, 0.9, 1.
    "linear": [["3-4"], ["3-4", "5-6"], ["3-4", "5-6", "7-8"], ["3-4", "5-6", "7-8"], list(AGES)],
    # 0.25, 0.54, 0.73, 0.88, 1
    "root": [["3-4"], ["3-4", "5-6", "7-8"], ["3-4", "5-6", "7-8"], ["3-4", "5-6", "7-8"], list(AGES)],
}


@pytest.mark.parametrize("pacing", ["linear", "root"])
def test_ages_join_as_the_pacing_says_and_those_that_have_joined_are_repeated(children: TrainingSet, pacing: str) -> None:
    curriculum = StagedAgeCurriculum("youngest_first", pacing, first_share=0.25, epochs=4)  # type: ignore[arg-type]
    drawn = [curriculum.order(children, 1, epoch) for epoch in range(6)]
    assert [sorted(ages_of(children, order), key=list(AGES).index) for order in drawn[:5]] == STAGES[pacing]
    assert all(len(order) == len(children) for order in drawn), "the number of steps stays"
    for order in drawn:
        times = Counter(order.tolist()).values()
        assert max(times) - min(times) <= 1
    for epoch in (4, 5):
        assert (drawn[epoch] == Curriculum().order(children, 1, epoch)).all(), "then it is the random order"
    assert (drawn[1] == curriculum.order(children, 1, 1)).all() and (drawn[1] != curriculum.order(children, 2, 1)).any()


def test_competence_is_that_of_the_paper() -> None:
    linear, root = (StagedAgeCurriculum("youngest_first", pacing, 0.1, 10) for pacing in ("linear", "root"))
    epochs = np.arange(12)
    assert [linear.competence(epoch) for epoch in range(12)] == pytest.approx(np.minimum(1, epochs * 0.9 / 10 + 0.1))
    assert [root.competence(epoch) for epoch in range(12)] == pytest.approx(
        np.minimum(1, np.sqrt(epochs * 0.99 / 10 + 0.01))
    )


def test_the_oldest_may_come_first_and_the_unknown_are_last_in_any_case(
    children: TrainingSet, caplog: pytest.LogCaptureFixture
) -> None:
    curriculum = StagedAgeCurriculum("oldest_first", "linear", 0.0, 2)
    assert set(ages_of(children, curriculum.order(children, 1, 0))) == {"9-10"}, "the first is in, though it is more"
    assert UNKNOWN not in ages_of(children, curriculum.order(children, 1, 1))
    with caplog.at_level(logging.INFO):
        curriculum.describe(children)
    assert "buckets that take part: epoch 1: 9-10 (40%); epoch 3: 3-4, 5-6, 7-8, 9-10, unknown (100%)" in caplog.text
    assert not list(curriculum.warnings(2.1)) and "never trained on" in next(iter(curriculum.warnings(2)))


def parts(values: np.ndarray, order: np.ndarray, number: int) -> list[np.ndarray]:
    return np.array_split(values[order], number)


def test_short_utterances_come_first_in_the_first_epoch_alone(children: TrainingSet) -> None:
    curriculum = DurationCurriculum(parts=5, epochs=1)
    first, second = (curriculum.order(children, 1, epoch) for epoch in (0, 1))
    of_parts = parts(children.durations_sec, first, 5)
    assert all(one.max() <= other.min() for one, other in pairwise(of_parts))
    assert not all((np.diff(one) >= 0).all() for one in of_parts), "shuffled within"
    assert (second == Curriculum().order(children, 1, 1)).all()


@pytest.mark.parametrize("is_short", [False, True])
def test_the_first_batches_have_a_lower_loss_of_the_pretrained_model_than_the_last(
    children: TrainingSet, is_short: bool
) -> None:
    padding = Padding("longest" if is_short else "max_length", 0.2, mask=True, group_by_length=True)
    batches = EpochBatches(children, LossCurriculum(parts=4, epochs=None), 1, padding, 30.0, batch_size=5)
    unknown = len(batches)
    children.losses = np.random.default_rng(2).gamma(2.0, size=len(children))
    for epoch in (0, 3):
        losses = [children.losses[batch] for batch in batches.batches(epoch)]
        assert len(losses) == unknown == 20
        quarters = [np.concatenate(losses[start : start + 5]) for start in range(0, 20, 5)]
        assert all(one.max() <= other.min() for one, other in pairwise(quarters))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_ages_of_a_report_are_those_that_the_batches_have(children: TrainingSet, accumulated: int) -> None:
    padding = Padding("max_length", 0.0, mask=False, group_by_length=False)
    curriculum = StagedAgeCurriculum("youngest_first", "linear", 0.25, 4)
    batches = EpochBatches(children, curriculum, 1, padding, 30.0, batch_size=10)
    steps = {1: 45, 3: 18}[accumulated]
    drawn = ages_drawn(batches, accumulated, steps)
    assert drawn.epoch_steps == {1: 10, 3: 4}[accumulated] and drawn.ages == list(AGES) and drawn.edges[-1] == steps
    weights = np.diff(drawn.edges)
    for epoch in range(4):
        of_epoch = [drawn.epoch_steps * epoch <= edge < drawn.epoch_steps * (epoch + 1) for edge in drawn.edges[:-1]]
        shares = np.average(drawn.shares[of_epoch], axis=0, weights=weights[of_epoch])
        present = [age for age, share in zip(drawn.ages, shares, strict=True) if share]
        assert present == STAGES["linear"][epoch]
    assert drawn.shares.sum(axis=1) == pytest.approx(1)
