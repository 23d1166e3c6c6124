"""Invented experiments: runs whose true differences and spreads are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom, norm

from kidasr.evidence.runs import Run


@dataclass(frozen=True)
class World:
    """Standard deviations of what makes WERs differ, in probit units times the mean slope: points of WER as fractions."""

    speakers: int = 40
    words_per_speaker: int = 110
    #: Between runs of one configuration, on all children.
    seeds: float = 0.01
    #: Between speakers, of what a configuration changes.
    children: float = 0.01
    #: Of one speaker in one run.
    both: float = 0.01

    def errors(
        self,
        rng: np.random.Generator,
        runs_of: Sequence[int] | np.ndarray,
        change: Sequence[float] | None = None,
        fixed: Sequence[int] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Errors, shape ``(speakers, runs)``, and the words of each speaker.

        Args:
            rng: Draws everything.
            runs_of: The configuration of each run.
            change: What each configuration changes for the mean child, as a fraction.
            fixed: Runs that are systems without seeds.
        """
        configurations = np.asarray(runs_of)
        known = np.zeros(configurations.max() + 1) if change is None else np.asarray(change)
        words = rng.integers(self.words_per_speaker // 2, 3 * self.words_per_speaker // 2, self.speakers)
        hard = norm.ppf(np.clip(rng.beta(2, 6, self.speakers), 0.06, 0.65))  # a speaker's WER: 6 to 65%
        slope = norm.pdf(hard).mean()
        shift = known[None, :] + rng.normal(0, self.children, (self.speakers, len(known)))
        of_run = rng.normal(0, self.seeds, len(configurations))[None, :]
        of_run[:, list(fixed)] = 0
        of_both = rng.normal(0, self.both, (self.speakers, len(configurations)))
        chance = norm.cdf(hard[:, None] + (shift[:, configurations] + of_run + of_both) / slope)
        return rng.binomial(words[:, None], chance), words


def as_runs(errors: np.ndarray, words: np.ndarray, names: Sequence[str], **fields: Any) -> dict[str, list[Run]]:
    """Runs by configuration, each speaker with one utterance.

    Args:
        errors: Shape ``(speakers, runs)``.
        words: Shape ``(speakers,)``.
        names: The configuration of each run.
        fields: Other fields of the runs: a list with one value for each.
    """
    groups: dict[str, list[Run]] = {}
    for number, name in enumerate(names):
        own = {key: values[number] for key, values in fields.items()}
        groups.setdefault(name, []).append(a_run(errors[:, number], words, seed=len(groups.get(name, ())) + 1, **own))
    return groups


def a_run(errors: np.ndarray, words: np.ndarray, seed: int, **fields: Any) -> Run:
    """One run; see :func:`as_runs`."""
    count = len(words)
    own: Mapping[str, Any] = {
        "folder": f"run{seed}",
        "config": None,
        "overrides": None,
        "seed": seed,
        "metrics": {},
        "utterance_ids": [f"u{one:04}" for one in range(count)],
        "speakers": np.array([f"s{one:04}" for one in range(count)]),
        "ages": np.array(["7-8"] * count),
        "references": [""] * count,
        "hypotheses": [str(one) for one in errors],
        "audio_paths": [""] * count,
        "raw_references": [""] * count,
        "raw_hypotheses": [""] * count,
        "words": words,
        "characters": words * 5,
        "kinds": np.array([errors, np.zeros(count, int), np.zeros(count, int)]),
        "character_errors": errors,
    }
    return Run(**{**own, **fields})


def within(found: float, expected: float, trials: int, sure: float = 0.999) -> bool:
    """Whether a share found in so many trials may be the expected one: inside its central interval of that probability."""
    low, high = binom.interval(sure, trials, expected)
    return bool(low <= round(found * trials) <= high)


def at_most(found: float, expected: float, trials: int, sure: float = 0.999) -> bool:
    """Whether a share found in so many trials may be the expected one or less."""
    return bool(round(found * trials) <= binom.ppf(sure, trials, expected))
