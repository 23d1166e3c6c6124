"""The ages of the utterances that training draws, step by step: recomputed from the batches, which are a pure function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imports torch, which comparisons have no use for
    from kidasr.batching.batches import EpochBatches

#: The first epochs, and at most so many groups of steps, are drawn.
FIRST_EPOCHS, MAX_GROUPS = 6, 96


@dataclass(frozen=True)
class AgesDrawn:
    """The share of each age bucket in consecutive groups of optimizer steps."""

    #: Names of the buckets, youngest first; only those in the training set.
    ages: list[str]
    #: The first step of each group, counted from 0, and the end of the last.
    edges: list[int]
    #: Shares, shape ``(groups, ages)``; each row sums to 1.
    shares: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    #: Optimizer steps in an epoch.
    epoch_steps: int


def ages_drawn(batches: EpochBatches, accumulated: int, steps: int) -> AgesDrawn:
    """The ages drawn in the first epochs of a run.

    Args:
        batches: The batches of the training set.
        accumulated: Number of batches in an optimizer step.
        steps: Number of steps that the run has made.
    """
    buckets = batches.training_set.age_buckets
    names = batches.training_set.buckets.names
    epoch_steps = math.ceil(len(batches) / accumulated)
    shown = min(steps, FIRST_EPOCHS * epoch_steps)
    counts = np.zeros((shown, len(names)))
    for epoch in range(math.ceil(shown / epoch_steps)):
        for number, batch in enumerate(batches.batches(epoch)):
            step = epoch * epoch_steps + number // accumulated
            if step < shown:
                counts[step] += np.bincount(buckets[batch], minlength=len(names))
    present = np.unique(buckets)
    edges = np.unique(np.linspace(0, shown, min(shown, MAX_GROUPS) + 1).round().astype(int))
    grouped = np.add.reduceat(counts, edges[:-1], axis=0)
    shares = grouped / grouped.sum(axis=1, keepdims=True)
    return AgesDrawn([names[place] for place in present], edges.tolist(), shares[:, present], epoch_steps)
