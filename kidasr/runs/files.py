"""The files of a run folder: their names, and how they are written and read."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kidasr.durable import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")

#: The resolved config, which a continued run must have too.
CONFIG = "config.json"
#: Written last: where it is, the run is finished.
METRICS = "metrics.json"
#: The transcripts of the validation set and of the test set, with their errors.
PREDICTIONS, TEST_PREDICTIONS = "predictions.jsonl", "predictions_test.jsonl"
#: Lists the recordings that can't be used.
BAD_AUDIO = "bad_audio.jsonl"
#: The score before training, so that a run that continues need not transcribe again.
ZERO_SHOT = "zero_shot.json"
#: What the run ran on.
ENVIRONMENT = "environment.json"
#: The page of a run, or of a comparison, and the figures of a run.
REPORT, LEARNING_CURVE, WER_BY_AGE = "report.html", "learning_curve.png", "wer_by_age.png"
#: The folders of the model that is kept, and of the checkpoints.
MODEL, CHECKPOINTS = "model", "checkpoints"
#: Where the run is logged beside its folder: its id at Weights & Biases, and TensorBoard's folder (``logger.logging_dir``).
WANDB_ID, TENSORBOARD = "wandb_id.txt", "tensorboard"
#: What happened to the run, a line for each event, and how far training is.
ATTEMPTS, PROGRESS = "attempts.jsonl", "progress.json"
#: Locked by the process that runs.
LOCK = ".lock"
#: Hydra writes it, by ``conf/hydra/job_logging``.
RUN_LOG = "run.log"

#: What a run leaves and ``overwrite=true`` deletes.
RUN_ARTIFACTS = (
    METRICS,  # first: without it, the run is not finished
    PREDICTIONS,
    TEST_PREDICTIONS,
    LEARNING_CURVE,
    WER_BY_AGE,
    REPORT,
    BAD_AUDIO,
    ENVIRONMENT,
    ZERO_SHOT,
    MODEL,
    CHECKPOINTS,
    WANDB_ID,
    TENSORBOARD,
    PROGRESS,
    ATTEMPTS,
    CONFIG,
)


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_jsonl(path: Path, record: type[Record]) -> list[Record]:
    """What :func:`write_jsonl` wrote."""
    # Not splitlines(), which also divides at characters that JSON leaves in a text.
    return [record(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_jsonl(path: Path, records: Iterable["DataclassInstance"]) -> None:
    """One JSON object a line, the fields of a dataclass; whole or not at all."""
    write_text(path, "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records))
