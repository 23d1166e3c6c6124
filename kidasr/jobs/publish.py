"""The publishing job: a comparison for others to check."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kidasr.config.schema import Text
from kidasr.durable import write_text
from kidasr.errors import KidasrError
from kidasr.evidence.finished import on_other_sets
from kidasr.evidence.runs import Run
from kidasr.jobs.compare import Compare, log_results
from kidasr.report.options import ReportOptions
from kidasr.report.tables import to_csv
from kidasr.runs.files import write_json
from kidasr.runs.identity import identity, ignored_keys
from kidasr.runs.record import duration_sec

log = logging.getLogger(__name__)

#: An absolute path of two parts or more within a text, such as a command.
ABSOLUTE = re.compile(r"(?<![\w./~])/[^\s,;:'\"{}\[\]()/]+/[^\s,;:'\"{}\[\]()]+")


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
        configs = configs_of([(name, run) for name, members in groups.items() for run in members])
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / "comparison.json", comparison)
        self.report.write_comparison(self.output_dir, groups, comparison)
        text = yaml.safe_dump(without_machine_paths(configs), sort_keys=False, allow_unicode=True, width=120)
        write_text(self.output_dir / "configs.yaml", text)
        sets = {comparison["set"]: found.groups, **on_other_sets(found.groups)}
        if not comparison["pairs"][0]["speakers_unknown"]:
            write_text(self.output_dir / "speakers.csv", errors_of_speakers(sets))
        log_results(comparison)
        log.info("published: %s", self.output_dir)


def configs_of(runs: Sequence[tuple[str, Run]]) -> dict[str, Any]:
    """The configs of runs: for each job the values that all its runs share, and those of each run that are its own.

    Keys that do not change the result are left out (``identity.ignored_keys``).

    Args:
        runs: Runs with the names of their configurations.
    """
    ignored = frozenset[str]().union(*(ignored_keys(run.config or {}) for _, run in runs))
    values = [identity(run.config or {}, ignored) for _, run in runs]
    jobs = [str(config.get("job._target_")) for config in values]
    shared = {job: _shared([config for one, config in zip(jobs, values, strict=True) if one == job]) for job in jobs}
    typed = [run.overrides or frozenset() for _, run in runs]
    by_all = frozenset.intersection(*typed)
    of_runs = [
        {
            "configuration": name,
            "folder": run.folder,
            "seed": run.seed,
            "typed": sorted(words - by_all),
            "hours": _hours([run]),
            "training": _training(run),
            "job": job,
            "differs": {key: value for key, value in config.items() if key not in shared[job]},
        }
        for (name, run), config, job, words in zip(runs, values, jobs, typed, strict=True)
    ]
    return {"hours": _hours([run for _, run in runs]), "typed": sorted(by_all), "shared": shared, "runs": of_runs}


def _shared(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values that all have in common."""
    first, *others = configs
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in others)}


def _training(run: Run) -> str | None:
    """A checksum of the losses, the same for runs that keep different checkpoints of one training."""
    losses = json.dumps(sorted(run.losses.items()))
    return hashlib.sha256(losses.encode()).hexdigest()[:16] if run.losses else None


def errors_of_speakers(sets: Mapping[str, Mapping[str, Sequence[Run]]]) -> str:
    """The errors of each run on each speaker of each set, as CSV.

    Args:
        sets: By the name of a set, the runs by the name of their configuration.
    """
    counts = [
        "utterances",
        "words",
        "substitutions",
        "deletions",
        "insertions",
        "runaways",
        "characters",
        "character_errors",
    ]
    rows = []
    for set_name, configurations in sets.items():
        for name, run in ((name, run) for name, members in configurations.items() for run in members):
            each = np.vstack(
                [np.ones_like(run.words), run.words, run.kinds, run.runaways, run.characters, run.character_errors]
            )
            for speaker, age in dict.fromkeys(zip(run.speakers.tolist(), run.ages.tolist(), strict=True)):
                of_both = (run.speakers == speaker) & (run.ages == age)
                sums = each[:, of_both].sum(axis=1).tolist()
                rows.append([set_name, without_machine_paths(name), run.seed, speaker, age, *sums])
    return to_csv(["set", "configuration", "seed", "speaker", "age", *counts], rows)


def _hours(runs: Sequence[Run]) -> float | None:
    """How long runs took, together; None if that is not known of one, such as another recogniser's."""
    seconds = [None if run.own_name else duration_sec(Path(run.folder)) for run in runs]
    known = [one for one in seconds if one is not None]
    return round(sum(known) / 3600, 3) if len(known) == len(seconds) else None


def without_machine_paths(content: Any) -> Any:
    """The same with absolute paths, also within texts, relative to the current folder, or names if they lead elsewhere."""
    if isinstance(content, Mapping):
        return {key: without_machine_paths(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_machine_paths(value) for value in content]
    if isinstance(content, str):
        return (
            _relative(content) if Path(content).is_absolute() else ABSOLUTE.sub(lambda found: _relative(found[0]), content)
        )
    return content


def _relative(path: str) -> str:
    relative = Path(os.path.relpath(path))
    return str(relative) if relative.parts.count("..") < 2 else relative.name
