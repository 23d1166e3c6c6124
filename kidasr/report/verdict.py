"""Comparisons in one sentence each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kidasr.evidence.planning import USUAL, Plan, seeds_needed
from kidasr.report.tables import percent, points, says_nothing

#: Said beside each interval and verdict if speakers are unknown.
TOO_NARROW = "speakers are unknown: utterances are taken as independent, so intervals are too narrow and p is too small"
#: The same in a figure.
TOO_NARROW_SHORT = "speakers unknown, intervals too narrow"

#: More seeds than anybody runs.
MANY_SEEDS = 50


def verdict(pair: Mapping[str, Any], rate: str = "WER", speakers: int | None = None) -> str:
    """The conclusion that the data support about a configuration against the baseline, or about an effect.

    Args:
        pair: One of the ``pairs`` or ``effects`` in ``comparison.json``.
        rate: Name of the error rate.
        speakers: Their number, to say how many seeds would tell where there is only one; None if unknown.
    """
    said = _verdict(pair, rate, speakers)
    if pair.get("question") == "systems":
        said = f"these two systems, for other speakers: {said}"
    return f"{said}; {TOO_NARROW}" if pair.get("speakers_unknown") else said


def _verdict(pair: Mapping[str, Any], rate: str, speakers: int | None) -> str:
    found = f"{points(pair['delta_wer'])} points of {rate}"
    if pair["verdict"] == "one seed":
        return f"{found}, with one seed: {_of_these_runs(pair)}{_seeds_that_tell(pair, speakers)}"
    if pair["verdict"] == "few seeds":
        return f"{found}, with {max(pair['seeds'])} seeds against a system as it is: {_of_these_runs(pair)}"
    if pair["ci95"] is None:
        one = "utterance" if pair.get("speakers_unknown") else "speaker"
        return f"{found}: a single {one}, so no interval"
    low, high = pair["ci95"]
    if low == high == 0:
        return f"{found}: not a single error more or less"
    if pair["verdict"] == "undecided" and (says_nothing(pair["ci95"]) or low == high):
        return f"{found}: undecided, not enough data"
    found = f"{found} (95% interval {points(low)} to {points(high)})"
    comparisons = pair["comparisons"]
    corrected = f" after correction for {comparisons} comparisons" if comparisons > 1 else ""
    if pair["verdict"] != "undecided":
        screened = "; or interactions of the others are: a screening design can't tell" if pair.get("is_screening") else ""
        return f"{found}: significantly {pair['verdict']} (p {_p(pair['p_corrected'])}{corrected}{screened})"
    shown = f"a true difference of {100 * pair['detectable']:.1f} points would have been shown with 80% probability"
    if low <= 0 <= high:
        return f"{found}: undecided ({shown})"
    return f"{found}: undecided, p {_p(pair['p_corrected'])}{corrected} ({shown})"


def _of_these_runs(pair: Mapping[str, Any]) -> str:
    of_speakers = pair.get("children")
    if not of_speakers:
        return "the spread between seeds is unknown"
    if of_speakers["p_holm"] < 0.05:
        return (
            f"these very runs differ on these speakers (p {_p(of_speakers['p_holm'])} over speakers), but another seed may "
            "change that"
        )
    return f"not even these very runs differ by more than chance among these speakers (p {_p(of_speakers['p_holm'])})"


def _seeds_that_tell(pair: Mapping[str, Any], speakers: int | None) -> str:
    if not speakers or not pair["delta_wer"]:
        return ""
    plan = Plan("one_at_a_time", pair["comparisons"] + 1, 1, pair["comparisons"])
    needed = seeds_needed(plan, abs(pair["delta_wer"]), USUAL, speakers, MANY_SEEDS)
    spread = f"if seeds differ as usual, by {100 * USUAL.of_runs(speakers):.1f} points"
    if needed is None:
        return f". More than {MANY_SEEDS} seeds would be needed to tell so small a difference ({spread})"
    return f". About {needed} seeds each would tell ({spread})"


def _p(p: float) -> str:
    return f"= {p:.3f}" if p >= 0.001 else "< 0.001"


def about_all(comparison: Mapping[str, Any]) -> list[str]:
    """What is to be known of a comparison as a whole."""
    pairs, effects = comparison["pairs"], comparison["effects"]
    about = (
        about_seeds(pairs, effects),
        about_spread(pairs, bool(effects)),
        about_set(comparison["set"], comparison["runs"], comparison["rate"]),
        about_other_sets(comparison),
    )
    return [line for line in about if line]


def about_seeds(pairs: Sequence[Mapping[str, Any]], effects: Sequence[Mapping[str, Any]] = ()) -> str:
    """How the intervals treat seed variance, and what is asked of systems that have no seeds."""
    systems = [pair for pair in pairs if pair.get("question") == "systems"]
    trained = [pair for pair in pairs if pair.get("question") != "systems"]
    said = [_about_seeds(trained, effects)] if trained or effects else []
    if any(pair.get("question") == "training and system" for pair in trained):
        said.append(
            "A system as it is (a stock model, another recogniser's file) has no seeds; a training needs three to be "
            "compared with one."
        )
    if systems:
        which = "" if len(systems) == len(pairs) else f" ({', '.join(pair['run'] for pair in systems)})"
        said.append(
            f"Between systems as they are{which}, the question is which of the two makes fewer errors for other speakers. "
            "It is not which way of training is better: another training run of the same kind would be another system."
        )
    return " ".join(said)


def _about_seeds(pairs: Sequence[Mapping[str, Any]], effects: Sequence[Mapping[str, Any]]) -> str:
    alone = [pair["run"] for pair in pairs if pair["verdict"] in ("one seed", "few seeds")]
    if alone and any(effect["p"] is not None for effect in effects):
        return (
            "One seed each, so there are no intervals of single configurations. The effects take their error from "
            "interactions that they leave out (of three factors and more, in a full factorial), taken to be small."
        )
    if len(alone) < len(pairs) and alone:
        return (
            f"One seed of these or of the baseline, so no interval: {', '.join(alone)}. Expected: two seeds or more of each."
        )
    if alone:
        return (
            "One seed each: how far seeds differ is unknown, so there are no intervals, and nothing can be called "
            "significant. Expected: seeds=1,2 or more, or a factorial."
        )
    return (
        "The intervals include the spread between speakers and between seeds. That of a configuration's seeds is estimated "
        "from its own runs and, since these are few, from all others'."
    )


def about_set(set_name: str, runs: Sequence[Mapping[str, Any]], rate: str = "WER") -> str:
    """Which set is compared, and what the choice of checkpoints does to it."""
    choices = [run["choice"] for run in runs if run.get("choice")]
    if not choices:
        if set_name == "validation" and all(run.get("is_fixed") for run in runs):
            return "Compared on the validation set. The rate of a system whose checkpoint was chosen on it is too low."
        if set_name == "validation":
            return "Compared on the validation set, which chose the checkpoints; a test set (data.test) has no such bias."
        return f"Compared on the set {set_name}."
    evaluations, utterances = (max(one[name] for one in choices) for name in ("evaluations", "utterances"))
    optimism, spread = (100 * float(np.mean([one[name] for one in choices])) for name in ("optimism", "spread"))
    by_name: dict[str, list[float]] = {}
    for run in runs:
        if run.get("choice"):
            by_name.setdefault(run["configuration"], []).append(100 * run["choice"]["optimism"])
    means = {name: float(np.mean(ones)) for name, ones in by_name.items()}
    least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    apart = f" ({least} {abs(means[least]):.1f}, {most} {means[most]:.1f})" if len(means) > 1 else ""
    luck = (
        f"Checkpoints were chosen among up to {evaluations} evaluations of {utterances} utterances. The kept ones' {rate} "
        f"there is about {optimism:.1f} points lower than it would be on other utterances{apart}, and with other speakers "
        f"to choose by, a run's {rate} would vary by {spread:.1f} points."
    )
    if set_name != "validation":
        return f"Compared on the set {set_name}, which chose no checkpoint. {luck}"
    size = runs[0]["utterances"]
    share = "which" if utterances >= size else f"{utterances} of whose {size} utterances"
    return f"Compared on the validation set, {share} chose the checkpoints; a test set (data.test) has no such bias. {luck}"


def about_worse_sets(metrics: Mapping[str, Any]) -> str:
    """The test sets that a run's training made worse, beyond chance among their speakers; empty if there are none.

    Args:
        metrics: The content of ``metrics.json``.
    """
    rate = metrics.get("rate", "WER")
    worse = []
    for name, one in metrics.get("tests", {}).items():
        change = one["change"]
        if change is not None and change["verdict"] == "worse":
            low, high = change["ci95"]
            worse.append(
                f"{name}, {points(change['delta_wer'])} points of {rate}, from {percent(one['zero_shot']['wer'])} to "
                f"{percent(one['final']['wer'])} (95% interval {points(low)} to {points(high)}, "
                f"{change['speakers']} speakers)"
            )
    return f"training made it worse on: {'; '.join(worse)}" if worse else ""


def about_undecided_sets(metrics: Mapping[str, Any]) -> list[str]:
    """The test sets whose rate rose, but not beyond chance among their speakers; one line each."""
    lines = []
    for name, one in metrics.get("tests", {}).items():
        change = one["change"]
        if change is not None and change["delta_wer"] > 0 and change["verdict"] == "undecided":
            ends = change["ci95"]
            known = f"95% interval {points(ends[0])} to {points(ends[1])}, " if ends else ""
            rise = f"{points(change['delta_wer'])} points of {metrics.get('rate', 'WER')}"
            lines.append(
                f"set {name}: undecided whether training made it worse: {rise} ({known}{change['speakers']} speakers)"
            )
    return lines


def about_full_window(found: Mapping[str, Any], rate: str = "WER") -> str:
    """What padding costs a model that was trained on short input: the entry ``full_window`` of ``metrics.json``."""
    change, ends = found["change"], found["change"]["ci95"]
    known = f"95% interval {points(ends[0])} to {points(ends[1])}, " if ends else "no interval, "
    judged = {"worse": "padding makes it worse", "better": "padding makes it better", "undecided": "undecided"}
    loops = found["runaways"] - found["runaways_short"]
    looping = f"; {found['runaways']} transcripts loop, {found['runaways_short']} on short input" if loops > 0 else ""
    return (
        f"padded to {found['window_sec']:g} s, {percent(found['wer'])} {rate} instead of {percent(found['wer_short'])} "
        f"on short input: {points(change['delta_wer'])} points ({known}{found['utterances']} utterances of "
        f"{change['speakers']} speakers){looping}; {judged[change['verdict']]}"
    )


def about_kept(metrics: Mapping[str, Any]) -> str:
    """Which weights a run kept, or which model was evaluated, as a sentence; empty if neither is known."""
    if evaluated := metrics.get("evaluated"):
        of_input = "short input" if evaluated["input"] == "short" else "its full window"
        return f"The model is {evaluated['model']} as it is, on {of_input}."
    if metrics.get("kept") is None and metrics.get("best_step") is None:
        return ""
    if metrics["best_step"] is not None:
        return f"The model was kept at step {metrics['best_step']} of {metrics['steps']}."
    steps = f", of {metrics['steps']} steps" if metrics["steps"] else ""
    return f"The model is the {metrics['kept']}{steps}."


def about_choice(choice: Mapping[str, Any], rate: str = "WER") -> str:
    """The luck in the choice of a checkpoint: ``choice`` as :func:`kidasr.evidence.rates.describe` returns it."""
    return (
        f"It was chosen among {choice['evaluations']} evaluations of {choice['utterances']} utterances. Its {rate} "
        f"on these, {percent(choice['wer'])}, is expected to be {100 * choice['optimism']:.1f} points too low for that."
    )


def costs(comparison: Mapping[str, Any]) -> list[str]:
    """What is significantly worse on a set that the comparison is not about, one line each."""
    lines = []
    for other in comparison.get("other_sets", []):
        baseline = other["pairs"][0]["baseline"]
        judged = [(f"{pair['run']} is significantly worse than {baseline}", pair) for pair in other["pairs"]]
        judged += [
            (f"{effect['effect']} makes it significantly worse", effect)
            for effect in other["effects"]
            if effect["kind"] == "main"
        ]
        for what, one in judged:
            if one["verdict"] == "worse":
                low, high = one["ci95"]
                found = f"{points(one['delta_wer'])} points of {comparison['rate']}"
                lines.append(f"on {other['set']}, {what}: {found} (95% interval {points(low)} to {points(high)})")
    return lines


def about_other_sets(comparison: Mapping[str, Any]) -> str:
    """The other sets that the runs were scored on; empty if there are none."""
    others = [other["set"] for other in comparison.get("other_sets", [])]
    return f"All runs were scored on these sets too: {', '.join(others)} (on=NAME compares on one)." if others else ""


def about_spread(pairs: Sequence[Mapping[str, Any]], is_factorial: bool = False) -> str:
    """Where the uncertainty of the pairs comes from, and what would shrink it; empty if it is unknown."""
    known = [pair["spread"] for pair in pairs if pair.get("spread")]
    if not known:
        return ""
    parts = {
        name: 100 * float(np.sqrt(np.mean([one[name] ** 2 for one in known]))) for name in ("children", "seeds", "both")
    }
    remedies = {
        "children": "more speakers in the set",
        "seeds": "more seeds" if is_factorial else "more seeds, or a factorial, in which every run counts for every effect",
        "both": "more speakers or more seeds",
    }
    largest = max(parts, key=parts.__getitem__)
    return (
        f"Of a pair's standard error, speakers who profit more or less make {parts['children']:.1f} points, seeds "
        f"{parts['seeds']:.1f}, and single speakers in single runs {parts['both']:.1f} (they add up as squares). "
        f"What would shrink it most: {remedies[largest]}."
    )


def ages_that_differ(pair: Mapping[str, Any]) -> Sequence[str]:
    """The ages whose interval excludes zero, each as ``"3-4: -2.0 (-3.5 to -0.4)"``; none unless the pair itself differs."""
    if pair["verdict"] not in ("better", "worse"):
        return []
    return [
        f"{age}: {points(one['pooled'])} ({points(one['ci95'][0])} to {points(one['ci95'][1])})"
        for age, one in pair["by_age"].items()
        if one["ci95"] and not one["ci95"][0] <= 0 <= one["ci95"][1]
    ]
