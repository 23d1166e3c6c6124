"""The evaluation job: any Whisper checkpoint, scored as the model of a training run is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kidasr.corpus.corpus import Corpus
from kidasr.features.padding import Padding
from kidasr.model.as_trained import InputLength
from kidasr.model.pretrained import Pretrained
from kidasr.report.options import ReportOptions
from kidasr.runs.job import RunJob
from kidasr.training.settings import TRAINING_KEYS, Trainer, contradictions


class Evaluate(RunJob):
    """Transcribe and score every set with a model as it is, and report its error rates overall and by age.

    The job's folder is a run folder, which comparisons take beside those of trainings and of other evaluations. The same
    command in the same folder goes on where it was stopped, set by set.

    Args:
        run_dir: The folder to write to.
        data: The sets. A training set is only read if the validation set is a part of it. Without a validation set, the
            first test set is the main one.
        model: The model.
        padding: What short input is.
        input_length: Length of the model's input: as it was trained, ``short`` (``padding``), or the full ``window``.
        trainer: Device, precision, batch size and decoding.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If a manifest, recording, text or the model can't be used.
        Stopped: After SIGTERM, SIGINT or SIGUSR2.
    """

    reads = ("data", "model")
    unused = ("optim", "step_scale", "data.limit_train", *(f"trainer.{key}" for key in TRAINING_KEYS))

    def __init__(
        self,
        run_dir: str,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        input_length: InputLength,
        trainer: Trainer,
        report: ReportOptions,
    ):
        self.arguments: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Contradictions between keys."""
        data = config["data"]
        tests = [path for path in (data.get("tests") or {}).values() if path is not None]
        if not tests and all(data.get(name) is None for name in ("train", "validation", "test")):
            yield (
                "data: no set to score; expected: data.validation=V.jsonl, data.test=K.jsonl, or "
                "data.tests='{kids: K.jsonl, adults: A.jsonl}'"
            )
        if config["padding"].get("padding") not in (None, "longest"):
            yield (
                f"padding={config['padding']['padding']}: the length of the input is another key; expected: "
                "input_length=window (or short, or as_trained)"
            )
        yield from contradictions(config)

    def run(self) -> float:
        """Score every set and report. Returns the WER of the validation set, or of the first test set."""
        from kidasr.training.evaluation import Evaluation

        return Evaluation(**self.arguments).run()
