"""How long the intervals of a large comparison take: ``python -m tests.benchmarks.evidence``.

Invents the errors of 64 runs of 32 configurations on 560,000 utterances of 1,000 speakers; prints the time of all intervals
and p-values of the 31 pairs, and the most memory that the process has used.
"""

import resource
import time

import numpy as np

from kidasr.evidence.crossed import Panel
from kidasr.evidence.significance import step_down
from kidasr.evidence.speakers import speaker_sums

UTTERANCES, SPEAKERS, CONFIGURATIONS, SEEDS = 560_000, 1_000, 32, 2


def main() -> None:
    rng = np.random.default_rng(1)
    speakers = rng.integers(SPEAKERS, size=UTTERANCES).astype(str)
    words = rng.integers(1, 12, UTTERANCES)
    configuration = np.repeat(np.arange(CONFIGURATIONS), SEEDS)
    errors = [rng.binomial(words, 0.2) for _ in configuration]
    weights = np.zeros((CONFIGURATIONS - 1, len(configuration)))
    for row in range(CONFIGURATIONS - 1):
        weights[row, configuration == row + 1] = 1 / SEEDS
        weights[row, configuration == 0] = -1 / SEEDS
    before_gb = memory_gb()
    begun = time.perf_counter()
    sums = speaker_sums(speakers, words, *errors)
    panel = Panel(sums[1:].T, sums[0], np.eye(CONFIGURATIONS)[configuration], np.arange(len(configuration)))
    found = panel.contrasts(weights)
    corrected = step_down(found.p, found.correlation, float(np.median(found.degrees)))
    took_sec = time.perf_counter() - begun
    print(f"{len(configuration)} runs on {UTTERANCES:,} utterances of {SPEAKERS:,} speakers: {took_sec:.2f} s")
    print(f"most memory: {memory_gb():.2f} GB, {before_gb:.2f} GB of it before")
    print(f"smallest p {found.p.min():.3f}, corrected {corrected.min():.3f}")


def memory_gb() -> float:
    """The most that this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
