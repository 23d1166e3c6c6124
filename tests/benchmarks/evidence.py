"""How long a comparison of a large test set takes: ``python -m tests.benchmarks.evidence``.

Invents 560,000 utterances of 1,000 speakers, and times the interval of a difference with 10,000 replicates; prints the time
and the most memory that the process has used.
"""

import resource
import time

import numpy as np

from kidasr.evidence.bootstrap import wer_difference

UTTERANCES, SPEAKERS, REPLICATES = 560_000, 1_000, 10_000


def main() -> None:
    rng = np.random.default_rng(1)
    speakers = rng.integers(SPEAKERS, size=UTTERANCES).astype(str)
    words = rng.integers(1, 12, UTTERANCES)
    run, baseline = rng.binomial(words, 0.2), rng.binomial(words, 0.21)
    before_gb = memory_gb()
    begun = time.perf_counter()
    found = wer_difference(speakers, run, baseline, words, REPLICATES)
    took_sec = time.perf_counter() - begun
    print(f"{UTTERANCES:,} utterances of {SPEAKERS:,} speakers, {REPLICATES:,} replicates: {took_sec:.2f} s")
    print(f"most memory: {memory_gb():.2f} GB, {before_gb:.2f} GB of it before")
    print(f"difference {100 * found.value:+.2f} points, 95% interval {100 * found.low:+.2f} to {100 * found.high:+.2f}")


def memory_gb() -> float:
    """The most that this process has used so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
