"""Collating utterances of different lengths into a batch."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch.nn import functional

from kidasr.features.dataset import Example
from kidasr.features.padding import Padding
from kidasr.features.recogniser import IGNORED_LABEL, Batch, Recogniser


class Collator:
    """Collates examples with the recogniser's own method. With several views, all first views come before all second ones.

    Args:
        recogniser: Makes the batches.
        padding: Length of the model's input.
    """

    def __init__(self, recogniser: Recogniser, padding: Padding):
        self.recogniser, self.padding = recogniser, padding

    def __call__(self, examples: Sequence[Example | list[Example]]) -> Batch:
        """See :meth:`kidasr.features.recogniser.Recogniser.collate`. With several views, also ``durations_sec``, a list.

        For models that depend on ages, also ``age_groups``, shape ``(batch,)``.
        """
        views = zip(*(one if isinstance(one, list) else [one] for one in examples), strict=True)
        flat = list(chain.from_iterable(views))
        features, labels = [one["input_features"] for one in flat], [one["labels"] for one in flat]
        batch = self.recogniser.collate(features, labels, self.padding)
        keys = [one["key"] for one in flat]
        if self.recogniser.takes_keys and None not in keys:
            batch["keys"] = torch.tensor(keys)
        if "age_group" in flat[0]:
            batch["age_groups"] = torch.tensor([one["age_group"] for one in flat])
        if len(flat) > len(examples):
            batch["durations_sec"] = [one["duration_sec"] for one in flat]  # not a tensor: it stays on the CPU
        return batch


class PaddedBatch:
    """Collates features and labels of an encoder-decoder model, padded on the right to the longest.

    The model adds the start token to the labels itself (``shift_tokens_right``), so it is removed here.

    Args:
        start_token_id: The model's ``decoder_start_token_id``.
        mask: Whether to add a mask of the real frames if some frames are padding.
    """

    def __init__(self, start_token_id: int, mask: bool = False):
        self.start_token_id = start_token_id
        self.mask = mask

    def __call__(self, features: Sequence[torch.Tensor], labels: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """The model's input for a batch.

        Returns:
            ``input_features``, shape ``(batch, mel_bins, frames)``; ``labels``, ``(batch, tokens)``; ``label_places``, the
            indices of real labels in the flattened labels; with ``mask``, if some utterances are shorter than others, also
            ``frame_mask``, ``(batch, frames / 2)``, bool.
        """
        frames = torch.tensor([one.shape[1] for one in features])
        longest = int(frames.max())
        without_start = [torch.tensor(one[1:] if one[0] == self.start_token_id else one) for one in labels]
        batch = {
            "input_features": torch.stack([functional.pad(one, (0, longest - one.shape[1])) for one in features]),
            "labels": torch.nn.utils.rnn.pad_sequence(without_start, batch_first=True, padding_value=IGNORED_LABEL),
        }
        # Found here, since on a GPU finding them waits for all that runs there.
        batch["label_places"] = (batch["labels"].flatten() != IGNORED_LABEL).nonzero()[:, 0]
        if self.mask and int(frames.min()) < longest:
            batch["frame_mask"] = torch.arange(longest // 2) < frames[:, None] // 2
        return batch
