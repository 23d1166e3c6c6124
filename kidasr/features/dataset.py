"""Utterances as model input: features and labels."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch.utils.data import Dataset

from kidasr.corpus.audio import SAMPLE_RATE_HZ, Samples, file_of, load_audio
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.augment import Augmentations, Draw
from kidasr.features.joining import Joining
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import Recogniser

#: Sets without augmentation whose features the runs of one process share: validation, evaluation and test set.
SHARED_SETS = 3

#: Features, number of real frames and number of samples, by place.
Features = dict[int, tuple[torch.Tensor, int, int]]

#: The newest of those sets: features, and how many more samples may be kept.
_newest_sets: dict[str, tuple[Features, list[int]]] = {}

#: Longest token in Whisper's vocabulary, in characters.
LONGEST_TOKEN = 128


class Example(TypedDict):
    """One utterance, ready for a batch."""

    #: Log-mel features, shape ``(mel_bins, frames)``.
    input_features: torch.Tensor
    #: Token ids of the text, including the tokens before and after it.
    labels: list[int]
    #: Length of the audio, after augmentation.
    duration_sec: float
    #: Identifies the input, 63 bits; None if it changes from epoch to epoch.
    key: int | None
    #: Number of the speaker's age group, -1 for none; only for models that depend on it.
    age_group: NotRequired[int]


class ChildSpeechDataset(Dataset[Any]):
    """Features and labels of a set of utterances.

    Indexed by the utterance's place, or by ``(epoch, place)``, since augmentation depends on the epoch. The sampler supplies
    the epoch, so that data-loader workers, resumed runs and all processes agree on it.

    Args:
        utterances: The set.
        recogniser: Makes features and labels.
        augment: Augmentation of a training set; None for no augmentation.
        seed: The run's seed.
        lower_case: Whether to convert the labels to lower case.
        cache_sec: Seconds of audio to keep in memory for later epochs, at most 64 kB per second: the features of short input
            if no augmentation changes the audio, or else the samples.
        padding: Length of the features.
        views: Number of differently augmented views of an utterance; if more than 1, an example is a list of views.
        age_groups: Numbers of the age buckets that are groups of the model; None if it does not depend on ages.
        joining: Which utterances are joined; None for what ``augment`` does by itself, whatever the order of an epoch.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        recogniser: Recogniser,
        augment: Augmentations | None = None,
        seed: int = 0,
        lower_case: bool = False,
        cache_sec: float = 0,
        padding: Padding = FULL_WINDOW,
        views: int = 1,
        age_groups: Mapping[str, int] | None = None,
        joining: Joining | None = None,
    ):
        self.utterances = utterances
        self.recogniser = recogniser
        self.augment = augment
        self.seed = seed
        self.lower_case = lower_case
        self.padding, self.views, self.age_groups = padding, views, age_groups
        self._features: Features | None = None
        self._samples: dict[int, Samples] = {}
        self._cache_left = [int(cache_sec * SAMPLE_RATE_HZ)]
        self.joining = joining or (augment.joining(utterances, seed, recogniser.window_sec) if augment else None)
        if padding.is_short and not (augment and augment.changes_audio):
            self._features = {}
            if augment is None and recogniser.features_made_by is not None:
                self._features, self._cache_left = self._shared(cache_sec, recogniser.features_made_by)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int | tuple[int, int]) -> Any:
        epoch, place = index if isinstance(index, tuple) else (0, index)
        if self.views == 1:
            return self.example(place, epoch)
        return [self.example(place, epoch, view) for view in range(self.views)]

    def example(self, place: int, epoch: int = 0, view: int = 0) -> Example:
        """One view of an utterance."""
        utterance = self.utterances[place]
        draw = Draw(self.seed, epoch, utterance.utterance_id, view)
        text, recording = label_text(utterance, self.lower_case), None
        if self.joining is not None:
            text, recording = self._joined(place, epoch)
        features, real_frames, samples = self._features_of(place, draw, recording)
        if self.augment is not None:
            features = self.augment.features(features, real_frames, draw)
        example: Example = {
            "input_features": features,
            "labels": self.recogniser.labels(text),
            "duration_sec": samples / SAMPLE_RATE_HZ,
            "key": self._key(utterance) if not (self.augment and self.augment.by_name) else None,
        }
        if self.age_groups is not None:
            example["age_group"] = self.age_groups.get(utterance.age_bucket, -1)
        return example

    def _joined(self, place: int, epoch: int) -> tuple[str, Samples]:
        """Text and samples of an utterance and those that follow it, as many as fit into the window and the decoder."""
        assert self.joining is not None
        text, samples = label_text(self.utterances[place], self.lower_case), self._load(place)
        for partner in self.joining.partners(place, epoch):
            longer = f"{text} {label_text(self.utterances[partner], self.lower_case)}"
            joined = self.joining.join(samples, self._load(partner))
            if len(joined) > self.recogniser.max_samples or len(self.recogniser.labels(longer)) > self.recogniser.max_tokens:
                break
            text, samples = longer, joined
        return text, samples

    def _features_of(self, place: int, draw: Draw, recording: Samples | None) -> tuple[torch.Tensor, int, int]:
        """Features before their augmentation, the number of real frames, and the number of samples."""
        if self._features is not None and place in self._features:
            return self._features[place]
        samples = self._load(place) if recording is None else recording
        if self.augment is not None:
            samples = self.augment.waveform(samples, draw, self.recogniser.max_samples)
        made = (*self.recogniser.features(samples, self.padding), len(samples))
        if self._features is not None and self._has_room(len(samples)):
            self._features[place] = made
        return made

    def _load(self, place: int) -> Samples:
        if place in self._samples:
            return self._samples[place]
        samples = load_audio(self.utterances[place])
        if self._features is None and self._has_room(len(samples)):
            self._samples[place] = samples
        return samples

    def _shared(self, cache_sec: float, made_by: str) -> tuple[Features, list[int]]:
        """The features that an earlier run of this process kept of the same set, or an empty dictionary for them."""
        checksum = blake2b(f"{made_by} {cache_sec}".encode())
        for utterance in self.utterances:
            changed_ns = 0
            with contextlib.suppress(OSError, ValueError):
                changed_ns = Path(file_of(utterance.audio_path)).stat().st_mtime_ns
            checksum.update(self._key(utterance).to_bytes(8) + changed_ns.to_bytes(8))
        name = checksum.hexdigest()
        kept = _newest_sets.pop(name, ({}, self._cache_left))
        _newest_sets[name] = kept  # as the newest
        for oldest in list(_newest_sets)[:-SHARED_SETS]:
            del _newest_sets[oldest]
        return kept

    def _has_room(self, samples: int) -> bool:
        if samples > self._cache_left[0]:
            return False
        self._cache_left[0] -= samples
        return True

    def _key(self, utterance: Utterance) -> int:
        text = f"{utterance.utterance_id}\0{utterance.audio_key}\0{self.padding.describe()}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1


def label_text(utterance: Utterance, lower_case: bool) -> str:
    """The text of the labels."""
    return utterance.text.lower() if lower_case else utterance.text


def check_text(utterances: Sequence[Utterance], recogniser: Recogniser, lower_case: bool) -> None:
    """Check before training that every text fits the decoder and contains no control token.

    Whisper's tokenizer encodes ``<|endoftext|>`` in a text as the token itself, which would teach the model to stop there.

    Args:
        utterances: A set.
        recogniser: Provides the tokens and their maximum number.
        lower_case: Whether the labels are in lower case.

    Raises:
        KidasrError: For the first text that fails.
    """
    control = re.compile("|".join(map(re.escape, recogniser.control_tokens())) or "(?!)")
    max_tokens = recogniser.max_tokens
    for utterance in utterances:
        text = label_text(utterance, lower_case)
        if found := control.search(text):
            line = f"{utterance.source}: the text contains {found[0]!r}, a control token of the model; expected: plain text"
            raise KidasrError(line)
        if len(text.encode()) + 4 <= max_tokens:  # a token has a byte or more; 4 is the end and the prompt without its start
            continue
        part = text[: LONGEST_TOKEN * max_tokens]  # enough to exceed the limit
        tokens = len(recogniser.labels(part))
        if tokens > max_tokens:
            more = " or more" if part != text else ""
            raise KidasrError(
                f"{utterance.source}: the text has {tokens} tokens{more}; expected: up to the decoder's {max_tokens}"
            )
