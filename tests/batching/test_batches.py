from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hydra
import numpy as np
import pytest
import torch

from kidasr.batching.batches import EpochBatches
from kidasr.batching.collator import Collator
from kidasr.batching.training_set import TrainingSet
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import Example
from tests.conftest import composed


def test_labels_are_padded_with_what_the_loss_passes_over_and_lose_the_start_token() -> None:
    features = torch.zeros(80, 300)
    batch = Collator(start_token_id=9)(
        [{"input_features": features, "labels": [9, 1, 2, 3]}, {"input_features": features, "labels": [9, 4]}]
    )
    assert batch["input_features"].shape == (2, 80, 300)
    assert batch["labels"].tolist() == [[1, 2, 3], [4, -100, -100]]


def test_shorter_features_are_padded_with_zeros_and_masked() -> None:
    examples: list[Example] = [{"input_features": torch.ones(80, frames), "labels": [1]} for frames in (6, 10)]
    batch = Collator(start_token_id=9, mask=True)(examples)
    assert batch["input_features"].sum(dim=(1, 2)).tolist() == [480, 800]
    assert batch["frame_mask"].tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert "frame_mask" not in Collator(start_token_id=9, mask=True)(examples[:1])
    assert "frame_mask" not in Collator(start_token_id=9, mask=False)(examples)


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
    def drawn(max_batch_sec: float, *overrides: str) -> list[np.ndarray]:
        batches = epoch_batches(children, *overrides, max_batch_sec=max_batch_sec)
        return [seconds(children, batch) for batch in batches.batches(0)]

    short = ("padding=longest", "padding.trailing_silence_sec=0.5")
    some = [batch + 0.5 for batch in drawn(30, *short)]
    assert all(len(batch) * batch.max() <= 30 for batch in some)
    assert {len(batch) for batch in some} > {3, 5, 8}
    assert np.mean([len(batch) * batch.max() for batch in some]) > 20, "and not much fewer"
    assert all(len(batch) == 1 for batch in drawn(4, *short) if batch.max() > 3.5), "a longer one comes alone"
    assert {len(batch) for batch in drawn(240)} == {8, 3}, "of windows of 30 s"


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
