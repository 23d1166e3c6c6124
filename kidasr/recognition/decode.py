"""From token ids to transcripts."""

import numpy as np
from transformers import WhisperProcessor


def transcripts(token_ids: np.ndarray, processor: WhisperProcessor) -> list[str]:
    """The texts of generated tokens, without special tokens.

    Args:
        token_ids: Shape ``(utterances, tokens)``; negative ids are padding, as the Trainer's evaluation adds it.
        processor: The checkpoint's.
    """
    tokenizer = processor.tokenizer
    padded = np.where(token_ids < 0, tokenizer.pad_token_id, token_ids)
    return [text.strip() for text in tokenizer.batch_decode(padded, skip_special_tokens=True)]
