"""Keeps the output of a frozen encoder, which is the same in every epoch if nothing augments its input."""

from collections.abc import Callable
from typing import Any

import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from kidasr.model.age_groups import GroupLora


class KeptEncodings:
    """Encodes each utterance once, alone, so that its output does not depend on a batch, and keeps it in memory.

    Args:
        max_bytes: Memory for the outputs; what does not fit is encoded again each time, with the same result.
    """

    def __init__(self, max_bytes: float):
        self._left = max_bytes
        self._kept: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def __call__(
        self, encode: Callable[..., Any], input_features: torch.Tensor, frame_mask: torch.Tensor | None, keys: torch.Tensor
    ) -> torch.Tensor:
        """The encoder's output for a batch.

        Args:
            encode: The encoder, from features and mask.
            input_features: Log-mel, shape ``(batch, mel_bins, frames)``.
            frame_mask: Real positions, bool, shape ``(batch, frames / 2)``; None if all are real.
            keys: Identify the inputs, shape ``(batch,)``.

        Returns:
            Shape ``(batch, positions, width)``, 0 in the padding; in half precision under autocast, to which all that reads
            it casts it.
        """
        positions = input_features.shape[-1] // 2
        lengths = [positions] * len(keys) if frame_mask is None else frame_mask.sum(1).tolist()
        outputs = []
        for row, (key, length) in enumerate(zip(keys.tolist(), lengths, strict=True)):
            output = self._kept.get(key)
            if output is None:
                output = encode(input_features[row : row + 1, :, : 2 * length], None).last_hidden_state[0]
                kind = output.device.type
                output = output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output.clone()
                if output.nbytes <= self._left:
                    self._kept[key] = output
                    self._left -= output.nbytes
            outputs.append(output)
        return torch.nn.utils.rnn.pad_sequence(outputs, batch_first=True)


def is_deterministic(encoder: WhisperEncoder) -> bool:
    """Whether it encodes the same input alike in every training step: no dropout, not an adapter's either, and no masks.

    Adapters of age groups are for a whole batch, and :class:`KeptEncodings` encodes utterances one by one.
    """
    config = encoder.config
    dropout = [config.dropout, config.attention_dropout, config.activation_dropout, config.encoder_layerdrop]
    dropout += [module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)]
    by_age = any(isinstance(module, GroupLora) for module in encoder.modules())
    return not any((*dropout, config.apply_spec_augment, by_age))
