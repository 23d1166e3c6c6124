"""The comparison job: did it help, for which age, and how sure is that?"""

import csv
import glob
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from kidasr.config.run_folder import METRICS
from kidasr.errors import KidasrError
from kidasr.evidence.bootstrap import Difference, replicate_rates, seed_error, speaker_sums, summarize, wer_interval
from kidasr.evidence.significance import holm, mapsswe
from kidasr.report.files import write_json
from kidasr.report.tables import comparison_table, pair_table

log = logging.getLogger(__name__)

PREDICTIONS = "predictions.jsonl"

#: Fields of a prediction that a comparison reads.
TEXTS = ("utterance_id", "speaker_id", "age_bucket", "normalized_reference")
COUNTS = ("words", "characters", "substitutions", "deletions", "insertions", "character_errors")

#: Overrides that make another run of the same configuration, or do not change its result.
NOT_THE_CONFIGURATION = ("seed", "hydra", "logger", "job")


@dataclass(frozen=True)
class Run:
    """A finished run, as its folder tells it."""

    folder: str
    #: What was said on the command line, without the seed: runs that share it are one configuration.
    overrides: frozenset[str]
    #: Of each utterance, sorted by its id.
    utterance_ids: list[str]
    speakers: np.ndarray
    ages: np.ndarray
    references: list[str]
    words: np.ndarray
    characters: np.ndarray
    #: Substitutions, deletions, insertions, shape ``(3, utterances)``.
    kinds: np.ndarray
    character_errors: np.ndarray

    @cached_property
    def errors(self) -> np.ndarray:
        """Of each utterance."""
        total: np.ndarray = self.kinds.sum(axis=0)
        return total


def read_run(folder: Path) -> Run:
    """Read a run folder: its predictions, and its overrides.

    Raises:
        KidasrError: If it is no run, is not finished, or its predictions can't be read.
    """
    if not folder.is_dir():
        raise KidasrError(f"{folder}: no such folder; accepted: run folders, or patterns such as 'outputs/multirun/*/*/*'")
    if not (folder / METRICS).is_file():
        raise KidasrError(f"{folder}: not finished: it has no {METRICS}")
    path = folder / PREDICTIONS
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KidasrError(f"{path}: can't be read: {error}") from error
    for line, text in enumerate(lines, start=1):
        try:
            row = json.loads(text)
            rows.append({**{name: row[name] for name in TEXTS}, "counts": [int(row[name]) for name in COUNTS]})
        except (KeyError, TypeError, ValueError) as error:
            raise KidasrError(f"{path}:{line}: not a prediction: {type(error).__name__} {error}") from error
    if not rows:
        raise KidasrError(f"{path}: no prediction in it")
    rows.sort(key=lambda row: str(row["utterance_id"]))
    words, characters, *kinds, character_errors = np.array([row["counts"] for row in rows]).T
    return Run(
        folder=str(folder),
        overrides=_overrides(folder),
        utterance_ids=[str(row["utterance_id"]) for row in rows],
        speakers=np.array([str(row["speaker_id"]) for row in rows]),
        ages=np.array([str(row["age_bucket"]) for row in rows]),
        references=[str(row["normalized_reference"]) for row in rows],
        words=words,
        characters=characters,
        kinds=np.array(kinds),
        character_errors=character_errors,
    )


def _overrides(folder: Path) -> frozenset[str]:
    path = folder / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return frozenset([str(folder)])
    overrides = map(str, OmegaConf.load(path))
    return frozenset(one for one in overrides if one.lstrip("+~").split("=")[0].split(".")[0] not in NOT_THE_CONFIGURATION)


def name_configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by their configuration, which is named by the overrides that not all of them have, or is the default."""
    common = frozenset.intersection(*(run.overrides for run in runs)) if runs else frozenset()
    named: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        named[" ".join(sorted(run.overrides - common)) or "default"].append(run)
    return named


class Compare:
    """Compare finished runs on the same utterances with one of them.

    Runs that differ in their seed alone are one configuration, and the spread between its seeds is part of every interval.
    Writes ``comparison.json``, ``comparison.md`` and ``comparison.csv``.

    Args:
        output_dir: Where to.
        runs: Run folders, or patterns of them.
        baseline: A run folder, or a configuration as the table names it, that the others are compared with; None for the one
            that is called baseline, else the first.
        replicates: Of the bootstrap.

    Raises:
        KidasrError: If there are fewer than two configurations, or the runs are of different test sets.
    """

    def __init__(self, output_dir: str, runs: str | Sequence[str], baseline: str | None, replicates: int):
        self.output_dir = Path(output_dir)
        self.patterns = [runs] if isinstance(runs, str) else list(runs)
        self.baseline, self.replicates = baseline, replicates

    def run(self) -> None:
        """Compare, say it, write it."""
        runs, failed = self._read()
        for one in failed:
            log.warning("left out: %s", one["reason"])
        configurations = name_configurations(runs)
        if len(configurations) < 2:
            raise KidasrError(
                f"runs: {len(runs)} finished run(s) of {len(configurations)} configuration(s); accepted: two or more "
                "configurations"
            )
        for run in runs[1:]:
            _check_same_set(runs[0], run)
        name = self._baseline_of(configurations)
        described = [
            _describe(run, configuration, self.replicates)
            for configuration, members in configurations.items()
            for run in members
        ]
        pairs = [
            _pair(name, configurations[name], other, members, self.replicates)
            for other, members in configurations.items()
            if other != name
        ]
        for pair, corrected in zip(pairs, holm([pair["p_mapsswe"] for pair in pairs]), strict=True):
            pair["p_holm"] = corrected
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", {"runs": described, "failed": failed, "pairs": pairs})
        self._write_tables(described, pairs)
        log.info("\n%s\n\n%s", comparison_table(described), pair_table(name, pairs))
        log.info("comparison: %s", self.output_dir)

    def _read(self) -> tuple[list[Run], list[dict[str, str]]]:
        runs, failed = [], []
        for folder in self._folders():
            try:
                runs.append(read_run(folder))
            except KidasrError as error:
                failed.append({"path": str(folder), "reason": str(error)})
        return runs, failed

    def _folders(self) -> Iterator[Path]:
        seen = set()
        for pattern in self.patterns:
            found = [Path(pattern)]
            if glob.has_magic(pattern):
                found = [path for path in sorted(map(Path, glob.glob(pattern))) if path.is_dir()]  # noqa: PTH207, absolute too
            if not found:
                raise KidasrError(f"runs: nothing matches {pattern}")
            for folder in found:
                if folder not in seen:
                    seen.add(folder)
                    yield folder

    def _baseline_of(self, configurations: Mapping[str, Sequence[Run]]) -> str:
        if self.baseline is None:
            return next((name for name in configurations if name == "experiment=baseline"), next(iter(configurations)))
        for name, members in configurations.items():
            if self.baseline == name or Path(self.baseline) in [Path(run.folder) for run in members]:
                return name
        raise KidasrError(f"baseline={self.baseline}: not among the runs; accepted: {', '.join(configurations)}")

    def _write_tables(self, described: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]) -> None:
        header = ["run", "age", "delta_wer", "low", "high", "p_improvement", "p_mapsswe", "p_holm"]
        rows = [
            [pair["run"], age, one["delta_wer"], *one["ci95"], one["p_improvement"], pair["p_mapsswe"], pair["p_holm"]]
            for pair in pairs
            for age, one in (("all", pair), *pair["by_age"].items())
        ]
        with (self.output_dir / "comparison.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        for run, age, *numbers in rows:
            cells = [str(run).replace("|", r"\|"), age, *(f"{number:.4g}" for number in numbers)]
            lines.append("| " + " | ".join(cells) + " |")
        (self.output_dir / "comparison.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _check_same_set(one: Run, other: Run) -> None:
    """Raise a KidasrError where two runs were not scored on the same utterances."""
    if one.utterance_ids != other.utterance_ids:
        ours, theirs = set(one.utterance_ids), set(other.utterance_ids)
        raise KidasrError(
            f"{other.folder}: another test set than {one.folder}: {len(ours - theirs)} of its {len(ours)} utterances are "
            f"not there, {len(theirs - ours)} others are; accepted: runs on the same utterances"
        )
    changed = [place for place, (a, b) in enumerate(zip(one.references, other.references, strict=True)) if a != b]
    if changed:
        raise KidasrError(
            f"{other.folder}: another test set than {one.folder}: {len(changed)} references differ, first that of "
            f"{one.utterance_ids[changed[0]]}; accepted: runs on the same references"
        )


def _describe(run: Run, configuration: str, replicates: int) -> dict[str, Any]:
    by_age = {age: _rates(run, run.ages == age, replicates) for age in _ages(run)}
    known = [rates["wer"] for age, rates in by_age.items() if age != "unknown" and rates["wer"] is not None]
    return {
        "path": run.folder,
        "configuration": configuration,
        **_rates(run, np.ones(len(run.words), dtype=bool), replicates),
        "gap_youngest_oldest": known[0] - known[-1] if len(known) > 1 else None,
        "by_age": by_age,
    }


def _ages(run: Run) -> list[str]:
    """The age buckets of the set, youngest first, unknown last."""
    return sorted(
        set(run.ages), key=lambda age: (age == "unknown", int("".join(filter(str.isdigit, age.split("-")[0])) or 0))
    )


def _rates(run: Run, chosen: np.ndarray, replicates: int) -> dict[str, Any]:
    words, characters = int(run.words[chosen].sum()), int(run.characters[chosen].sum())
    substitutions, deletions, insertions = (int(one) for one in run.kinds[:, chosen].sum(axis=1))
    wer = wer_interval(run.speakers[chosen], run.errors[chosen], run.words[chosen], replicates)
    return {
        "utterances": int(chosen.sum()),
        "speakers": len(set(run.speakers[chosen])),
        "words": words,
        "wer": wer.value if words else None,
        "ci95": [wer.low, wer.high] if words else None,
        "cer": int(run.character_errors[chosen].sum()) / characters if characters else None,
        "substitutions": substitutions,
        "deletions": deletions,
        "insertions": insertions,
    }


def _pair(name: str, baseline: Sequence[Run], other: str, members: Sequence[Run], replicates: int) -> dict[str, Any]:
    differences = np.mean([run.errors for run in members], axis=0) - np.mean([run.errors for run in baseline], axis=0)
    everything = np.ones(len(differences), dtype=bool)
    first = baseline[0]
    found = _difference(baseline, members, everything, replicates)
    by_age = {age: _as_json(_difference(baseline, members, first.ages == age, replicates)) for age in _ages(first)}
    return {
        "baseline": name,
        "run": other,
        "seeds": [len(baseline), len(members)],
        **_as_json(found),
        "p_mapsswe": mapsswe(differences),
        "detectable": found.detectable,
        "by_age": by_age,
    }


def _as_json(found: Difference) -> dict[str, Any]:
    return {"delta_wer": found.value, "ci95": [found.low, found.high], "p_improvement": found.p_improvement}


def _difference(baseline: Sequence[Run], members: Sequence[Run], chosen: np.ndarray, replicates: int) -> Difference:
    """Of two configurations: the mean over the seeds of each, speakers drawn alike for all, the spread of seeds on top."""
    first = baseline[0]
    ours, theirs = (np.mean([run.errors[chosen] for run in runs], axis=0) for runs in (members, baseline))
    sums = speaker_sums(first.speakers[chosen], ours - theirs, first.words[chosen])
    rates = [[_wer(run, chosen) for run in runs] for runs in (members, baseline)]
    return summarize(sums, replicate_rates(sums, replicates, seed=1), seed_error(rates))


def _wer(run: Run, chosen: np.ndarray) -> float:
    words = run.words[chosen].sum()
    return float(run.errors[chosen].sum() / words) if words else 0.0
