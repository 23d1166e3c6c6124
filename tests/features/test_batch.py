from collections.abc import Callable

import numpy as np
import torch

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.curriculum import Curriculum
from kidasr.corpus.manifest import Utterance
from kidasr.features.batch import Collator, EpochSampler, similar_lengths_together
from kidasr.features.dataset import Example


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


def test_batches_are_of_similar_length_in_random_order_within_the_curriculums_buckets() -> None:
    rng = np.random.default_rng(1)
    durations_sec, ranks = rng.uniform(1, 9, 1003), rng.integers(0, 3, 1003)
    for places in (ranks, np.zeros_like(ranks)):
        order = rng.permutation(1003)
        order = order[np.argsort(places[order], kind="stable")]
        grouped = similar_lengths_together(order, durations_sec, places, 8, np.random.default_rng(2))
        assert sorted(grouped) == list(range(1003))
        assert (np.diff(places[grouped]) >= 0).all(), "buckets in order"
        batches = [durations_sec[grouped[first : first + 8]] for first in range(0, 1000, 8)]
        assert np.mean([np.ptp(batch) for batch in batches]) < 0.1 * 8
        means = [batch.mean() for batch in batches]
        assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.4, "not from short to long"
        again = similar_lengths_together(order, durations_sec, places, 8, np.random.default_rng(2))
        assert (again == grouped).all()


def test_the_sampler_hands_the_epoch_in(utterance: Callable[..., Utterance], buckets: AgeBuckets) -> None:
    utterances = [utterance(str(number), duration_sec=0.1) for number in range(8)]
    curriculum, epoch = Curriculum("random"), 0
    sampler = EpochSampler(utterances, curriculum, buckets, seed=1, current_epoch=lambda: epoch)
    for epoch in (0, 3):
        expected = curriculum.epoch_order(utterances, buckets, 1, epoch).tolist()
        assert list(sampler) == [(epoch, place) for place in expected]
    assert len(sampler) == 8
