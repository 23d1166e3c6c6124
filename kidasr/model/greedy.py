"""Greedy decoding of a batch of short utterances.

The same transcripts as transformers' ``generate``, in less time: the encoder runs under the caller's precision, the mask is
built once, and utterances that have ended leave the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationConfig

from kidasr.model.age_groups import AGE_GROUPS
from kidasr.model.short_input import WhisperForConditionalGeneration, additive

#: Settings of a generation config that this module respects, or that change nothing here. With others, ``generate`` decodes.
KNOWN = frozenset(
    (
        *("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id", "prev_sot_token_id"),
        *("is_multilingual", "lang_to_id", "language", "task", "task_to_id", "forced_decoder_ids"),
        *("suppress_tokens", "begin_suppress_tokens", "no_timestamps_token_id", "max_initial_timestamp_index"),
        *("alignment_heads", "max_length", "num_beams", "return_timestamps", "use_cache"),
        *("transformers_version", "_from_model_config"),
    )
)

#: The batch is made smaller when this share of it has ended: doing so copies the cached keys and values.
ENDED_SHARE = 0.25


def is_plain(generation: GenerationConfig) -> bool:
    """Whether a checkpoint's generation settings are those of a stock Whisper: no penalties, no sampling, no extra rules."""
    unusual = {name for name, value in generation.to_diff_dict().items() if value is not None}
    return unusual <= KNOWN and isinstance(generation.eos_token_id, int)


@dataclass(frozen=True)
class Encoded:
    """The encoder's output for a batch."""

    #: Shape ``(batch, positions, width)``.
    hidden: torch.Tensor
    #: The mask to add to attention scores; None if all positions are real.
    mask: torch.Tensor | None
    #: Group of each utterance, shape ``(batch,)``, for a model with adapters by age; empty for others.
    ages: Mapping[str, torch.Tensor]

    def of(self, places: Sequence[int]) -> "Encoded":
        """The output for some utterances of the batch."""
        chosen = torch.tensor(places, dtype=torch.long, device=self.hidden.device)
        return self._of(chosen)

    def _of(self, chosen: torch.Tensor) -> "Encoded":
        mask = None if self.mask is None else self.mask[chosen]
        return Encoded(self.hidden[chosen], mask, {name: groups[chosen] for name, groups in self.ages.items()})


@torch.no_grad()
def encode(
    model: WhisperForConditionalGeneration,
    input_features: torch.Tensor,
    frame_mask: torch.Tensor | None,
    keys: torch.Tensor | None,
    age_groups: torch.Tensor | None = None,
) -> Encoded:
    """Encode a batch.

    Args:
        model: The model, in evaluation mode.
        input_features: Log-mel, shape ``(batch, mel_bins, frames)``.
        frame_mask: Real positions, bool, shape ``(batch, frames / 2)``; None if all are real.
        keys: Identify the inputs, shape ``(batch,)``; see :class:`kidasr.model.kept_encodings.KeptEncodings`.
        age_groups: Group of each utterance, shape ``(batch,)``, for a model with adapters by age; None for others.
    """
    ages: dict[str, torch.Tensor] = {} if age_groups is None else {AGE_GROUPS: age_groups}
    hidden = model.get_encoder()(input_features, frame_mask=frame_mask, keys=keys, **ages).last_hidden_state
    return Encoded(hidden, additive(frame_mask, hidden.dtype), ages)


@torch.no_grad()
def greedy_tokens(
    model: WhisperForConditionalGeneration,
    encoded: Encoded,
    prompt: Sequence[int],
    bounds: Sequence[int],
    temperature: float = 0.0,
    uniform: torch.Tensor | None = None,
) -> list[list[int]]:
    """Decode a batch.

    Args:
        model: The model, in evaluation mode.
        encoded: The encoder's output.
        prompt: Tokens at the start of each transcript.
        bounds: Maximum number of tokens of each transcript, without the prompt.
        temperature: 0 chooses the most likely token; with a higher one, tokens are drawn.
        uniform: What to draw with: numbers from 0 to 1, shape ``(batch, max(bounds))``; None at temperature 0.

    Returns:
        The tokens of each transcript, without the prompt and the end of text.
    """
    generation: Any = model.generation_config
    device, size, end = encoded.hidden.device, len(bounds), generation.eos_token_id
    decoder = model.get_decoder()
    never, not_first = never_tokens(generation, device), never_first(generation, device)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    limits = torch.tensor(bounds, device=device)
    found = torch.full((size, max(bounds)), end, dtype=torch.long, device=device)
    rows = torch.arange(size, device=device)  # the utterances that are still in the batch
    running = torch.ones(size, dtype=torch.bool, device=device)  # of those, the ones that have not ended
    tokens = torch.tensor([list(prompt)], device=device).expand(size, -1)
    for place in range(max(bounds)):
        state = decoder(
            tokens,
            encoder_hidden_states=encoded.hidden,
            past_key_values=cache,
            use_cache=True,
            frame_mask=encoded.mask,
            **encoded.ages,
        )
        scores = model.proj_out(state.last_hidden_state[:, -1]).float()
        scores.index_fill_(1, never, -torch.inf)
        if place == 0:
            scores.index_fill_(1, not_first, -torch.inf)
        best = scores.argmax(-1) if uniform is None else _drawn(scores / temperature, uniform[rows, place])
        chosen = torch.where(running, best, end)
        found[rows, place] = chosen
        running = (chosen != end) & (place + 1 < limits[rows])
        number = int(running.sum())
        if not number:
            break
        if number <= (1 - ENDED_SHARE) * len(rows):
            kept = running.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, chosen, running, encoded = rows[kept], chosen[kept], running[kept], encoded._of(kept)
        tokens = chosen[:, None]
    return [row[: row.index(end)] if end in row else row for row in found.tolist()]


def _drawn(scores: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row, by the inverse of the distribution function."""
    sums = scores.double().softmax(-1).cumsum(-1)
    places = torch.searchsorted(sums, (uniform.to(sums.dtype) * sums[:, -1])[:, None], right=True)[:, 0]
    return places.clamp(max=scores.shape[1] - 1)


def never_tokens(generation: GenerationConfig, device: torch.device) -> torch.Tensor:
    """Tokens that no transcript has."""
    return torch.tensor(_real(generation.suppress_tokens), dtype=torch.long, device=device)


def never_first(generation: GenerationConfig, device: torch.device) -> torch.Tensor:
    """Tokens that no transcript begins with."""
    return torch.tensor(_real(generation.begin_suppress_tokens), dtype=torch.long, device=device)


def _real(tokens: Sequence[int] | None) -> list[int]:
    """Without -1, which some checkpoints write for no token."""
    return [token for token in tokens or [] if token >= 0]
