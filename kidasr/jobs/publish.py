"""The publishing job: a comparison for others to check."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from kidasr.config.schema import Text
from kidasr.durable import write_text
from kidasr.evidence.by_speaker import check_are_distinct, facts_of, refuse_merged, rows_of
from kidasr.evidence.finished import on_other_sets
from kidasr.evidence.machine_paths import without_machine_paths
from kidasr.evidence.published import COLUMNS, CONFIGS, CURVE_COLUMNS, CURVES, LOGGED, SPEAKERS
from kidasr.evidence.runs import Run, factors_of
from kidasr.jobs.compare import Compare, log_results
from kidasr.report.options import ReportOptions
from kidasr.report.tables import to_csv
from kidasr.runs.files import write_json
from kidasr.runs.identity import identity, ignored_keys, measured_keys

log = logging.getLogger(__name__)


#: What a published folder says of how its runs were made, of those in ``comparison.json``'s ``about``.
MADE_BY = ("commit", "date", "machine")

#: What ``metrics.json`` says of the checkpoint that was kept, and what else the learning curves show.
KEPT = ("best_step", "steps", "frozen_steps", "evaluated_utterances")

#: Facts in ``metrics.json`` that hold for a run whatever its transcripts are.
FACTS = ("rate", "name", "filtered_sets", "scored_with", "speakers", *KEPT)


class Publish(Compare):
    """Write a comparison as others need it to check a result: numbers, tables, figures, and the config of every run.

    ``configs.yaml`` has what all runs share, and for each run what differs and how many hours it took; ``speakers.csv`` the
    errors of each run on each speaker, from which every interval can be computed again; ``curves.csv`` the losses, learning
    rates and evaluations of each run. Weights, recordings and transcripts stay in the run folders. Paths are relative to the
    current folder, or names if they lead elsewhere.

    Args:
        to: The folder to write to.
        runs: This and the others: as those of :class:`kidasr.jobs.compare.Compare`.
        baseline: The configuration that the others are compared with.
        on: The set to compare on.

    Raises:
        KidasrError: As Compare does, or if two configurations differ only in a part of a path that is left out.
    """

    def __init__(self, to: Text, runs: Text | list[Text], baseline: Text | list[Text] | None, on: Text | None):
        super().__init__(to, runs, baseline, on, ReportOptions(html=False, max_utterances=0, embed_audio_mb=0))

    def run(self) -> None:
        """Compare, log the results and write the files."""
        found, comparison = self.compare()
        comparison = without_machine_paths(comparison)
        if command := comparison["about"].get("command"):
            comparison["about"]["command"] = " ".join(word for word in command.split(" ") if not word.startswith("logger"))
        # All is read before anything is written: runs that were published in this folder may be among them.
        groups = {without_machine_paths(name): members for name, members in found.groups.items()}
        if len(groups) < len(found.groups):
            refuse_merged(groups)
        known = not found.speakers_unknown
        if known:
            check_are_distinct(found.runs)
        made_by = {name: comparison["about"][name] for name in MADE_BY if name in comparison["about"]}
        sets = {comparison["set"]: found.groups, **on_other_sets(found.groups)}
        runs = [
            (without_machine_paths(name), {set_name: of_set[name][place] for set_name, of_set in sets.items()})
            for name, members in found.groups.items()
            for place in range(len(members))
        ]
        configs = configs_of(runs, made_by, comparison["level"])
        curves = curves_of([(name, next(iter(of_sets.values()))) for name, of_sets in runs])
        files = {
            SPEAKERS: to_csv(COLUMNS, speakers_of(runs)) if known else None,
            CURVES: to_csv(CURVE_COLUMNS, curves) if curves else None,
        }
        folders = {run.folder: run.sums.folder for run in found.runs if run.sums is not None}
        for one in comparison["runs"]:
            one["path"] = without_machine_paths(folders.get(one["path"], one["path"]))
        # A number in this folder may stand for another run from now on.
        for folder, was in folders.items():
            comparison["doubts"] = [doubt.replace(f"{folder}:", f"{was}:") for doubt in comparison["doubts"]]
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", comparison)
        self.report.write_comparison(self.output_dir, groups, comparison)
        text = yaml.safe_dump(without_machine_paths(configs), sort_keys=False, allow_unicode=True, width=120)
        write_text(self.output_dir / CONFIGS, text)
        for file_name, content in files.items():
            if content is None:
                (self.output_dir / file_name).unlink(missing_ok=True)
            else:
                write_text(self.output_dir / file_name, content)
        log_results(comparison)
        log.info("published: %s", self.output_dir)


def configs_of(runs: Sequence[tuple[str, Mapping[str, Run]]], made_by: Mapping[str, str], level: float) -> dict[str, Any]:
    """The content of ``configs.yaml``: what all runs share, for each job, and what each run has of its own.

    Keys that do not change the result are left out (``identity.ignored_keys``).

    Args:
        runs: Each run on every set, by the name of the set, with the name of its configuration.
        made_by: Commit, date and machine.
        level: The level of the comparison.
    """
    firsts = [next(iter(of_sets.values())) for _, of_sets in runs]
    ignored = frozenset[str]().union(*(ignored_keys(run.config or {}) for run in firsts))
    measured = frozenset[str]().union(*(measured_keys(run.config or {}) for run in firsts))
    values = [identity(run.config or {}, ignored) for run in firsts]
    jobs = [
        None if run.config is None else str(config.get("job._target_")) for run, config in zip(firsts, values, strict=True)
    ]
    shared = {
        job: _shared([config for one, config in zip(jobs, values, strict=True) if one == job])
        for job in jobs
        if job is not None
    }
    # Each ablation's own, where there are several.
    factors = [factors_of(run) for run in firsts]
    one_ablation = all(one == factors[0] for one in factors)
    typed = [run.overrides for run in firsts if run.overrides is not None]
    by_all = frozenset.intersection(*typed) if typed else frozenset()
    entries: list[dict[str, Any]] = []
    for (name, of_sets), run, config, job, own in zip(runs, firsts, values, jobs, factors, strict=True):
        summed = {set_name: facts_of(one) for set_name, one in of_sets.items()}
        first = next(iter(summed.values()))
        entries.append(
            {
                "configuration": name,
                "folder": first.folder,
                "seed": run.seed,
                "typed": None if run.overrides is None else sorted(run.overrides - by_all),
                **({} if one_ablation or not own else {"factors": own}),
                "hours": first.hours,
                "training": " ".join(f"{step}:{checksum}" for step, checksum in sorted(first.losses.items())),
                "choice": None if first.choice is None else dict(first.choice),
                "said": {set_name: one.said for set_name, one in summed.items()},
                "before": _before(run, of_sets),
                "facts": _facts(run),
                "job": job,
                "differs": {} if job is None else {key: value for key, value in config.items() if key not in shared[job]},
            }
        )
    hours = [one["hours"] for one in entries]
    known = [one for one in hours if one is not None]
    return {
        "hours": round(sum(known), 3) if len(known) == len(hours) else None,
        "made_by": dict(made_by),
        "level": level,
        "typed": sorted(by_all),
        **({"factors": factors[0]} if one_ablation and factors[0] else {}),
        "identity": {"ignored_keys": sorted(ignored), "measured_keys": sorted(measured)},
        "shared": shared,
        "runs": entries,
    }


def speakers_of(runs: Sequence[tuple[str, Mapping[str, Run]]]) -> list[tuple[Any, ...]]:
    """The rows of ``speakers.csv`` (:data:`COLUMNS`); arguments: see :func:`configs_of`."""
    found: list[tuple[Any, ...]] = []
    for number, (name, of_sets) in enumerate(runs, start=1):
        for set_name, run in of_sets.items():
            found += [(number, set_name, name, run.seed, *row) for row in rows_of(run)]
    return found


def curves_of(runs: Iterable[tuple[str, Run]]) -> list[tuple[Any, ...]]:
    """The rows of ``curves.csv`` (:data:`CURVE_COLUMNS`), of the runs whose logs are known."""
    return [
        (number, name, run.seed, *(_number(entry.get(key)) if key != "step" else entry[key] for key in LOGGED))
        for number, (name, run) in enumerate(runs, start=1)
        for entry in run.metrics.get("history") or []
    ]


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _before(run: Run, sets: Iterable[str]) -> dict[str, float]:
    """The rates before training, by set."""
    tests = run.metrics.get("tests") or {}
    scores = {name: run.metrics if name == "validation" else tests.get(name) or {} for name in sets}
    rates = {name: (one.get("zero_shot") or {}).get("wer") for name, one in scores.items()}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _facts(run: Run) -> dict[str, Any]:
    """What ``metrics.json`` says apart from scores; of another recogniser's files, their checksums."""
    facts = {name: run.metrics[name] for name in FACTS if run.metrics.get(name)}
    zero_shot = run.metrics.get("zero_shot") or {}
    if zero_shot.get("utterances"):
        facts["zero_shot"] = {name: zero_shot[name] for name in ("wer", "utterances")}
    if average := run.metrics.get("average"):
        facts["average"] = {name: value for name, value in average.items() if name != "change"}
    if run.own_name and isinstance(files := run.metrics.get("transcripts"), Mapping):
        kept = ("path", "sha256")
        facts["transcripts"] = {name: {key: one[key] for key in kept} for name, one in files.items()}
    return facts


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values that all have in common."""
    first, *others = configs
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}
