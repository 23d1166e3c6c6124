"""Differences between configurations: every pair with the baseline and every effect of a factorial, with intervals and p."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from kidasr.evidence.ages import AgeDifference, partially_pooled
from kidasr.evidence.crossed import Contrasts, Panel
from kidasr.evidence.factorial import Factorial, factorial
from kidasr.evidence.planning import USUAL, Spread, detectable
from kidasr.evidence.runs import Run
from kidasr.evidence.significance import holm, mapsswe, step_down
from kidasr.evidence.speakers import speaker_sums

Verdict = Literal["better", "worse", "undecided", "one seed", "few seeds"]

#: What a pair asks: whether training of one kind differs from training of another, for other speakers and other seeds;
#: whether two systems as they are differ, for other speakers; or whether a training differs from a system as it is.
Question = Literal["trainings", "systems", "training and system"]

#: Probability of at least one false verdict in a comparison.
LEVEL = 0.05

#: The share of it for the main effects of a factorial, which it was run for. Interactions and pairs have the rest.
MAIN_SHARE = 0.8

#: With fewer speakers the correlations of comparisons are not known well enough, and Holm's correction is used.
SPEAKERS_FOR_CORRELATION = 10

#: With fewer speakers there is no verdict.
FEWEST_SPEAKERS = 3


#: Seeds that a training needs for an interval against a system as it is: its own runs alone tell how far they differ.
FEWEST_SEEDS_ALONE = 3


class Differences:
    """All differences of a comparison.

    Args:
        groups: The runs of each configuration, one per seed, all on the same utterances.
        baseline: The configuration that the others are compared with.
        on: The active factors of each configuration, for the effects of a factorial; empty for none.
        level: Probability of at least one false verdict; lower at an early look of a sequential ablation.
    """

    def __init__(
        self,
        groups: Mapping[str, Sequence[Run]],
        baseline: str,
        on: Mapping[str, frozenset[str]] | None = None,
        level: float = LEVEL,
    ):
        self.groups, self.baseline, self.level = groups, baseline, level
        self.others = [name for name in groups if name != baseline]
        self.runs = [run for members in groups.values() for run in members]
        #: Whether utterances stand for speakers, so that intervals are too narrow.
        self.speakers_unknown = any(run.speakers_unknown for run in self.runs)
        #: The configurations without seeds: systems as they are.
        self.fixed = frozenset(name for name, members in groups.items() if all(run.is_fixed for run in members))
        self.factorial: Factorial | None = factorial(on) if on and len(on) == len(groups) else None
        names = list(groups)
        self._of_run = np.array([names.index(name) for name, members in groups.items() for _ in members])
        self._seeds = np.array([len(members) for members in groups.values()])
        self._design = self._choose_design()
        self._trajectories = trajectories(self.runs)
        everything = np.ones(len(self.runs[0].words), dtype=bool)
        self.panel = self._panel(everything)
        self.weights = self._weights()
        self.found = self.panel.contrasts(self.weights)
        self.knows_seeds = self.found.has_runs
        self.corrected = self._correct()

    def _choose_design(self) -> np.ndarray:
        """One column for each configuration, or the effects of a factorial if that leaves more for the error."""
        each = np.eye(len(self.groups))[self._of_run]
        if self.factorial is None or (self._seeds > 1).all():
            return each
        model = self.factorial.model[self._of_run]
        return model if model.shape[1] < each.shape[1] else each

    def _panel(self, chosen: np.ndarray) -> Panel:
        first = self.runs[0]
        sums = speaker_sums(first.speakers[chosen], first.words[chosen], *(run.errors[chosen] for run in self.runs))
        heard = sums[:, sums.any(axis=0)]
        fixed = np.array([name in self.fixed for name in self.groups])[self._of_run]
        return Panel(heard[1:].T, heard[0], self._design, self._trajectories, fixed)

    def _weights(self) -> np.ndarray:
        """Of each run in each pair, then in each effect."""
        names = list(self.groups)
        pairs = np.zeros((len(self.others), len(names)))
        pairs[:, names.index(self.baseline)] = -1
        for row, name in enumerate(self.others):
            pairs[row, names.index(name)] = 1
        effects = self.factorial.weights if self.factorial else np.zeros((0, len(names)))
        weights: np.ndarray = (np.vstack([pairs, effects]) / self._seeds)[:, self._of_run]
        return weights

    def _correct(self) -> np.ndarray:
        """p-values corrected for all that the comparison claims."""
        pairs, mains = len(self.others), self.factorial.factors if self.factorial else 0
        families = [np.arange(len(self.weights))]
        shares = [1.0]
        if mains:
            main = np.arange(pairs, pairs + mains)
            families, shares = [main, np.setdiff1d(families[0], main)], [MAIN_SHARE, 1 - MAIN_SHARE]
        corrected = np.ones(len(self.weights))
        for family, share in zip(families, shares, strict=True):
            family = family[[self.is_tested(int(place)) for place in family]]
            degrees = self.found.degrees[family]
            if not len(family) or not (degrees > 0).all():
                continue
            p_values = self.found.p[family]
            if self.speakers < SPEAKERS_FOR_CORRELATION:
                of_family = np.array(holm(p_values))
            else:
                correlation = self.found.correlation[np.ix_(family, family)]
                of_family = step_down(p_values, correlation, float(np.median(degrees)))
            corrected[family] = np.minimum(1.0, of_family / share)
        return corrected

    @property
    def speakers(self) -> int:
        """Number of speakers with words."""
        return int((self.panel.words > 0).sum())

    def is_tested(self, place: int) -> bool:
        """Whether a pair or an effect has an interval.

        A pair of trainings needs two seeds of both; a training against a system as it is needs three.
        """
        if place >= len(self.others):
            return self.knows_seeds
        fewest = 2 if self.question(place) == "trainings" else FEWEST_SEEDS_ALONE
        return self.question(place) == "systems" or (self.knows_seeds and self._fewest_seeds(place) >= fewest)

    def _fewest_seeds(self, place: int) -> int:
        """The number of seeds of the training of a pair that has fewest."""
        return min(len(self.groups[name]) for name in {self.others[place], self.baseline} - self.fixed)

    def question(self, place: int) -> Question:
        """What a pair asks, by its number."""
        fixed = len({self.others[place], self.baseline} & self.fixed)
        return ("trainings", "training and system", "systems")[fixed]

    def pairs(self) -> list[dict[str, Any]]:
        """Every configuration against the baseline, as in ``comparison.json``."""
        found = []
        ages = self._by_age(range(len(self.others)))
        first = self.runs[0]
        of_children = []
        for place, name in enumerate(self.others):
            members, others = self.groups[name], self.groups[self.baseline]
            differences = np.mean([one.errors for one in members], axis=0) - np.mean([one.errors for one in others], axis=0)
            of_children.append(mapsswe(speaker_sums(first.speakers, differences)[0]))
            pair = {
                "baseline": self.baseline,
                "run": name,
                "seeds": [len(others), len(members)],
                "question": self.question(place),
                **self._as_json(place),
                "spread": self._spread_of(place),
                "by_age": ages[place],
            }
            found.append(pair)
        for pair, p, corrected in zip(found, of_children, holm(of_children), strict=True):
            pair["children"] = {
                "p_mapsswe": p,
                "p_holm": corrected,
                "ci95": self._of_children(self.others.index(pair["run"])),
            }
        return found

    def effects(self) -> list[dict[str, Any]]:
        """Main effects, also by age, and interactions, as in ``comparison.json``; empty if the runs are no factorial."""
        if self.factorial is None:
            return []
        first = len(self.others)
        ages = self._by_age(range(first, first + self.factorial.factors))
        return [
            {
                "effect": name,
                "kind": "main" if number < self.factorial.factors else "interaction",
                "is_screening": self.factorial.is_screening,
                **self._as_json(first + number),
                "spread": self._spread_of(first + number),
                "by_age": ages[number] if number < self.factorial.factors else {},
            }
            for number, name in enumerate(self.factorial.effects)
        ]

    def of_configurations(self) -> dict[str, list[dict[str, Any]]]:
        """The mean WER of each configuration with its interval: under ``"all"``, and under each age bucket."""
        weights = np.array([self._of_run == number for number in range(len(self.groups))]) / self._seeds[:, None]
        first = self.runs[0]
        chosen = {"all": np.ones(len(first.words), dtype=bool), **{age: first.ages == age for age in first.age_buckets}}
        return {name: self._rates(weights, one) for name, one in chosen.items()}

    def _rates(self, weights: np.ndarray, chosen: np.ndarray) -> list[dict[str, Any]]:
        first = self.runs[0]
        size = {
            "speakers": None if self.speakers_unknown else len(set(first.speakers[chosen])),
            "utterances": int(first.utterances[chosen].sum()),
            "words": int(first.words[chosen].sum()),
        }
        if not size["words"]:
            return [{"wer": None, "ci95": None, **size} for _ in weights]
        found = self._panel(chosen).contrasts(weights)
        ends = np.stack([np.maximum(0, found.values - found.reach), found.values + found.reach], axis=1)
        # An interval of 100 points and more says nothing.
        fixed = np.array([name in self.fixed for name in self.groups])
        known = (found.reach < 0.5) & (fixed | (self.knows_seeds & (self._seeds > 1)))
        return [
            {"wer": float(value), "ci95": both.tolist() if is_known else None, **size}
            for value, both, is_known in zip(found.values, ends, known, strict=True)
        ]

    def _as_json(self, place: int) -> dict[str, Any]:
        value, reach = float(self.found.values[place]), float(self.found.reach[place])
        known = self.is_tested(place) and bool(np.isfinite(reach))
        return {
            "delta_wer": value,
            "ci95": [value - reach, value + reach] if known else None,
            "degrees": float(self.found.degrees[place]) if known else None,
            "p": float(self.found.p[place]) if known else None,
            "p_corrected": float(self.corrected[place]) if known else None,
            "comparisons": self._family(place)[1],
            "detectable": self._detectable(place) if known else None,
            "verdict": self.verdict(place),
            "speakers_unknown": self.speakers_unknown,
        }

    def _detectable(self, place: int) -> float:
        """The smallest true difference that would have been found with 80% probability, after correction."""
        share, family = self._family(place)
        return detectable(float(self.found.errors[place]), float(self.found.degrees[place]), self.level * share / family)

    def _family(self, place: int) -> tuple[float, int]:
        """The share of the error probability, and the number of comparisons, that a p-value is corrected with."""
        pairs, mains = len(self.others), self.factorial.factors if self.factorial else 0
        if pairs <= place < pairs + mains:
            return MAIN_SHARE, mains
        others = [one for one in range(len(self.weights)) if not pairs <= one < pairs + mains]
        # Without a second seed nothing is tested yet; then as many as there would be.
        tested = sum(self.is_tested(one) for one in others) or len(others)
        return (1 - MAIN_SHARE if mains else 1.0), tested

    def questions(self) -> list[int]:
        """What the runs were made to answer, by number: the main effects of a factorial, otherwise the pairs."""
        pairs = len(self.others)
        return [*range(pairs, pairs + self.factorial.factors)] if self.factorial else [*range(pairs)]

    def verdict(self, place: int) -> Verdict:
        """What the data say of a pair or an effect, by its number."""
        if not self.is_tested(place):
            alone = place < len(self.others) and self.question(place) == "training and system"
            return "few seeds" if alone and self._fewest_seeds(place) > 1 else "one seed"
        if self.corrected[place] >= self.level or self.speakers < FEWEST_SPEAKERS:
            return "undecided"
        return "better" if self.found.values[place] < 0 else "worse"

    def _of_children(self, place: int) -> list[float] | None:
        """The interval for other children of these very runs, whatever other seeds would give."""
        variance = np.array([[self.found.of_speakers[place, place]]])
        degrees = np.array([len(self.panel.words) - 1.0])
        nothing = np.zeros((1, 1))
        value = float(self.found.values[place])
        alone = Contrasts(np.array([value]), variance, degrees, variance, nothing, nothing, has_runs=False)
        reach = float(alone.reach[0])
        return [value - reach, value + reach] if np.isfinite(reach) else None

    def _spread_of(self, place: int) -> dict[str, float] | None:
        """Standard errors of a pair or an effect by their source."""
        of_systems = place < len(self.others) and self.question(place) == "systems"
        if not self.is_tested(place) or self.speakers < 2 or of_systems:
            return None
        speakers, runs, both = (
            float(one[place, place]) for one in (self.found.of_speakers, self.found.of_runs, self.found.of_both)
        )
        parts = {"children": speakers - both, "seeds": runs - both, "both": both}
        return {name: float(np.sqrt(max(0.0, part))) for name, part in parts.items()}

    def spread(self) -> Spread | None:
        """The spread of children and of seeds, for planning; None if that of seeds is unknown."""
        trained = [place for place in range(len(self.others)) if self.question(place) == "trainings"]
        if not self.knows_seeds or len(self.panel.words) < 2 or not trained:
            return None
        weights = self.weights[trained]
        return _spread(self.panel.contrasts(weights), weights, self.panel)

    @cached_property
    def _of_ages(self) -> tuple[dict[str, Panel], dict[str, Contrasts]]:
        """The errors of each age that has words, and all pairs and effects on it."""
        first = self.runs[0]
        panels = {age: self._panel(first.ages == age) for age in first.age_buckets}
        panels = {age: panel for age, panel in panels.items() if panel.words.any()}
        return panels, {age: panel.contrasts(self.weights) for age, panel in panels.items()}

    def _by_age(self, places: Sequence[int]) -> list[dict[str, dict[str, Any]]]:
        """For pairs or effects by their numbers, the difference of each age: as measured, and partially pooled."""
        panels, found = self._of_ages
        by_place = []
        for place in places:
            pooled = self._pooled(place, panels, found) if self.is_tested(place) else None
            by_place.append(
                {
                    age: {
                        "delta_wer": float(one.values[place]),
                        "own_ci95": self._ends(one, place),
                        "pooled": pooled[number].value if pooled else None,
                        "ci95": pooled[number].ends if pooled else None,
                        "speakers": None if self.speakers_unknown else len(panels[age].words),
                    }
                    for number, (age, one) in enumerate(found.items())
                }
            )
        return by_place

    def _ends(self, found: Contrasts, place: int) -> list[float] | None:
        value, reach = float(found.values[place]), float(found.reach[place])
        return [value - reach, value + reach] if self.is_tested(place) and np.isfinite(reach) else None

    def _pooled(self, place: int, panels: Mapping[str, Panel], found: Mapping[str, Contrasts]) -> Any:
        measured = []
        own_seeds = []
        for age, panel in panels.items():
            one, several = found[age], len(panel.words) > 1
            variance = float(one.of_speakers[place, place]) if several else 0.0
            words = panel.words
            share = float((words**2).sum() / words.sum() ** 2)
            measured.append(AgeDifference(float(one.values[place]), variance, share, len(words)))
            if several:
                own_seeds.append(float(one.of_runs[place, place] - one.of_both[place, place]))
        whole = self.found
        seeds = max(0.0, float(whole.of_runs[place, place] - whole.of_both[place, place]))
        age_by_seed = max(0.0, float(np.mean(own_seeds)) - seeds) if own_seeds else 0.0
        return partially_pooled(measured, seeds, float(self.panel.degrees), age_by_seed)


def measured_spread(groups: Mapping[str, Sequence[Run]]) -> Spread | None:
    """The spread of finished runs, for planning; None unless a configuration has two seeds.

    With a single configuration, what children profit more or less from is not measured: the usual value is taken.
    """
    groups = {name: members for name, members in groups.items() if not all(run.is_fixed for run in members)}
    if len(groups) > 1:
        return Differences(groups, next(iter(groups))).spread()
    runs = next(iter(groups.values()), ())
    if not runs:
        return None
    sums = speaker_sums(runs[0].speakers, runs[0].words, *(run.errors for run in runs))
    panel = Panel(sums[1:].T, sums[0], np.ones((len(runs), 1)), np.arange(len(runs)))
    if panel.degrees < 1 or len(panel.words) < 2:
        return None
    weights = np.array([[1.0, -1.0, *[0.0] * (len(runs) - 2)]])
    return replace(_spread(panel.contrasts(weights), weights, panel), children=USUAL.children)


def _spread(found: Contrasts, weights: np.ndarray, panel: Panel) -> Spread:
    """The spread behind the first contrasts, whose weights these are."""
    places = range(len(weights))
    speakers, both, runs = (
        np.array([one[place, place] for place in places]) for one in (found.of_speakers, found.of_both, found.of_runs)
    )
    squares = (weights**2).sum(axis=1)
    children = len(panel.words)
    return Spread(
        children=float(np.sqrt(max(0.0, np.mean(speakers - both)) * children)),
        seeds=float(np.sqrt(max(0.0, np.mean((runs - both) / squares)))),
        noise=float(np.sqrt(np.mean(both / squares) * children)),
        seed_degrees=float(panel.degrees),
    )


def trajectories(runs: Sequence[Run]) -> np.ndarray:
    """A number for each run; the same for runs whose training was the same, step by step, where both had that step.

    Such runs differ in the checkpoint that was kept, as ``checkpoint=aligned`` and ``legacy`` with the same seed. Runs with
    the same transcripts count as one training as well: a seed that changes nothing is no repetition. A fixed system was not
    trained with any other run.
    """
    numbers: list[int] = []
    kept: list[dict[int, Any]] = []
    firsts: list[Run] = []
    for run in runs:
        losses = run.losses
        for number, known in enumerate(kept):
            if run.is_fixed or firsts[number].is_fixed:
                continue
            common = losses.keys() & known.keys()
            same = bool(common) and all(losses[step] == known[step] for step in common)
            if same or run.said == firsts[number].said:
                numbers.append(number)
                if len(losses) > len(known):
                    kept[number] = losses
                break
        else:
            numbers.append(len(kept))
            kept.append(losses)
            firsts.append(run)
    return np.array(numbers)
