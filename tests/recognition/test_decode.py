import numpy as np
from transformers import WhisperProcessor

from kidasr.recognition.decode import transcripts
from tests.conftest import MICRO


def test_padding_and_special_tokens_are_left_out() -> None:
    processor = WhisperProcessor.from_pretrained(MICRO)
    ids = processor.tokenizer([" red cats", "a"]).input_ids
    longest = max(map(len, ids)) + 3
    padded = np.array([one + [-100] * (longest - len(one)) for one in ids])
    assert transcripts(padded, processor) == ["red cats", "a"]
