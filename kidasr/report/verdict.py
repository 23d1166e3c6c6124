"""A comparison in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from kidasr.report.tables import points


def verdict(pair: Mapping[str, Any], comparisons: int, rate: str = "WER") -> str:
    """What may be said of a configuration against the baseline, and what not.

    "Significant" asks for both: a 95% interval (speakers and seeds) without zero in it, and p < 0.05 after Holm's
    correction.

    Args:
        pair: As in ``comparison.json``.
        comparisons: How many there are.
        rate: What the rate of errors is called.
    """
    if pair["ci95"] is None:
        return f"{points(pair['delta_wer'])} points of {rate}: of a single speaker, so nothing is said of others"
    low, high = pair["ci95"]
    found = f"{points(pair['delta_wer'])} points of {rate} (95% interval {points(low)} to {points(high)})"
    if low <= 0 <= high:
        return f"{found}: no difference shown; one of {100 * pair['detectable']:.1f} points would have been"
    direction = "better" if high < 0 else "worse"
    if pair["p_holm"] >= 0.05:
        counted = f"corrected for {comparisons} comparisons" if comparisons > 1 else "by the test of utterances"
        return f"{found}: {direction}, but not significantly so (p = {pair['p_holm']:.2f}, {counted})"
    return f"{found}: significantly {direction}"


def about_seeds(pairs: Sequence[Mapping[str, Any]]) -> str:
    """What the intervals know of the spread between seeds."""
    if all(max(pair["seeds"]) == 1 for pair in pairs):
        return "One seed each: what another seed would change is not known, and the intervals are too narrow by that."
    return (
        "The intervals hold the spread between speakers and that between seeds, which is taken as equal in all "
        "configurations and estimated from all."
    )


def ages_that_differ(pair: Mapping[str, Any]) -> Sequence[str]:
    """The age buckets whose own 95% interval is without zero, each as ``"3-4: -2.0 (-3.5 to -0.4)"``; uncorrected."""
    return [
        f"{age}: {points(one['delta_wer'])} ({points(one['ci95'][0])} to {points(one['ci95'][1])})"
        for age, one in pair["by_age"].items()
        if one["ci95"] and not one["ci95"][0] <= 0 <= one["ci95"][1]
    ]
