"""The publishing job: a comparison for others to check."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kidasr.config.schema import Text
from kidasr.durable import write_text
from kidasr.errors import KidasrError
from kidasr.evidence.finished import on_other_sets
from kidasr.evidence.published import (
    CONFIGS,
    MADE_BY,
    SPEAKERS,
    SUMS,
    checksum_of_training,
    folder_of,
    hours_of,
    rows_of_speakers,
    without_machine_paths,
)
from kidasr.evidence.runs import Run, factors_of
from kidasr.jobs.compare import Compare, log_results
from kidasr.report.options import ReportOptions
from kidasr.report.tables import to_csv
from kidasr.runs.files import write_json
from kidasr.runs.identity import identity, ignored_keys, measured_keys

log = logging.getLogger(__name__)


class Publish(Compare):
    """Write a comparison as others need it to check a result: numbers, tables, figures, and the config of every run.

    ``configs.yaml`` has what all runs share, and for each run what differs and how many hours it took; ``speakers.csv`` the
    errors of each run on each speaker, from which every interval can be computed again. Weights, recordings and transcripts
    stay in the run folders. Paths are relative to the current folder, or names if they lead elsewhere.

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
        groups = {without_machine_paths(name): members for name, members in found.groups.items()}
        if len(groups) < len(found.groups):
            raise KidasrError(
                f"runs: configurations that differ in a folder elsewhere alone would be one: {', '.join(groups)}; expected: "
                "to be run in a folder that is above those of their files"
            )
        # All is read before anything is written: runs that were published in this folder may be among them.
        made_by = {name: comparison["about"][name] for name in MADE_BY if name in comparison["about"]}
        configs = configs_of([(name, run) for name, members in groups.items() for run in members], made_by)
        sets = {comparison["set"]: found.groups, **on_other_sets(found.groups)}
        known = not comparison["pairs"][0]["speakers_unknown"]
        speakers = errors_of_speakers(sets) if known else None
        folders = {run.folder: folder_of(run) for run in found.runs}
        for one in comparison["runs"]:
            one["path"] = without_machine_paths(folders.get(one["path"], one["path"]))
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", comparison)
        self.report.write_comparison(self.output_dir, groups, comparison)
        text = yaml.safe_dump(without_machine_paths(configs), sort_keys=False, allow_unicode=True, width=120)
        write_text(self.output_dir / CONFIGS, text)
        if speakers is not None:
            write_text(self.output_dir / SPEAKERS, speakers)
        log_results(comparison)
        log.info("published: %s", self.output_dir)


def configs_of(runs: Sequence[tuple[str, Run]], made_by: Mapping[str, str]) -> dict[str, Any]:
    """The configs of runs: for each job the values that all its runs share, and those of each run that are its own.

    Keys that do not change the result are left out (``identity.ignored_keys``).

    Args:
        runs: Runs with the names of their configurations.
        made_by: Commit, date and machine.
    """
    ignored = frozenset[str]().union(*(ignored_keys(run.config or {}) for _, run in runs))
    measured = frozenset[str]().union(*(measured_keys(run.config or {}) for _, run in runs))
    # Each ablation's own, where there are several.
    factors = [factors_of(run) for _, run in runs]
    one_ablation = all(one == factors[0] for one in factors)
    values = [identity(run.config or {}, ignored) for _, run in runs]
    jobs = [str(config.get("job._target_")) for config in values]
    shared = {job: _shared([config for one, config in zip(jobs, values, strict=True) if one == job]) for job in jobs}
    typed = [run.overrides or frozenset() for _, run in runs]
    by_all = frozenset.intersection(*typed)
    of_runs = [
        {
            "configuration": name,
            "folder": folder_of(run),
            **({"name": run.own_name} if run.own_name else {}),
            **({} if one_ablation or not own else {"factors": own}),
            "seed": run.seed,
            "typed": sorted(words - by_all),
            "hours": _hours([run]),
            "training": checksum_of_training(run),
            "job": job,
            "differs": {key: value for key, value in config.items() if key not in shared[job]},
        }
        for (name, run), config, job, words, own in zip(runs, values, jobs, typed, factors, strict=True)
    ]
    return {
        "hours": _hours([run for _, run in runs]),
        "made_by": dict(made_by),
        "rate": runs[0][1].metrics.get("rate", "WER"),
        "typed": sorted(by_all),
        **({"factors": factors[0]} if one_ablation and factors[0] else {}),
        "identity": {"ignored_keys": sorted(ignored), "measured_keys": sorted(measured)},
        "shared": shared,
        "runs": of_runs,
    }


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values that all have in common."""
    first, *others = configs
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def errors_of_speakers(sets: Mapping[str, Mapping[str, Sequence[Run]]]) -> str:
    """The errors of each run on each speaker of each set, as CSV.

    Args:
        sets: By the name of a set, the runs by the name of their configuration.
    """
    rows = [
        [set_name, without_machine_paths(name), run.seed, speaker, age, *counts]
        for set_name, configurations in sets.items()
        for name, members in configurations.items()
        for run in members
        for speaker, age, counts in rows_of_speakers(run)
    ]
    return to_csv(["set", "configuration", "seed", "speaker", "age", *SUMS], rows)


def _hours(runs: Sequence[Run]) -> float | None:
    """How long runs took, together; None if that is not known of one, such as another recogniser's."""
    hours = list(map(hours_of, runs))
    known = [one for one in hours if one is not None]
    return round(sum(known), 3) if len(known) == len(hours) else None
