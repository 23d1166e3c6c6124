"""Augmentation of the training set: the three kinds of augmentation, and how several are combined.

To add an augmentation, write a subclass of one of the three classes below in a module of your own, and a file in
``conf/augment``::

    # @package _global_
    # What it does, in one line.
    augment:
      mine:
        _target_: my_module.MyAugmentation
        p: 0.5
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction as Ratio
from typing import TYPE_CHECKING

import numpy as np

from kidasr.errors import KidasrError
from kidasr.seeding import generator_for, seed_for

if TYPE_CHECKING:
    import torch

    from kidasr.corpus.audio import Samples
    from kidasr.corpus.manifest import Utterance
    from kidasr.features.joining import Groups, Joining, Stages

#: Numbers in words, for :func:`share_of`.
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


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

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """What is drawn for an utterance, by name, for ``job=listen``; None if the utterance stays as it is."""
        return {}

    def describe(self) -> str:
        """A short description for the log."""
        return type(self).__name__


class FeatureAugmentation:
    """Changes log-mel features, but not their shape."""

    #: Whether each frame stays at its place.
    keeps_positions: bool = True

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

    def drawn(self, draw: Draw) -> Mapping[str, object] | None:
        """What is drawn for an utterance, by name, for ``job=listen``; None if the utterance stays as it is."""
        return {}

    def describe(self) -> str:
        """A short description for the log."""
        return type(self).__name__


@dataclass(frozen=True)
class Joinable:
    """What a joining augmentation knows of the training set: arrays of shape ``(utterances,)``."""

    #: Length of each recording, in seconds.
    durations_sec: np.ndarray[tuple[int], np.dtype[np.float64]]
    #: A number for each speaker.
    speakers: np.ndarray[tuple[int], np.dtype[np.int64]]
    #: The longest result: the model's window.
    window_sec: float


class UtteranceAugmentation:
    """Joins utterances of the training set with others of it, audio and text, before anything else is changed.

    It decides for a whole epoch at once, before the batches are made, so that they are planned with the new lengths. Each
    utterance keeps its place in the order; others follow it.
    """

    #: Silence between two utterances.
    pause_sec: float = 0.0

    def longest_sec(self, joinable: Joinable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The longest that each utterance may become in any epoch, in seconds, shape ``(utterances,)``."""
        raise NotImplementedError

    def partners(self, joinable: Joinable, seed: int, epoch: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """The utterances that follow each one in an epoch: a pure function of its arguments.

        Returns:
            Indices of utterances, shape ``(utterances, most)``, with -1 for none; no utterance after a -1.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """A short description for the log."""
        return type(self).__name__


#: The classes of the ``augment`` group.
Augmentation = UtteranceAugmentation | WaveformAugmentation | FeatureAugmentation


class Augmentations:
    """All augmentations of a run: the one that joins, then those of waveforms, then those of features, in the order given.

    Args:
        by_name: The ``augment`` group.
    """

    def __init__(self, by_name: Mapping[str, Augmentation]):
        self.by_name = dict(by_name)
        self._utterances = {name: one for name, one in by_name.items() if isinstance(one, UtteranceAugmentation)}
        self.of_waveforms = [one for one in by_name.values() if isinstance(one, WaveformAugmentation)]
        self.of_features = [one for one in by_name.values() if isinstance(one, FeatureAugmentation)]
        for name, one in by_name.items():
            if name not in self._utterances and one not in self.of_waveforms and one not in self.of_features:
                raise KidasrError(
                    f"augment.{name}._target_: {type(one).__name__} is not an augmentation; expected: a subclass of "
                    "WaveformAugmentation, FeatureAugmentation or UtteranceAugmentation (kidasr.features.augment)"
                )
        if len(self._utterances) > 1:
            raise KidasrError(f"augment: {' and '.join(self._utterances)} both join utterances; expected: one of them")

    def drawn(self, draw: Draw) -> list[Mapping[str, object]]:
        """What those of waveforms and features that change an utterance draw for it."""
        found = [*(one.drawn(draw) for one in self.of_waveforms), *(one.drawn(draw) for one in self.of_features)]
        return [one for one in found if one is not None]

    @property
    def changes_audio(self) -> bool:
        """Whether an utterance's samples may differ from its recording's."""
        return bool(self._utterances or self.of_waveforms)

    @property
    def draws_views(self) -> bool:
        """Whether two views of an utterance may differ."""
        draw = Draw(0, 0, "")
        return any(
            one.p > 0 if hasattr(one, "p") else one.drawn(draw) is not None
            for one in (*self.of_waveforms, *self.of_features)
        )

    def joining(
        self,
        utterances: Sequence[Utterance],
        seed: int,
        window_sec: float,
        stages: Stages | None = None,
        groups: Groups | None = None,
    ) -> Joining | None:
        """Which utterances of a training set are joined; None if none are. Arguments: see :class:`Joining`."""
        from kidasr.features.joining import Joining

        arguments = (utterances, seed, window_sec, stages, groups)
        return next((Joining(one, *arguments) for one in self._utterances.values()), None)

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
        for one in self.of_features:
            features = one(features, real_frames, draw)
        return features

    def check(self, mel_bins: int) -> None:
        """Check that all work with a model with this many mel bins.

        Raises:
            KidasrError: If one does not.
        """
        for one in self.of_features:
            one.check(mel_bins)

    def describe(self) -> Iterator[str]:
        """One line per augmentation, for the log."""
        for name, one in self.by_name.items():
            yield f"{name}: {one.describe()}"


def share_of(fraction: float) -> str:
    """A share of the utterances in words: ``"two utterances of three"``."""
    ratio = Ratio(fraction).limit_denominator(len(_WORDS) - 1)
    if abs(float(ratio) - fraction) > 0.005:
        return f"{100 * fraction:.0f}% of the utterances"
    if ratio in (0, 1):
        return "every utterance" if ratio else "no utterance"
    return f"{_WORDS[ratio.numerator]} utterance{'s' if ratio.numerator > 1 else ''} of {_WORDS[ratio.denominator]}"


def uniform(rng: np.random.Generator, span: Sequence[float]) -> float:
    """Draw from ``[LOWEST, HIGHEST]``."""
    low, high = span
    return rng.uniform(low, high)
