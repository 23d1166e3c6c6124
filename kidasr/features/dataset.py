"""The utterances as the model sees them."""

import re
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch.utils.data import Dataset
from transformers import WhisperProcessor

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples, load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.augment import Augmentations, Draw
from kidasr.features.log_mel import log_mel
from kidasr.features.padding import FULL_WINDOW, Padding

#: No token of Whisper's has more characters.
LONGEST_TOKEN = 128


class Example(TypedDict):
    """One utterance, ready for a batch."""

    #: Log-mel features, shape ``(mel_bins, frames)``.
    input_features: torch.Tensor
    #: Token ids: Whisper's prefix, the text, the end of text.
    labels: list[int]


class ChildSpeechDataset(Dataset[Example]):
    """Features and labels of a set of utterances.

    Indexed by the utterance's place, or by ``(epoch, place)``: an epoch changes what is masked. The sampler hands the epoch
    in, so that a data-loader worker, a resumed run and every process of several agree on it.

    Args:
        utterances: The set.
        processor: The checkpoint's feature extractor and tokenizer.
        augment: For a training set; None leaves the recordings as they are.
        seed: The run's seed.
        lower_case: Whether the labels are in lower case, whatever the texts are.
        cache_sec: Seconds of decoded audio to keep in memory, 64 kB each, so that later epochs need not decode again.
        padding: How long the features of an utterance are.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        processor: WhisperProcessor,
        augment: Augmentations | None = None,
        seed: int = 0,
        lower_case: bool = False,
        cache_sec: float = 0,
        padding: Padding = FULL_WINDOW,
    ):
        self.utterances = utterances
        self.processor = processor
        self.augment = augment
        self.seed = seed
        self.lower_case = lower_case
        self.padding = padding
        self._cache: dict[int, Samples] = {}
        self._cache_left = int(cache_sec * SAMPLE_RATE_HZ)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int | tuple[int, int]) -> Example:
        epoch, place = index if isinstance(index, tuple) else (0, index)
        utterance = self.utterances[place]
        samples, extractor = self._samples(place), self.processor.feature_extractor
        draw = Draw(self.seed, epoch, utterance.utterance_id)
        if self.augment is not None:
            samples = self.augment.waveform(samples, draw, extractor.n_samples)
        features, real_frames = log_mel(samples, extractor, self.padding)
        if self.augment is not None:
            features = self.augment.features(features, real_frames, draw)
        labels = self.processor.tokenizer(label_text(utterance, self.lower_case)).input_ids
        return {"input_features": features, "labels": labels}

    def _samples(self, place: int) -> Samples:
        if place in self._cache:
            return self._cache[place]
        samples = load_audio(self.utterances[place])
        if len(samples) <= self._cache_left:
            self._cache[place] = samples
            self._cache_left -= len(samples)
        return samples


def label_text(utterance: Utterance, lower_case: bool) -> str:
    """The text that is trained on."""
    return utterance.text.lower() if lower_case else utterance.text


def check_text(utterances: Sequence[Utterance], processor: WhisperProcessor, max_tokens: int, lower_case: bool) -> None:
    """Make sure before training that every text fits the decoder and holds no control token.

    Whisper's tokenizer takes ``<|endoftext|>`` in a text for the token itself, which would teach the model to stop there.

    Args:
        utterances: A set.
        processor: The checkpoint's.
        max_tokens: Positions of the decoder.
        lower_case: Whether the texts are trained on in lower case.

    Raises:
        KidasrError: For the first that does not.
    """
    control = re.compile("|".join(map(re.escape, processor.tokenizer.get_added_vocab())))
    for utterance in utterances:
        text = label_text(utterance, lower_case)
        if found := control.search(text):
            line = f"{utterance.source}: the text holds {found[0]!r}, a control token of the model; expected: what was said"
            raise KidasrError(line)
        if len(text.encode()) + 4 <= max_tokens:  # a token has a byte at least, the prefix three tokens at most
            continue
        part = text[: LONGEST_TOKEN * max_tokens]  # enough to tell
        tokens = len(processor.tokenizer(part, verbose=False).input_ids)
        if tokens > max_tokens:
            more = " or more" if part != text else ""
            raise KidasrError(
                f"{utterance.source}: the text has {tokens} tokens{more}; expected: up to the decoder's {max_tokens}"
            )
