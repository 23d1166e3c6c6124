"""Batches, and the order they are drawn in."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.curriculum import Curriculum
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import Example

#: Label that the loss passes over (PyTorch's cross entropy).
IGNORED_LABEL = -100


class EpochSampler(Sampler[tuple[int, int]]):
    """Draws ``(epoch, place)`` in the curriculum's order of the epoch.

    Args:
        utterances: The training set.
        curriculum: Gives the order.
        buckets: The run's age buckets.
        seed: The run's seed.
        current_epoch: Tells the epoch that is about to start. The trainer's own state knows it also in the epoch in which
            a run was resumed, which a call of ``set_epoch`` may not reach.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        curriculum: Curriculum,
        buckets: AgeBuckets,
        seed: int,
        current_epoch: Callable[[], int],
    ):
        self.utterances = utterances
        self.curriculum = curriculum
        self.buckets = buckets
        self.seed = seed
        self.current_epoch = current_epoch

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.current_epoch()
        order = self.curriculum.epoch_order(self.utterances, self.buckets, self.seed, epoch)
        return ((epoch, place) for place in order.tolist())


class Collator:
    """Puts examples into a batch: features as they are, labels padded on the right.

    The model puts the start token before the labels itself (``shift_tokens_right``), so it is taken off here.

    Args:
        start_token_id: The model's ``decoder_start_token_id``.
    """

    def __init__(self, start_token_id: int):
        self.start_token_id = start_token_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """``input_features``, shape ``(batch, mel_bins, window_frames)``, and ``labels``, ``(batch, longest)``."""
        labels = [
            torch.tensor(example["labels"][1:] if example["labels"][0] == self.start_token_id else example["labels"])
            for example in examples
        ]
        return {
            "input_features": torch.stack([example["input_features"] for example in examples]),
            "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL),
        }
