"""Comparisons in one sentence each."""

from collections.abc import Mapping, Sequence
from typing import Any

from kidasr.report.tables import points


def verdict(pair: Mapping[str, Any], comparisons: int, rate: str = "WER") -> str:
    """The conclusion that the data support about a configuration against the baseline.

    "Significant" needs both: a 95% interval (speakers and seeds) without zero, and p < 0.05 after Holm's correction.

    Args:
        pair: One of the ``pairs`` in ``comparison.json``.
        comparisons: Number of pairs.
        rate: Name of the error rate.
    """
    if pair["ci95"] is None:
        return f"{points(pair['delta_wer'])} points of {rate}: a single speaker, so no interval"
    low, high = pair["ci95"]
    found = f"{points(pair['delta_wer'])} points of {rate} (95% interval {points(low)} to {points(high)})"
    if low <= 0 <= high:
        detectable = f"a true difference of {100 * pair['detectable']:.1f} points would have been found with 80% probability"
        return f"{found}: no difference found ({detectable})"
    direction = "better" if high < 0 else "worse"
    if pair["p_holm"] >= 0.05:
        test = f"MAPSSWE, Holm-corrected for {comparisons} comparisons" if comparisons > 1 else "MAPSSWE"
        return f"{found}: {direction}, but not significantly so (p = {pair['p_holm']:.2f}, {test})"
    return f"{found}: significantly {direction}"


def about_seeds(pairs: Sequence[Mapping[str, Any]]) -> str:
    """How the intervals treat seed variance."""
    if all(max(pair["seeds"]) == 1 for pair in pairs):
        return "One seed each: seed variance is not included, so the intervals are too narrow."
    return (
        "The intervals include the variance between speakers and between seeds. Seed variance is assumed equal in all "
        "configurations and estimated from all of them."
    )


def ages_that_differ(pair: Mapping[str, Any]) -> Sequence[str]:
    """The age buckets whose own, uncorrected 95% interval excludes zero, each as ``"3-4: -2.0 (-3.5 to -0.4)"``."""
    return [
        f"{age}: {points(one['delta_wer'])} ({points(one['ci95'][0])} to {points(one['ci95'][1])})"
        for age, one in pair["by_age"].items()
        if one["ci95"] and not one["ci95"][0] <= 0 <= one["ci95"][1]
    ]
