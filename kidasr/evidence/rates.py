"""Error rates of runs and of configurations, overall and by age, with intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kidasr.evidence.choice import recorded_choice
from kidasr.evidence.differences import Differences
from kidasr.evidence.runs import Run
from kidasr.evidence.speakers import Interval, gap_interval, rate_interval, speaker_sums


def describe(run: Run) -> dict[str, Any]:
    """A run's WER and CER with 95% intervals over children, overall and by age, its error types, and its age gap.

    Returns:
        Rates are fractions, or None without words. ``gap_youngest_oldest`` is the WER of the youngest age bucket minus the
        WER of the oldest, or None with a single bucket. ``choice`` is the luck in the choice of its checkpoint, or None.
        ``speakers`` is None if they are unknown: the intervals then take utterances as independent, and are too narrow.
    """
    gap = _gap(run)
    choice = recorded_choice(run)
    return {
        **_rates(run, np.ones(len(run.words), dtype=bool)),
        "gap_youngest_oldest": gap and gap.value,
        "gap_ci95": gap and gap.ends,
        "choice": choice,
        "by_age": {age: _rates(run, run.ages == age) for age in run.age_buckets},
    }


def _rates(run: Run, chosen: np.ndarray) -> dict[str, Any]:
    speakers, words, characters = run.speakers[chosen], run.words[chosen], run.characters[chosen]
    substitutions, deletions, insertions = (int(one) for one in run.kinds[:, chosen].sum(axis=1))
    wer = rate_interval(speakers, run.errors[chosen], words)
    cer = rate_interval(speakers, run.character_errors[chosen], characters)
    return {
        "utterances": int(run.utterances[chosen].sum()),
        "speakers": None if run.speakers_unknown else len(set(speakers)),
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


def _gap(run: Run) -> Interval | None:
    known = [run.ages == age for age in run.age_buckets if age != "unknown" and run.words[run.ages == age].any()]
    if len(known) < 2:
        return None
    young, old = (speaker_sums(run.speakers[one], run.errors[one], run.words[one]) for one in (known[0], known[-1]))
    return gap_interval(young, old)


def describe_configurations(differences: Differences) -> list[dict[str, Any]]:
    """The mean WER of each configuration over its seeds, overall and by age; with intervals for other children and seeds.

    Without a second seed the intervals are None.
    """
    found = differences.of_configurations()
    return [
        {
            "configuration": name,
            "seeds": [run.seed for run in members],
            **found["all"][number],
            "by_age": {age: of_age[number] for age, of_age in found.items() if age != "all"},
        }
        for number, (name, members) in enumerate(differences.groups.items())
    ]


def rate_before(runs: Sequence[Run]) -> float | None:
    """The mean rate of runs before training, on the set that they are read from; None if one of them did not score it."""
    rates: list[float] = []
    for run in runs:
        of_set = run.metrics if run.set_name == "validation" else (run.metrics.get("tests") or {}).get(run.set_name) or {}
        rate = (of_set.get("zero_shot") or {}).get("wer")
        if rate is None:
            return None
        rates.append(rate)
    return float(np.mean(rates))
