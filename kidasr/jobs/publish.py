"""The publishing job: a comparison for others to check."""

import logging

import yaml

from kidasr.config.schema import Text
from kidasr.durable import write_text
from kidasr.evidence.finished import on_other_sets
from kidasr.evidence.published import (
    COLUMNS,
    CONFIGS,
    MADE_BY,
    SPEAKERS,
    check_are_distinct,
    configs_of,
    refuse_merged,
    speakers_of,
    without_machine_paths,
)
from kidasr.jobs.compare import Compare, log_results
from kidasr.report.options import ReportOptions
from kidasr.report.tables import to_csv
from kidasr.runs.files import write_json

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
        speakers = to_csv(COLUMNS, speakers_of(runs)) if known else None
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
        if speakers is not None:
            write_text(self.output_dir / SPEAKERS, speakers)
        else:
            (self.output_dir / SPEAKERS).unlink(missing_ok=True)
        log_results(comparison)
        log.info("published: %s", self.output_dir)
