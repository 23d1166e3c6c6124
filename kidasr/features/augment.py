"""Augmentation of the training set: the two kinds of augmentation, and how several are combined.

To add an augmentation, write a subclass of one of the two classes below in a module of your own, and a file in
``conf/augment``::

    # @package _global_
    # What it does, in one line.
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
    """All that the randomness of an augmentation may depend on, so that resumed runs and all processes agree."""

    seed: int
    epoch: int
    utterance_id: str
    #: Index of the view, if the training objective asks for several views of an utterance.
    view: int = 0

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed for one purpose, e.g. the augmentation's name."""
        return seed_for(purpose, *self._key())

    def generator(self, purpose: str) -> np.random.Generator:
        """A numpy generator for one purpose, e.g. the augmentation's name."""
        return generator_for(purpose, *self._key())

    def _key(self) -> tuple[int | str, ...]:
        return (self.seed, self.epoch, self.utterance_id, *([self.view] if self.view else []))


class WaveformAugmentation:
    """Changes the samples of an utterance, and possibly their number."""

    #: Maximum factor by which it lengthens an utterance. If the result exceeds the model's window, it is not used.
    max_length_factor: float = 1.0

    def __call__(self, samples: Samples, draw: Draw) -> Samples:
        """Augment samples.

        Args:
            samples: Shape ``(samples,)``, 16 kHz.
            draw: The source of randomness.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """A short description for the log."""
        return type(self).__name__


class FeatureAugmentation:
    """Changes log-mel features, but not their shape."""

    def __call__(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Augment features, without writing into those given, which are kept for the next epoch.

        Args:
            features: Shape ``(mel_bins, frames)``, 10 ms per frame.
            real_frames: Number of frames covered by the recording; the rest is padding.
            draw: The source of randomness.
        """
        raise NotImplementedError

    def check(self, mel_bins: int) -> None:
        """Check that it works with a model with this many mel bins.

        Raises:
            KidasrError: If it does not.
        """

    def describe(self) -> str:
        """A short description for the log."""
        return type(self).__name__


class Augmentations:
    """All augmentations of a run: first those of waveforms, then those of features, each in the order given.

    Args:
        by_name: The ``augment`` group.
    """

    def __init__(self, by_name: Mapping[str, WaveformAugmentation | FeatureAugmentation]):
        self.by_name = dict(by_name)
        self.of_waveforms = [one for one in by_name.values() if isinstance(one, WaveformAugmentation)]
        self._features = [one for one in by_name.values() if isinstance(one, FeatureAugmentation)]
        for name, one in by_name.items():
            if one not in self.of_waveforms and one not in self._features:
                raise KidasrError(
                    f"augment.{name}._target_: {type(one).__name__} is not an augmentation; expected: a subclass of "
                    "WaveformAugmentation or FeatureAugmentation (kidasr.features.augment)"
                )

    @property
    def max_length_factor(self) -> float:
        """Maximum factor by which all of them together lengthen an utterance."""
        return float(np.prod([one.max_length_factor for one in self.of_waveforms]))

    def waveform(self, samples: Samples, draw: Draw, max_samples: int) -> Samples:
        """Augment samples; an augmentation is skipped if the result would exceed the model's window."""
        for one in self.of_waveforms:
            augmented = one(samples, draw)
            samples = augmented if len(augmented) <= max_samples else samples
        return samples

    def features(self, features: torch.Tensor, real_frames: int, draw: Draw) -> torch.Tensor:
        """Augment features of shape ``(mel_bins, frames)``."""
        for one in self._features:
            features = one(features, real_frames, draw)
        return features

    def check(self, mel_bins: int) -> None:
        """Check that all work with a model with this many mel bins.

        Raises:
            KidasrError: If one does not.
        """
        for one in self._features:
            one.check(mel_bins)

    def describe(self) -> Iterator[str]:
        """One line per augmentation, for the log."""
        for name, one in self.by_name.items():
            yield f"{name}: {one.describe()}"
