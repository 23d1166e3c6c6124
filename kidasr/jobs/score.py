"""The scoring job: other recognisers' transcripts become a run that comparisons take."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kidasr.config.job import Job
from kidasr.config.schema import Seed, Text
from kidasr.corpus.corpus import SET_NAME, Corpus
from kidasr.corpus.texts import Cleaning
from kidasr.errors import KidasrError, truncate
from kidasr.recognition.other_recognisers import SHOWN, Columns
from kidasr.report.options import ReportOptions
from kidasr.runs.files import METRICS, predictions_of, read_json, write_json

if TYPE_CHECKING:
    from kidasr.corpus.age import AgeBuckets
    from kidasr.corpus.manifest import Utterance
    from kidasr.features.recogniser import Scoring
    from kidasr.recognition.score import Prediction

log = logging.getLogger(__name__)


class Score(Job):
    """Score the transcripts of any recogniser as kidasr's own runs are scored, without audio and without a model.

    The job's folder is a run folder: ``metrics.json``, ``predictions.jsonl`` and ``report.html``, which comparisons take
    beside other runs.

    Args:
        run_dir: The folder to write to.
        transcripts: A file with transcripts (:mod:`kidasr.recognition.other_recognisers`), or one for each set, by its name.
        references: Files with the references, in the same form, or a run folder, whose sets they are; None if they are the
            sets of ``data``, or in the files of transcripts.
        data: The sets: ``validation``, ``test`` and ``tests``, with ages and speakers.
        fields: Names of columns in the files.
        language: The language of the transcripts, whose normalizer is used.
        missing: ``"error"``: an utterance without a transcript is refused; ``"empty"``: all its words are deletions.
        name: What comparisons call the recogniser; None for the file's name.
        seed: The seed of the training that the transcripts are of; None for a system as it is.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If a file can't be read; if transcripts are missing, there twice or of unknown utterances; if there are
            no references.
    """

    is_compared = True

    def __init__(
        self,
        run_dir: str,
        transcripts: Text | dict[Text, Text],
        references: Text | dict[Text, Text] | None,
        data: Corpus,
        fields: Columns,
        language: Text,
        missing: Literal["error", "empty"],
        name: Text | None,
        seed: Seed | None,
        report: ReportOptions,
    ):
        self.run_dir, self.transcripts, self.references = Path(run_dir), transcripts, references
        self.data, self.columns = data, Columns.model_validate(dict(fields))
        self.language, self.missing, self.name, self.report = language, missing, name, report

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Contradictions between keys, and names that no set can have."""
        data, references = config["data"], config["references"]
        given = [name for name in ("train", "validation", "test") if data.get(name) is not None]
        given += [f"tests.{name}" for name, path in (data.get("tests") or {}).items() if path is not None]
        if references is not None and given:
            yield f"references={truncate(references)}: not with data.{given[0]}; expected: one of them"
        for key in ("transcripts", "references"):
            for name in config[key] if isinstance(config[key], Mapping) else ():
                if name == "train" or not SET_NAME.fullmatch(name):
                    yield f"{key}.{truncate(name)}: not the name of a scored set; expected: validation, test or another name"
        yield from Cleaning(data.get("clean", "none")).mistakes(config["language"])

    def run(self) -> float:
        """Score and report. Returns the error rate of the validation set, or else of the first set, as a fraction."""
        from kidasr.model.scoring import language_code, scoring
        from kidasr.recognition.predictions import write_predictions
        from kidasr.recognition.score import score

        how = scoring(language_code(self.language, "language"))
        sets = _Sets(self)
        scored: dict[str, list[Prediction]] = {}
        files: dict[str, dict[str, Any]] = {}
        for name, path in sets.files.items():
            scored[name], missing = self._scored(name, path, sets.utterances[name], how)
            digest = sha256(Path(path).read_bytes()).hexdigest()
            files[name] = {"path": path, "sha256": digest, "missing": len(missing)}
        rates = {name: {"zero_shot": None, "final": score(of, sets.buckets), "change": None} for name, of in scored.items()}
        nothing = {"zero_shot": None, "final": None, "change": None}
        metrics: dict[str, Any] = {
            "rate": how.rate,
            "name": self.name or _name_of(next(iter(sets.files.values()))),
            **rates.get("validation", nothing),
            "tests": {name: one for name, one in rates.items() if name != "validation"},
            "best_step": None,
            "kept": None,
            "history": [],
            "speakers": "known" if sets.speakers_known else "unknown",
            "transcripts": files,
            **sets.about(how, self.language),
        }
        if "test" in rates:
            metrics["test"] = rates["test"]["final"]
        for name, of in scored.items():
            write_predictions(self.run_dir / predictions_of(name), of)
        self._report(metrics, scored)
        write_json(self.run_dir / METRICS, metrics)  # last: it marks the run as finished
        log.info("run folder: %s", self.run_dir)
        first: Any = next(iter(rates.values()))["final"]
        return float(first["wer"])

    def _scored(
        self, name: str, path: str, utterances: Sequence[Utterance], how: Scoring
    ) -> tuple[list[Prediction], Sequence[str]]:
        """The predictions of a set, and the ids of utterances that the file has no transcript of."""
        from kidasr.recognition.other_recognisers import match, read_heard
        from kidasr.recognition.score import compare

        found = match(utterances, read_heard(path, self.columns), f"set {name}")
        if found.by:
            log.info("%s: set %s: transcripts go by the %s, not by utterance ids", path, name, found.by)
        if found.outside:
            log.warning("%s: set %s: %d words are at times of no utterance, and are not scored", path, name, found.outside)
        if found.missing:
            ids = ", ".join(map(repr, map(truncate, found.missing[:SHOWN])))
            said = f"{path}: no transcript of {len(found.missing)} of {len(utterances)} utterances of set {name}: {ids}"
            if self.missing == "error":
                raise KidasrError(f"{said}; expected: one of each, or missing=empty, which counts their words as deletions")
            log.warning("%s; scored as empty", said)
        scored = compare(utterances, [found.texts.get(one.utterance_id, "") for one in utterances], how)
        if not any(one.words for one in scored):
            raise KidasrError(f"set {name}: every reference is empty after normalization, so {how.rate} is undefined")
        return scored, found.missing

    def _report(self, metrics: Mapping[str, Any], scored: Mapping[str, Sequence[Prediction]]) -> None:
        """Log the rates and write the report."""
        from dataclasses import asdict

        from kidasr.evidence.rates import describe
        from kidasr.evidence.runs import make_run
        from kidasr.recognition.doubts import TOO_HIGH
        from kidasr.report.report import Report
        from kidasr.report.tables import scored_table

        runs = {name: make_run(self.run_dir, metrics, map(asdict, of), name) for name, of in scored.items()}
        for name, run in runs.items():
            described = describe(run)
            log.info("\n%s, set %s:\n%s", metrics["name"], name, scored_table(described, metrics["rate"]).text())
            if described["wer"] > TOO_HIGH:
                log.warning(
                    "set %s: more errors than words: are these the transcripts of these utterances, in language=%s?",
                    *(name, self.language),
                )
        first = next(iter(runs.values()))
        others = {name: run for name, run in runs.items() if run is not first}
        Report(self.report).write_run(self.run_dir, first, others)


class _Sets:
    """The sets to score: the file of transcripts and the utterances of each, validation first.

    Args:
        job: The job, whose keys say where they are.

    Raises:
        KidasrError: If they can't be read.
    """

    def __init__(self, job: Score):
        self._data, self._columns = job.data, job.columns
        self.buckets: AgeBuckets = job.data.buckets
        self.speakers_known = job.data.speakers == "known"
        self._is_corpus = any(path is not None for path in (job.data.train, job.data.validation, job.data.test))
        self._is_corpus = self._is_corpus or bool(job.data.tests)
        self.utterances: dict[str, list[Utterance]] = {}
        if self._is_corpus:
            self.utterances = job.data.load_scored()
            self.files = _by_set(job.transcripts, self.utterances, "data")
        elif job.references is not None:
            references = self._references(job.references)
            self.files = _by_set(job.transcripts, references, "references")
            self._read({name: references[name] for name in self.files})
        else:
            self.files = {"validation": job.transcripts} if isinstance(job.transcripts, str) else dict(job.transcripts)
            self._check_hold_references()
            self._read(self.files)
        self.files = dict(sorted(self.files.items(), key=lambda one: one[0] != "validation"))

    def _references(self, given: str | Mapping[str, str]) -> dict[str, str]:
        """The files with references, by set: as given, or those of a run folder, whose age buckets count."""
        from kidasr.corpus.age import AgeBuckets
        from kidasr.evidence.runs import sets_in
        from kidasr.runs.folder import read_config

        if not isinstance(given, str):
            return dict(given)
        folder = Path(given)
        names = sets_in(folder) if (folder / METRICS).is_file() else []
        if not names:
            return {"validation": given}
        data = (read_config(folder) or {}).get("data")
        keys = ("age_buckets", "age_order", "age_years", "age_unit")
        if isinstance(data, Mapping) and all(key in data for key in keys):
            self.buckets = AgeBuckets(*(data[key] for key in keys))
        of_config = data.get("speakers") if isinstance(data, Mapping) else None
        if "unknown" in (of_config, read_json(folder / METRICS).get("speakers")):
            self.speakers_known = False
        return {name: str(folder / predictions_of(name)) for name in names}

    def _check_hold_references(self) -> None:
        from kidasr.recognition.other_recognisers import has_references

        for path in self.files.values():
            if Path(path).is_file() and not has_references(path, self._columns):
                raise KidasrError(
                    f"{truncate(path)}: no references; expected: a column reference, data.validation=MANIFEST, or "
                    "references=FILE"
                )

    def _read(self, files: Mapping[str, str]) -> None:
        """Read the utterances of each set from a file."""
        from kidasr.recognition.other_recognisers import read_references

        for name, path in files.items():
            speakers = "known" if self.speakers_known else "unknown"
            self.utterances[name], known = read_references(path, self._columns, self._data.fields, self.buckets, speakers)
            self.speakers_known = self.speakers_known and known
        if not self.speakers_known:
            log.warning("speakers are unknown: each utterance counts as a speaker of its own: intervals are too narrow")

    def about(self, how: Scoring, language: str) -> dict[str, Any]:
        """What ``metrics.json`` holds of the texts of the sets."""
        from kidasr.corpus.filters import marks_of
        from kidasr.corpus.texts import report_texts

        sets = {name: self.utterances[name] for name in self.files}
        odd = report_texts(sets, language, how.normalize, self._data.cleaning)
        return {
            "texts": {
                "clean": self._data.cleaning.names if self._is_corpus else [],
                "sets": {name: {"utterances": len(sets[name]), **odd[name]} for name in sets},
            },
            "filtered_sets": {name: mark for name, of in sets.items() if (mark := marks_of(of))},
        }


def _by_set(given: str | Mapping[str, str], known: Mapping[str, Any], key: str) -> dict[str, str]:
    """The files of transcripts by set. A single one is of the validation set, or else of the only one.

    Args:
        given: As typed.
        known: The sets that there are.
        key: Where they are from, for messages.

    Raises:
        KidasrError: If one is of no set.
    """
    if isinstance(given, str):
        name = "validation" if "validation" in known else next(iter(known))
        if name not in ("validation", *([] if len(known) > 1 else known)):
            raise KidasrError(
                f"transcripts={truncate(given)}: of which set? {key} has {', '.join(known)}; expected: "
                f"transcripts='{{{name}: {truncate(given)}}}'"
            )
        given = {name: given}
    for name in given:
        if name not in known:
            raise KidasrError(f"transcripts.{truncate(name)}: {key} has no such set; expected: {', '.join(known)}")
    if left := [name for name in known if name not in given]:
        log.info("no transcripts of: %s", ", ".join(left))
    return dict(given)


def _name_of(path: str) -> str:
    """The name of a file without its endings."""
    name = Path(path).name
    for ending in (".gz", Path(name.removesuffix(".gz")).suffix):
        name = name.removesuffix(ending)
    return name
