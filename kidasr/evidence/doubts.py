"""Warnings about a comparison: what makes its answers weaker than they look."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from kidasr.evidence.differences import FEWEST_SPEAKERS, Differences
from kidasr.evidence.runs import has_unknown_speakers
from kidasr.evidence.speakers import speaker_sums
from kidasr.runs.identity import key_of

#: A speaker with a larger share of the words makes intervals too narrow.
LARGE_SHARE = 0.3

#: A run is far from the others from so many times their usual distance on, and so many points.
FAR, FAR_POINTS = 8.0, 0.05

#: Runaways with more points of a run's error rate than this are named.
LOOPS_POINTS = 1.0

#: A factorial from which more is missing was not meant as one.
NEARLY_COMPLETE = 0.75


def doubts(found: Differences, on: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """One line for each doubt.

    Args:
        found: The differences.
        on: The active factors of each configuration of an ablation.
    """
    first = found.runs[0]
    (words,) = speaker_sums(first.speakers, first.words)
    names = np.unique(first.speakers)
    if found.speakers_unknown:
        unknown = sum(map(has_unknown_speakers, found.runs))
        some = f" in {unknown} of {len(found.runs)} runs, and ignored in the others" if unknown < len(found.runs) else ""
        yield (
            f"speakers are unknown (data.speakers=unknown){some}: every interval and p takes utterances as "
            "independent, though those of one child are alike. Intervals are too narrow, and p too small"
        )
    if found.speakers < FEWEST_SPEAKERS:
        unit = "utterance(s)" if found.speakers_unknown else "speaker(s)"
        yield f"{found.speakers} {unit}: too few for a verdict; expected: {FEWEST_SPEAKERS} or more"
    elif words.max() > LARGE_SHARE * words.sum():
        one = "utterance" if found.speakers_unknown else "speaker"
        yield (
            f"{one} {names[words.argmax()]} has {100 * words.max() / words.sum():.0f}% of the words, so intervals are "
            f"somewhat too narrow; expected: less than {100 * LARGE_SHARE:.0f}%"
        )
    yield from _far_runs(found)
    yield from _loops(found)
    if found.factorial is None and on:
        yield from _missing(on)


def _far_runs(found: Differences) -> Iterator[str]:
    """Runs far from all others, such as one that diverged."""
    rates = np.array([run.errors.sum() / max(1, run.words.sum()) for run in found.runs])
    middle = float(np.median(rates))
    usual = 1.4826 * float(np.median(np.abs(rates - middle)))
    for run, rate in zip(found.runs, rates, strict=True):
        if len(rates) > 3 and abs(rate - middle) > max(FAR * usual, FAR_POINTS):
            yield (
                f"{run.folder}: an error rate of {100 * rate:.1f}%, far from the others' ({100 * middle:.1f}%): it widens "
                "the intervals; if its training failed, leave it out of runs="
            )


def _loops(found: Differences) -> Iterator[str]:
    """Runs whose rate is largely that of a few transcripts in which the model repeats itself."""
    for name, members in found.groups.items():
        for run in members:
            errors = int(run.runaway_errors.sum())
            points = 100 * errors / max(1, run.words.sum())
            if points > LOOPS_POINTS:
                count = int(run.runaways.sum())
                which = f"{count} runaway transcript{'s' if count > 1 else ''} of {name}"
                seed = "" if run.seed is None else f", seed {run.seed}"
                yield (
                    f"{which}{seed} ({errors} errors) make {points:.1f} points of its rate: small differences may be "
                    "theirs; look at them in the report"
                )


def _missing(on: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """The configurations that a factorial lacks."""
    factors = sorted(set().union(*on.values()))
    # Not one at a time, and not several levels of one factor.
    if not 2 <= len(factors) <= 10 or len(on) <= len(factors) + 1 or len(set(map(key_of, factors))) < len(factors):
        return
    there = set(on.values())
    every = [
        frozenset(name for name, used in zip(factors, row, strict=True) if used)
        for row in product((0, 1), repeat=len(factors))
    ]
    for design in (every, [one for one in every if len(one) % 2 == 0]):
        missing = [one for one in design if one not in there]
        if missing and there <= set(design) and len(design) - len(missing) >= NEARLY_COMPLETE * len(design):
            named = ", ".join("+".join(sorted(one)) or "baseline" for one in missing)
            yield f"no effects of the factors, since {len(missing)} configuration(s) of the factorial are missing: {named}"
            return
