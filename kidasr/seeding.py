"""Randomness as a pure function of its purpose: without global state, resumed runs and several processes agree."""

import zlib

import numpy as np


def seed_for(purpose: str, *key: int | str) -> int:
    """A 63-bit seed that depends only on the purpose and the key, e.g. ``seed_for("specaugment", seed, epoch, id)``."""
    entropy = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in (purpose, *key)]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def generator_for(purpose: str, *key: int | str) -> np.random.Generator:
    """A numpy generator seeded by :func:`seed_for`."""
    return np.random.default_rng(seed_for(purpose, *key))
