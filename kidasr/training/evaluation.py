"""An evaluation: a checkpoint as it is, scored on every set of a corpus."""

import json
import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from transformers import TrainingArguments

from kidasr.corpus.corpus import Corpus
from kidasr.durable import explain_io_errors
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.model.as_trained import InputLength, input_padding, language_as_trained
from kidasr.model.pretrained import Pretrained
from kidasr.recognition.doubts import TOO_HIGH, doubts_of
from kidasr.report.options import ReportOptions
from kidasr.report.tables import result_table, sets_table
from kidasr.runs.files import CONFIG, predictions_of, read_json
from kidasr.training.scored_run import ScoredRun, of_set
from kidasr.training.scorer import ModelScorer
from kidasr.training.stopping import StopSignals
from kidasr.training.zero_shot import what_scores_depend_on

log = logging.getLogger(__name__)

#: Keys of the ``trainer`` group that transformers' ``TrainingArguments`` take.
LIBRARY_KEYS = ("use_cpu", "bf16", "fp16", "tf32", "per_device_eval_batch_size", "dataloader_num_workers")


class Evaluation(ScoredRun):
    """The work of :class:`kidasr.jobs.evaluate.Evaluate`, which has the same arguments."""

    def __init__(
        self,
        run_dir: str,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        input_length: InputLength,
        trainer: Mapping[str, Any],
        report: ReportOptions,
    ):
        self.name = str(getattr(model, "name_or_path", ""))
        self.short, self.input_length = padding, input_length
        # There is no seed: nothing is trained.
        super().__init__(run_dir, 0, data, model, input_padding(input_length, self.name, padding), trainer, report)

    def _run(self, signals: StopSignals) -> float:
        arguments = self._start()
        sets, recogniser, skipped = self._load(arguments, trains=False)
        log.info("padding: %s", self.padding.describe())
        self._warn_of_settings()
        texts = self._check_texts(sets, recogniser)
        if arguments.should_save:
            self._record_environment(arguments)
        scorer = ModelScorer(recogniser, arguments, self._transcriber(recogniser, arguments), signals)
        self._check_references(scorer.scoring, sets)
        first, *_ = sets.scored()
        if first != "validation":
            log.info("there is no validation set: the first test set, %s, is the main one", first)
        done = f".{self._checksum(arguments)}_"
        transcripts = {
            name: self._kept_transcripts(scorer, sets, name, self.run_dir / f"{done}{predictions_of(name)}", "model")
            for name in sets.scored()
        }
        scores = {name: self._before_and_after(heard, None) for name, heard in transcripts.items()}
        other = None
        wer: float = scores[first]["final"]["wer"]
        if wer > TOO_HIGH:
            padding = FULL_WINDOW if self.padding.is_short else self.short
            other = self._on_other_input(scorer, sets, transcripts[first], padding)
        rate = scorer.scoring.rate
        doubts = [
            f"{'' if name == 'validation' else of_set(name)}{doubt}"
            for name, one in scores.items()
            for doubt in doubts_of(one["final"], rate, other if name == first else None)
        ]
        metrics: dict[str, Any] = {
            "rate": rate,
            "set": first,
            **scores[first],
            "tests": {name: one for name, one in scores.items() if name != "validation"},
            "evaluated": {"model": self.name, "input": "short" if self.padding.is_short else "window"},
            "other_input": other,
            "doubts": doubts,
            **self._about(sets, skipped, texts),
        }
        if "test" in sets.tests:
            metrics["test"] = scores["test"]["final"]  # as in a training run
        if arguments.should_save:
            with explain_io_errors(self.run_dir, "the results", 1_000_000, "the transcripts are kept"):
                self._write_scores(metrics, transcripts)
            for path in self.run_dir.glob(".*_predictions*.jsonl"):
                path.unlink()
        self._log_result(metrics)
        return wer

    def _arguments(self, **others: Any) -> TrainingArguments:
        return super()._arguments(**{key: self.trainer[key] for key in LIBRARY_KEYS}, **others)

    def _checksum(self, arguments: TrainingArguments) -> str:
        """Of all that transcripts depend on besides the set, so that a changed model's are not mixed with the old ones."""
        what = what_scores_depend_on(read_json(self.run_dir / CONFIG), self.trainer, arguments)
        content = {**what, "padding": vars(self.padding)}
        return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]

    def _warn_of_settings(self) -> None:
        """Warn about settings that the model was not trained with."""
        if self.input_length == "short" and not input_padding("as_trained", self.name, self.short).is_short:
            log.warning(
                "input_length=short: nothing says that this model was trained on short input (input_length=as_trained goes "
                "by its folder)"
            )
        trained, language = language_as_trained(self.name), getattr(self.model, "language", None)
        if trained not in (None, language):
            log.warning("model.language=%s: this model was trained on %s; model.language=%s?", language, trained, trained)

    def _log_result(self, metrics: Mapping[str, Any]) -> None:
        self._warn_of_empty(metrics)
        table = result_table(None, metrics["final"], metrics["rate"])
        log.info("\n%s set:\n%s", metrics["set"], table.text())
        if metrics["tests"]:
            log.info("\nall sets:\n%s", sets_table(metrics).text())
        for doubt in metrics["doubts"]:
            log.warning("%s", doubt)
        log.info("run folder: %s", self.run_dir)
