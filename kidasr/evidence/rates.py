"""Error rates of runs and differences between configurations, overall and by age, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kidasr.evidence.bootstrap import (
    Difference,
    Interval,
    expanded_percentiles,
    replicate_rates,
    seed_error,
    speaker_sums,
    summarize,
    wer_interval,
)
from kidasr.evidence.runs import Run
from kidasr.evidence.significance import mapsswe


def describe(run: Run, replicates: int) -> dict[str, Any]:
    """A run's WER and CER with 95% intervals, overall and by age, its error types, and its age gap.

    Args:
        run: The run to describe.
        replicates: Number of bootstrap replicates.

    Returns:
        Rates are fractions, or None without words. ``gap_youngest_oldest`` is the WER of the youngest age bucket minus the
        WER of the oldest, or None with a single bucket.
    """
    gap = _gap(run, replicates)
    return {
        **_rates(run, np.ones(len(run.words), dtype=bool), replicates),
        "gap_youngest_oldest": gap and gap.value,
        "gap_ci95": gap and gap.ends,
        "by_age": {age: _rates(run, run.ages == age, replicates) for age in run.age_buckets},
    }


def _rates(run: Run, chosen: np.ndarray, replicates: int) -> dict[str, Any]:
    speakers, words, characters = run.speakers[chosen], run.words[chosen], run.characters[chosen]
    substitutions, deletions, insertions = (int(one) for one in run.kinds[:, chosen].sum(axis=1))
    wer = wer_interval(speakers, run.errors[chosen], words, replicates)
    cer = wer_interval(speakers, run.character_errors[chosen], characters, replicates)
    return {
        "utterances": int(chosen.sum()),
        "speakers": len(set(speakers)),
        "words": int(words.sum()),
        "wer": wer.value if words.any() else None,
        "ci95": wer.ends if words.any() else None,
        "cer": cer.value if words.any() else None,
        "cer_ci95": cer.ends if words.any() else None,
        "substitutions": substitutions,
        "deletions": deletions,
        "insertions": insertions,
        "runaways": int(run.runaways[chosen].sum()),
    }


def _gap(run: Run, replicates: int) -> Interval | None:
    known = [run.ages == age for age in run.age_buckets if age != "unknown" and run.words[run.ages == age].any()]
    if len(known) < 2:
        return None
    sums = [speaker_sums(run.speakers[one], run.errors[one], run.words[one]) for one in (known[0], known[-1])]
    # Different children, so they are drawn independently.
    young, old = (replicate_rates(one, replicates, seed) for seed, one in enumerate(sums, start=1))
    value = _wer(run, known[0]) - _wer(run, known[-1])
    return Interval(value, *expanded_percentiles(young - old, min(one.shape[1] for one in sums)))


def compare_pair(groups: Mapping[str, Sequence[Run]], baseline: str, run: str, replicates: int) -> dict[str, Any]:
    """The WER of a configuration minus that of the baseline, overall and by age.

    Args:
        groups: The runs of each configuration, one per seed. Seed variance is estimated from all of them.
        baseline, run: Names of the two to compare.
        replicates: Number of bootstrap replicates.
    """
    members, others = groups[run], groups[baseline]
    differences = np.mean([one.errors for one in members], axis=0) - np.mean([one.errors for one in others], axis=0)
    first = others[0]
    weights = {run: 1.0, baseline: -1.0}
    found = contrast(groups, weights, np.ones(len(differences), dtype=bool), replicates)
    return {
        "seeds": [len(others), len(members)],
        **as_json(found),
        # Whole speakers as segments, since the test requires independent segments.
        "p_mapsswe": mapsswe(speaker_sums(first.speakers, differences)[0]),
        "detectable": found.detectable if found.ends else None,
        "by_age": {age: as_json(contrast(groups, weights, first.ages == age, replicates)) for age in first.age_buckets},
    }


def contrast(
    groups: Mapping[str, Sequence[Run]], weights: Mapping[str, float], chosen: np.ndarray, replicates: int
) -> Difference:
    """A weighted sum of the WERs of configurations, with weights that add up to zero.

    A configuration's WER is the mean over its seeds. A replicate draws the same speakers for all runs; seed variance is
    added to it.

    Args:
        groups: The runs of each configuration, all on the same utterances. Seed variance is estimated from all of them.
        weights: Weights of the configurations in the sum.
        chosen: Mask of the utterances to include.
        replicates: Number of bootstrap replicates.
    """
    means = [weight * np.mean([run.errors[chosen] for run in groups[name]], axis=0) for name, weight in weights.items()]
    first = next(iter(groups.values()))[0]
    sums = speaker_sums(first.speakers[chosen], np.sum(means, axis=0), first.words[chosen])
    rates = {name: [_wer(run, chosen) for run in runs] for name, runs in groups.items()}
    return summarize(sums, replicate_rates(sums, replicates, seed=1), seed_error(rates, weights))


def as_json(found: Difference) -> dict[str, Any]:
    """The form used in ``comparison.json``; without an interval if there is a single speaker."""
    improvement = found.p_improvement if found.ends else None
    return {"delta_wer": found.value, "ci95": found.ends, "p_improvement": improvement}


def _wer(run: Run, chosen: np.ndarray) -> float:
    words = run.words[chosen].sum()
    return float(run.errors[chosen].sum() / words) if words else 0.0
