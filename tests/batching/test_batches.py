from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hydra
import numpy as np
import pytest
import torch

from kidasr.batching.batches import EpochBatches
from kidasr.batching.collator import PaddedBatch
from kidasr.batching.training_set import TrainingSet
from kidasr.config import check_config
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from tests.conftest import composed


def test_labels_are_padded_with_what_the_loss_passes_over_and_lose_the_start_token() -> None:
    features = torch.zeros(80, 300)
    batch = PaddedBatch(start_token_id=9)([features, features], [[9, 1, 2, 3], [9, 4]])
    assert batch["input_features"].shape == (2, 80, 300)
    assert batch["labels"].tolist() == [[1, 2, 3], [4, -100, -100]]


def test_shorter_features_are_padded_with_zeros_and_masked() -> None:
    features, labels = [torch.ones(80, frames) for frames in (6, 10)], [[1], [1]]
    batch = PaddedBatch(start_token_id=9, mask=True)(features, labels)
    assert batch["input_features"].sum(dim=(1, 2)).tolist() == [480, 800]
    assert batch["frame_mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert "frame_mask" not in PaddedBatch(start_token_id=9, mask=True)(features[:1], labels[:1])
    assert "frame_mask" not in PaddedBatch(start_token_id=9, mask=False)(features, labels)


@pytest.fixture
def children(utterance: Callable[..., Utterance]) -> list[Utterance]:
    """203 of three ages, of 1 to 9 s by their manifest."""
    rng, one = np.random.default_rng(1), utterance(duration_sec=0.1)
    ages = ("3-4", "7-8", "unknown")
    return [
        replace(one, utterance_id=str(number), age_bucket=ages[rng.integers(3)], duration_sec=rng.uniform(1, 9))
        for number in range(203)
    ]


def epoch_batches(children: list[Utterance], *overrides: str, **options: Any) -> EpochBatches:
    cfg = composed(*overrides)
    curriculum, padding = hydra.utils.instantiate(cfg.curriculum), hydra.utils.instantiate(cfg.padding)
    return EpochBatches(TrainingSet(children, AgeBuckets()), curriculum, 1, padding, 30.0, batch_size=8, **options)


def seconds(children: list[Utterance], batch: np.ndarray) -> np.ndarray:
    return np.array([children[place].duration_sec for place in batch])


@pytest.mark.parametrize("curriculum", ["none", "age", "age_oldest_first"])
@pytest.mark.parametrize("padding", ["max_length", "longest"])
@pytest.mark.parametrize("max_batch_sec", [None, 30, 240])
def test_every_epoch_draws_each_utterance_once_in_as_many_batches_in_the_curriculums_order(
    children: list[Utterance], curriculum: str, padding: str, max_batch_sec: float | None
) -> None:
    batches = epoch_batches(children, f"curriculum={curriculum}", f"padding={padding}", max_batch_sec=max_batch_sec)
    ranks = batches.curriculum.ranks(batches.training_set, epoch=0)
    seen = set()
    for epoch in (0, 1, 5):
        drawn = batches.batches(epoch)
        assert len(drawn) == len(batches)
        assert sorted(np.concatenate(drawn)) == list(range(203))
        assert (np.diff([ranks[batch].mean() for batch in drawn]) >= 0).all()
        assert sum(len(set(ranks[batch])) > 1 for batch in drawn) <= 2, "no batch but at a border is of two ages"
        seen.add(tuple(np.concatenate(drawn)))
    assert len(seen) == 3, "each in an order of its own"
    again = epoch_batches(children, f"curriculum={curriculum}", f"padding={padding}", max_batch_sec=max_batch_sec)
    assert all((one == other).all() for one, other in zip(again.batches(5), drawn, strict=True))


def test_batches_are_of_similar_length_and_in_random_order(children: list[Utterance]) -> None:
    drawn = [seconds(children, batch) for batch in epoch_batches(children, "padding=longest").batches(0)]
    assert len(drawn) == 26 and sorted(map(len, drawn))[:2] == [3, 8], "as many as without: 203 in eights"
    assert np.mean([np.ptp(batch) for batch in drawn]) < 0.1 * 8
    means = [batch.mean() for batch in drawn]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.5, "not from short to long"


def test_a_batch_has_no_more_seconds_than_it_may_its_padding_counted(children: list[Utterance]) -> None:
    def drawn(max_batch_sec: float, *overrides: str, views: int = 1) -> list[np.ndarray]:
        batches = epoch_batches(children, *overrides, max_batch_sec=max_batch_sec, views=views)
        return [seconds(children, batch) for batch in batches.batches(0)]

    short = ("padding=longest", "padding.trailing_silence_sec=0.5")
    some = [batch + 0.5 for batch in drawn(30, *short)]
    assert all(len(batch) * batch.max() <= 30 for batch in some)
    assert {len(batch) for batch in some} > {3, 5, 8}
    assert np.mean([len(batch) * batch.max() for batch in some]) > 20, "and not much fewer"
    assert all(len(batch) == 1 for batch in drawn(4, *short) if batch.max() > 3.5), "a longer one comes alone"
    assert {len(batch) for batch in drawn(240)} == {8, 3}, "of windows of 30 s"
    twice = drawn(60, *short, views=2)
    assert all(map(np.array_equal, drawn(30, *short), twice)), "each view counts"


@pytest.mark.parametrize("curriculum", ["age_staged", "duration"])
def test_windows_of_one_length_may_have_a_limit_whatever_is_drawn(children: list[Utterance], curriculum: str) -> None:
    """Only where batches are of similar lengths, their number would differ between epochs."""
    check_config(composed(f"curriculum={curriculum}", "padding=max_length", "trainer.max_batch_sec=90"))
    batches = epoch_batches(children, f"curriculum={curriculum}", "padding=max_length", max_batch_sec=90)
    assert [len(batches.batches(epoch)) for epoch in range(7)] == [68] * 7


def test_processes_share_the_batches_of_one(children: list[Utterance]) -> None:
    """Two draw what one draws; where there are fewer utterances than processes, one is drawn twice."""
    one = epoch_batches(children[:33], "padding=longest")
    first, second = (epoch_batches(children[:33], "padding=longest", processes=2, process=number) for number in (0, 1))
    for whole, left, right in zip(one, first, second, strict=True):
        assert set(left + right) == set(whole)
        assert len(left) == len(right) == max(1, len(whole) // 2)


def test_the_epoch_is_handed_in_with_every_utterance(children: list[Utterance]) -> None:
    batches = epoch_batches(children)
    for epoch in (0, 3):
        batches.current_epoch = lambda epoch=epoch: epoch  # type: ignore[misc]
        expected = batches.curriculum.order(batches.training_set, 1, epoch).tolist()
        assert [pair for batch in batches for pair in batch] == [(epoch, place) for place in expected]
