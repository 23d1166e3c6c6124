"""The utterances as the model sees them."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch.utils.data import Dataset
from transformers import WhisperProcessor

from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.audio import SAMPLE_RATE_HZ, Samples, load_audio
from kidasr.features.augment import SpecAugment
from kidasr.features.log_mel import FULL_WINDOW, Padding, log_mel


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
        augment: SpecAugment, for a training set; None leaves the features as they are.
        seed: The run's seed.
        lower_case: Whether the labels are in lower case, whatever the texts are.
        cache_sec: Seconds of decoded audio to keep in memory, 64 kB each, so that later epochs need not decode again.
        padding: How long the features of an utterance are.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        processor: WhisperProcessor,
        augment: SpecAugment | None = None,
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
        features, real_frames = log_mel(self._samples(place), self.processor.feature_extractor, self.padding)
        if self.augment is not None:
            features = self.augment(features, real_frames, seed=self.seed, epoch=epoch, utterance_id=utterance.utterance_id)
        text = utterance.text.lower() if self.lower_case else utterance.text
        return {"input_features": features, "labels": self.processor.tokenizer(text).input_ids}

    def _samples(self, place: int) -> Samples:
        if place in self._cache:
            return self._cache[place]
        samples = load_audio(self.utterances[place])
        if len(samples) <= self._cache_left:
            self._cache[place] = samples
            self._cache_left -= len(samples)
        return samples


def check_text(utterances: Sequence[Utterance], processor: WhisperProcessor, max_tokens: int) -> None:
    """Make sure before training that every text fits the decoder.

    Raises:
        KidasrError: For the first that does not.
    """
    for utterance in utterances:
        if len(utterance.text.encode()) + 4 <= max_tokens:  # a token has a byte at least, the prefix three tokens at most
            continue
        tokens = len(processor.tokenizer(utterance.text).input_ids)
        if tokens > max_tokens:
            raise KidasrError(
                f"{utterance.source}: the text has {tokens} tokens; accepted: up to the decoder's {max_tokens}"
            )
