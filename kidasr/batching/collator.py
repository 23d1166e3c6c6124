"""Examples of different lengths as one batch."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from kidasr.features.dataset import Example

#: Label that the loss passes over (PyTorch's cross entropy).
IGNORED_LABEL = -100


class Collator:
    """Puts examples into a batch: features and labels padded on the right to the longest.

    The model puts the start token before the labels itself (``shift_tokens_right``), so it is taken off here.

    Args:
        start_token_id: The model's ``decoder_start_token_id``.
        mask: Whether the model is told which frames are real, where they are not all.
    """

    def __init__(self, start_token_id: int, mask: bool = False):
        self.start_token_id = start_token_id
        self.mask = mask

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """A batch as the model takes it.

        Returns:
            ``input_features``, shape ``(batch, mel_bins, frames)``; ``labels``, ``(batch, tokens)``; and, if some utterances
            are shorter than others and ``mask`` is on, ``frame_mask``, ``(batch, frames / 2)``, bool.
        """
        features = [example["input_features"] for example in examples]
        frames = torch.tensor([one.shape[1] for one in features])
        longest = int(frames.max())
        labels = [
            torch.tensor(example["labels"][1:] if example["labels"][0] == self.start_token_id else example["labels"])
            for example in examples
        ]
        batch = {
            "input_features": torch.stack([functional.pad(one, (0, longest - one.shape[1])) for one in features]),
            "labels": torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL),
        }
        if self.mask and int(frames.min()) < longest:
            batch["frame_mask"] = torch.arange(longest // 2) < frames[:, None] // 2
        return batch
