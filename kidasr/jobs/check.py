"""The data doctor: everything in a corpus that would hurt a training, found without training."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kidasr.config.job import Job
from kidasr.config.schema import Seed
from kidasr.corpus.checks.limits import Limits
from kidasr.corpus.corpus import Corpus
from kidasr.errors import FindingsError
from kidasr.features.padding import Padding
from kidasr.model.pretrained import Pretrained
from kidasr.report.options import ReportOptions

if TYPE_CHECKING:
    from kidasr.corpus.checks.findings import Examined, Finding
    from kidasr.corpus.manifest import FaultyLine

log = logging.getLogger(__name__)

#: Written to the job's folder.
CHECK = "check"


class Check(Job):
    """Report what would hurt a training with this corpus: ``check.json``, ``check.html`` and a table.

    Every line of the manifests and every header is read, and as much audio is decoded as ``check.decode_sec`` allows.
    Nothing is trained and no model is downloaded.

    Args:
        output_dir: The folder to write to.
        seed: Draws the recordings to decode.
        data: The corpus.
        model: The model whose window and tokenizer count, if it is on this machine.
        padding: Length of its input, for ``check.model``.
        check: The limits of the checks.
        fail_on: The least severity that makes the exit code 1; ``never`` for none.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If a manifest can't be read.
        FindingsError: If there are findings of that severity.
    """

    def __init__(
        self,
        output_dir: str,
        seed: Seed,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        check: Limits,
        fail_on: Literal["error", "warning", "never"],
        report: ReportOptions,
    ):
        self.output_dir, self.seed, self.fail_on = Path(output_dir), seed, fail_on
        self.data, self.model, self.padding, self.limits, self.report = data, model, padding, check, report

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Nothing to train on."""
        yield from Corpus.needs_train(config)

    def run(self) -> None:
        """Check the corpus, log a table, write the page."""
        from kidasr.corpus.checks.findings import by_severity, run_checks
        from kidasr.corpus.checks.summary import summary
        from kidasr.runs.files import write_json

        examined, of_model = self._examine()
        found = by_severity([*run_checks(examined), *(one for one in of_model if one.size)])
        numbers = summary(examined)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(
            self.output_dir / f"{CHECK}.json", {"findings": [as_json(one, examined) for one in found], "summary": numbers}
        )
        self._tell(found, examined, numbers)
        if self.report.html:
            from kidasr.report.check_page import check_page

            check_page(examined, found, numbers, self.output_dir, self.report).write(self.output_dir / f"{CHECK}.html")
        failing = [one for one in found if one.severity == "error" or (one.severity, self.fail_on) == ("warning", "warning")]
        if failing and self.fail_on != "never":
            raise FindingsError(self._to_do(found))
        log.info(self._to_do(found))

    def _examine(self) -> tuple[Examined, list[Finding]]:
        """The corpus with what was measured, and what the model finds."""
        from dataclasses import replace

        from kidasr.corpus.checks.findings import Examined
        from kidasr.corpus.checks.survey import survey
        from kidasr.corpus.checks.vocabulary import Vocabulary
        from kidasr.model.vocabulary import vocabulary_of

        faulty: list[FaultyLine] = []
        sets = self.data.load(faulty)
        named = [(name, utterance) for name, utterances in sets.named().items() for utterance in utterances]
        recogniser = self.model.load() if self.limits.model else None
        vocabulary = vocabulary_of(self.model)
        if recogniser is not None and vocabulary.is_estimate:
            vocabulary = Vocabulary(
                "the recogniser's own tokens",
                recogniser.window_sec,
                recogniser.max_tokens,
                lambda text: len(recogniser.labels(text)),
                recogniser.control_tokens(),
            )
        log.info("check: up to %g s and %d tokens: %s", vocabulary.window_sec, vocabulary.max_tokens, vocabulary.source)
        utterances = [utterance for _, utterance in named]
        recordings = survey(utterances, vocabulary.window_sec, self.limits.decode_sec, self.seed)
        for place, (utterance, recording) in enumerate(zip(utterances, recordings, strict=True)):
            if not recording.fault:
                utterances[place] = replace(utterance, duration_sec=utterance.duration_sec or recording.lasts_sec)
        names = [name for name, _ in named]
        known = self.data.speakers == "known"
        examined = Examined(utterances, names, recordings, sets.lower_case, self.limits, vocabulary, faulty, known)
        if recogniser is None:
            return examined, []
        from kidasr.recognition.likelihood import unlikely

        return examined, list(unlikely(examined, recogniser, self.padding))

    def _tell(self, found: Sequence[Finding], examined: Examined, numbers: Mapping[str, Any]) -> None:
        """Log the corpus and the findings as tables."""
        from kidasr.report.check_page import finding_table, set_table

        log.info("\n%s\n", set_table(numbers).text())
        if found:
            log.info("%s\n", finding_table(found, examined).text())

    def _to_do(self, found: Sequence[Finding]) -> str:
        """The last line: what was found, and what to do now."""
        counts = {severity: sum(one.severity == severity for one in found) for severity in ("error", "warning", "note")}
        told = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count)
        page = self.output_dir / (f"{CHECK}.html" if self.report.html else f"{CHECK}.json")
        if not counts["error"] and not counts["warning"]:
            return f"check: nothing found that would hurt a training{f' ({told})' if told else ''}: {page}"
        if not counts["error"]:
            return f"check: {told}; listen to the worst of each in {page}, then train"
        from kidasr.corpus.checks.recordings import FAULTS

        errors = [one.kind for one in found if one.severity == "error"]
        remedy = "correct these in the manifests (check.json lists the utterances)"
        if set(errors) <= set(FAULTS):
            remedy = "restore or cut these recordings, or train with data.on_bad_audio=skip, which leaves them out"
        return f"check: {told}; {remedy}: {', '.join(errors)}; what to do about each: {page}"


def as_json(finding: Finding, examined: Examined) -> dict[str, Any]:
    """A finding in ``check.json``. ``sets`` and ``remarks`` are parallel to ``utterance_ids``, the worst first."""
    places = [one.place for one in finding.flagged]
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "utterance_ids": [
            *(examined.utterances[place].utterance_id for place in places),
            *(one.utterance_id for one in finding.lines),
        ],
        "detail": finding.detail,
        "sets": [*(examined.sets[place] for place in places), *(one.set for one in finding.lines)],
        "remarks": [*(one.remark for one in finding.flagged), *(one.error for one in finding.lines)],
    }
