"""The preparation job: manifests and a summary of a user's own copy of a corpus."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat

from kidasr.config.job import Job
from kidasr.config.schema import Seed, Text
from kidasr.corpus.filters import Filters
from kidasr.corpus.recipes.recipe import Recipe
from kidasr.corpus.segment import Segmenter
from kidasr.installation import program

log = logging.getLogger(__name__)

Share = Annotated[float, Field(ge=0, lt=1)]


class Prepare(Job):
    """Write ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` of a corpus, with ``summary.json`` and ``README.md``.

    No speaker is in two sets. What is not in the manifests is counted, and listed in ``left_out.jsonl``.

    Args:
        output_dir: The folder to write to.
        corpus: The recipe.
        ages: First and last age in whole years; utterances of other or unknown ages are left out. None: all.
        split: ``"own"``: the corpus's split if it has one; ``"speakers"``: hold out speakers.
        split_lists: A folder with ``train.list``, ``dev.list`` and ``test.list``, whose lines are utterances or speakers.
        validation_fraction, test_fraction: Shares of the speakers to hold out where the corpus has no split.
        split_seed: Decides which speakers are held out.
        paths: Whether audio paths are relative to the manifests; ``"auto"``: if these lie beside, within or above the
            corpus.
        filters: See :class:`kidasr.corpus.filters.Filters`.
        segment: What cuts recordings that are longer than the model's window; None for nothing.

    Raises:
        KidasrError: See :func:`kidasr.corpus.prepare.prepare`.
    """

    def __init__(
        self,
        output_dir: str,
        corpus: Recipe,
        ages: Annotated[list[NonNegativeFloat], Field(min_length=2, max_length=2)] | None,
        split: Literal["own", "speakers"],
        split_lists: Text | None,
        validation_fraction: Share,
        test_fraction: Share,
        split_seed: Seed,
        paths: Literal["auto", "relative", "absolute"],
        filters: Filters,
        segment: Segmenter | None,
    ):
        self.output_dir, self.corpus = Path(output_dir), corpus
        self.options: dict[str, Any] = {
            "ages": ages,
            "split": split,
            "split_lists": split_lists,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
            "split_seed": split_seed,
            "paths": paths,
            "filters": filters,
            "segmenter": segment,
        }

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Contradictions between keys."""
        yield from Filters.model_validate(config["filters"]).mistakes()
        ages = config["ages"]
        if ages is not None and ages[0] > ages[1]:
            yield f"ages={ages}: the first is older than the last; expected: e.g. ages=[0,15]"
        if config["validation_fraction"] + config["test_fraction"] >= 1:
            yield "validation_fraction, test_fraction: nothing is left for training; expected: less than 1 together"

    @staticmethod
    def warnings(config: Mapping[str, Any]) -> Iterator[str]:
        """Filters and cuts of sets that are scored."""
        filters = Filters.model_validate(config["filters"])
        on = {"filters": filters.on if filters.described() else [], "segment": config["segment"].get("on", [])}
        for group, what in (("filters", "filtered"), ("segment", "cut")):
            if scored := [name for name in on[group] if name != "train"]:
                yield (
                    f"{group}.on: the {' and the '.join(scored)} set will be {what} too, so its error rates can't be "
                    "compared with those of the whole set; its manifest says so, and so does every run on it"
                )

    def run(self) -> None:
        """Write the manifests and the summary, and log the sizes of the sets."""
        from kidasr.corpus.prepare import LEFT_OUT, README, Options, prepare
        from kidasr.durable import write_text
        from kidasr.report.tables import Table

        filters = Filters.model_validate(dict(self.options["filters"]))
        options = Options(**{**self.options, "filters": filters})
        summary = prepare(self.corpus, self.output_dir, options)
        table = Table(["set", "utterances", "speakers", "hours", "ages", "over 30 s"])
        for name, size in summary["sets"].items():
            ages = "-" if size["age_range"] is None else f"{size['age_range'][0]:g} to {size['age_range'][1]:g}"
            row = (size["utterances"], size["speakers"], size["hours"], ages, size["over_30_sec"])
            table.add(name, *map(str, row))
        by_age = Table(["age", *summary["sets"]])
        for bucket in summary["all"]["by_age"]:
            by_age.add(bucket, *(str(size["by_age"].get(bucket, 0)) for size in summary["sets"].values()))
        notes = list(_notes(summary))
        use = _command(summary, self.output_dir)
        write_text(self.output_dir / README, _readme(summary, table.markdown(), by_age.markdown(), notes, use))
        log.info("%s, split: %s\n%s", summary["corpus"], summary["split"], table.text())
        if summary["left_out"]:
            log.info("left out, listed in %s:", self.output_dir / LEFT_OUT)
            for reason, count in summary["left_out"].items():
                log.info("  %6d %s", count, reason)
        for note in notes:
            log.info(note)
        log.info("train on it: %s", use)
        log.info("licence: %s", summary["licence"])


def _notes(summary: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the numbers should know, a sentence each."""
    yield f"ages: {summary['ages']}"
    yield f"transcripts: {summary['transcripts']}"
    for name, size in summary["sets"].items():
        if size["filtered"]:
            yield f"the {name} set is filtered: {size['filtered']}"
    for name in ("validation", "test"):
        if name not in summary["sets"]:
            how = "; a run holds out speakers of the train set for it" if name == "validation" else ""
            yield f"there is no {name} set{how}"
    if long := sum(size["over_30_sec"] for size in summary["sets"].values()):
        yield (
            f"{long} utterances are longer than Whisper's window of 30 s: a run refuses them (segment=vad cuts those of the "
            "train set at pauses, with segment.on=[train,validation,test] those of all; data.on_bad_audio=skip leaves them "
            "out, filters.max_sec=30 does so here)"
        )
    for source, told in summary["published"].items():
        if told["as_published"]:
            yield f"sizes: as published ({source})"
            continue
        differ = [
            f"{name}: {row['found'][what]:,} {what} instead of {expected:,}"
            for name, row in told["sets"].items()
            for what, expected in row["published"].items()
            if row["found"][what] != expected
        ]
        yield f"sizes: not as published ({source}): {', '.join(differ)}"


def _command(summary: Mapping[str, Any], output_dir: Path) -> str:
    sets = [f"data.{name}={output_dir / f'{name}.jsonl'}" for name in summary["sets"]]
    buckets = [f"'data.age_buckets=[{','.join(summary['age_buckets'])}]'"] if summary["age_buckets"] else []
    recipe = "experiment=recommended model.name_or_path=openai/whisper-tiny.en"
    return " ".join([program(), "data=manifest", *sets, *buckets, recipe])


def _readme(summary: Mapping[str, Any], table: str, by_age: str, notes: list[str], use: str) -> str:
    reasons = [f"| {reason} | {count:,} |" for reason, count in summary["left_out"].items()] or ["| nothing | 0 |"]
    ages = summary["only_ages"]
    only = f", ages {ages[0]:g} to {ages[1]:g} only" if ages else ""
    parts = [
        f"# {summary['corpus']}",
        f"Prepared from `{summary['root']}`{only}. Split: {summary['split']}.",
        table.strip(),
        "\n".join(f"- {note}" for note in notes),
        "## Utterances by age",
        by_age.strip(),
        "## Left out",
        "`left_out.jsonl` lists each, with its reason.",
        "\n".join(["| reason | utterances or files |", "|---|---|", *reasons]),
        "## Use",
        f"    {use}",
        "## Licence and citation",
        f"{summary['licence']}",
        f"{summary['citation']}",
        f"How to get it: {summary['obtain']}",
    ]
    return "\n\n".join(parts) + "\n"
