"""Augmenting the training set: what an augmentation is, and several of them in a row.

A user's own is a class of one of the two kinds below in a module of its own, and a file in ``conf/augment``::

    # @package _global_
    # What it does, in a line.
    augment:
      mine:
        _target_: my_module.MyAugmentation
        p: 0.5
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kidasr.errors import KidasrError
from kidasr.seeding import generator_for, seed_for

if TYPE_CHECKING:
    import torch

    from kidasr.corpus.audio import Samples


@dataclass(frozen=True)
class Draw:
    """What the randomness of an augmentation depends on, and nothing else: so a resumed run and several processes agree."""

    seed: int
    epoch: int
    utterance_id: str
    #: Which view of the utterance, where a training objective asks for several.
    view: int = 0

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed for one purpose, such as the augmentation's name."""
        return seed_for(purpose, *self._key())

    def generator(self, purpose: str) -> np.random.Generator:
        """A numpy generator for one purpose, such as the augmentation's name."""
        return generator_for(purpose, *self._key())

    def _key(self) -> tuple[int | str, ...]:
        return (self.seed, self.epoch, self.utterance_id, *([self.view] if self.view else []))


class WaveformAugmentation:
    """Changes samples, and maybe how many there are."""

    #: How many times longer it may make an utterance. What would not fit into the model's window is left as it is.
    max_length_factor: float = 1.0

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Augmented samples.

        Args:
            samples: Shape ``(samples,)``, 16 kHz.
            draw: All that it may depend on beside them.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """What it does, in a few words, for the log."""
        return type(self).__name__


class FeatureAugmentation:
    """Changes log-mel features, but not their shape."""

    def __call__(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Augmented features.

        Args:
            features: Shape ``(mel_bins, frames)``, 10 ms a frame.
            real_frames: Frames that the recording fills; the rest is padding.
            draw: All that it may depend on beside them.
        """
        raise NotImplementedError

    def check(self, mel_bins: int) -> None:
        """Make sure that it suits a model with so many mel bins.

        Raises:
            KidasrError: If not.
        """

    def describe(self) -> str:
        """What it does, in a few words, for the log."""
        return type(self).__name__


class Augmentations:
    """All augmentations of a run: those of waveforms in the order given, then those of features.

    Args:
        by_name: The ``augment`` group.
    """

    def __init__(self, by_name: Mapping[str, WaveformAugmentation | FeatureAugmentation]):
        self.by_name = dict(by_name)
        self._waveform = [one for one in by_name.values() if isinstance(one, WaveformAugmentation)]
        self._features = [one for one in by_name.values() if isinstance(one, FeatureAugmentation)]
        for name, one in by_name.items():
            if one not in self._waveform and one not in self._features:
                raise KidasrError(
                    f"augment.{name}._target_: {type(one).__name__} is no augmentation; expected: a subclass of "
                    "WaveformAugmentation or FeatureAugmentation (kidasr.features.augment)"
                )

    @property
    def max_length_factor(self) -> float:
        """How many times longer all of them together may make an utterance."""
        return float(np.prod([one.max_length_factor for one in self._waveform]))

    def waveform(self, samples: Samples, draw: Draw, max_samples: int) -> Samples:
        """Samples, augmented; one that would make them longer than the model's window is passed over."""
        for one in self._waveform:
            augmented = one(samples, draw)
            samples = augmented if len(augmented) <= max_samples else samples
        return samples

    def features(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Features of shape ``(mel_bins, frames)``, augmented."""
        for one in self._features:
            features = one(features, real_frames, draw)
        return features

    def check(self, mel_bins: int) -> None:
        """Make sure that they suit a model with so many mel bins.

        Raises:
            KidasrError: If not.
        """
        for one in self._features:
            one.check(mel_bins)

    def describe(self) -> Iterator[str]:
        """A line for each, for the log."""
        for name, one in self.by_name.items():
            yield f"{name}: {one.describe()}"
