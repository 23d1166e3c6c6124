"""Whisper's temperature fallback: transcripts that look wrong are decoded again, with some randomness.

Radford et al. (2022), section 4.5; the rules are those of OpenAI's ``decode_with_fallback``. transformers' ``generate`` has
them, too, but draws for a whole batch: what an utterance gets there depends on its batch.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kidasr.features.recogniser import Fallback
from kidasr.model.greedy import Encoded, greedy_tokens, never_first, never_tokens
from kidasr.model.short_input import WhisperForConditionalGeneration
from kidasr.seeding import generator_for


@dataclass(frozen=True)
class Judged:
    """How sure a model is of a transcript."""

    #: Mean over its tokens, the end of text included.
    log_probability: float
    #: The probability that nothing is said.
    no_speech: float


def is_silence(judged: Judged, fallback: Fallback) -> bool:
    """Whether a transcript is to be empty: nothing seems to be said, and the model is unsure of what it wrote."""
    if fallback.no_speech_threshold is None or fallback.logprob_threshold is None:
        return False
    return judged.no_speech > fallback.no_speech_threshold and judged.log_probability < fallback.logprob_threshold


def is_bad(text: str, judged: Judged, fallback: Fallback) -> bool:
    """Whether a transcript is to be decoded again: it repeats itself, or the model is unsure of it."""
    if is_silence(judged, fallback):
        return False
    ratio, least = fallback.compression_ratio_threshold, fallback.logprob_threshold
    return (ratio is not None and compression_ratio(text) > ratio) or (least is not None and judged.log_probability < least)


def compression_ratio(text: str) -> float:
    """How much shorter zlib makes a text; high for one that repeats itself."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def draws(fallback: Fallback, utterance: str, temperature: float, number: int) -> np.ndarray:
    """Numbers from 0 to 1, one for each token of a transcript; they depend on seed, utterance and temperature alone."""
    return generator_for("temperature", fallback.seed, utterance, round(1000 * temperature)).random(number)


def drawn_tokens(
    model: WhisperForConditionalGeneration,
    encoded: Encoded,
    prompt: Sequence[int],
    bounds: Sequence[int],
    temperature: float,
    fallback: Fallback,
    utterances: Sequence[str],
) -> list[list[int]]:
    """Draw transcripts from the model's distribution at a temperature. Arguments and result: see ``greedy_tokens``."""
    numbers = np.stack([draws(fallback, one, temperature, max(bounds)) for one in utterances])
    uniform = torch.from_numpy(numbers).to(encoded.hidden.device)
    return greedy_tokens(model, encoded, prompt, bounds, temperature, uniform)


@torch.no_grad()
def judge(
    model: WhisperForConditionalGeneration,
    encoded: Encoded,
    prompt: Sequence[int],
    bounds: Sequence[int],
    rows: Sequence[Sequence[int]],
) -> list[Judged]:
    """How sure the model is of each transcript, at temperature 1.

    Args:
        model: The model, in evaluation mode.
        encoded: The encoder's output.
        prompt: Tokens at the start of each transcript.
        bounds: Maximum number of tokens of each; one of that length was cut off, so its end is not judged.
        rows: The tokens of each, without prompt and end of text.
    """
    generation: Any = model.generation_config
    end, device, first = generation.eos_token_id, encoded.hidden.device, len(prompt) - 1
    longest = max(map(len, rows))
    tokens = torch.full((len(rows), len(prompt) + longest), end, dtype=torch.long, device=device)
    for place, row in enumerate(rows):
        tokens[place, : len(prompt) + len(row)] = torch.tensor([*prompt, *row], device=device)
    states = model.get_decoder()(
        tokens,
        encoder_hidden_states=encoded.hidden,
        use_cache=False,
        frame_mask=encoded.mask,
        **encoded.ages,
    ).last_hidden_state
    silence = model.proj_out(states[:, 0]).float().softmax(-1)[:, generation.no_timestamps_token_id - 1].tolist()
    never, not_first = never_tokens(generation, device), never_first(generation, device)
    found = []
    for place, row in enumerate(rows):  # one by one: the logits of a batch would take gigabytes
        targets = [*row, *([end] if len(row) < bounds[place] else [])]
        scores = model.proj_out(states[place, first : first + len(targets)]).float()
        scores.index_fill_(1, never, -torch.inf)
        scores[0].index_fill_(0, not_first, -torch.inf)
        chosen = scores.log_softmax(-1).gather(1, torch.tensor(targets, device=device)[:, None])
        found.append(Judged(float(chosen.mean()), silence[place]))
    return found


def fallback_of(trainer: Mapping[str, Any], seed: int) -> Fallback | None:
    """The fallback of the ``trainer`` group; None if it is off."""
    temperatures = trainer.get("generation_temperatures") or [0.0]  # older runs do not have it
    if len(temperatures) == 1:
        return None
    return Fallback(
        tuple(map(float, temperatures)),
        trainer["generation_compression_ratio_threshold"],
        trainer["generation_logprob_threshold"],
        trainer["generation_no_speech_threshold"],
        seed,
    )
