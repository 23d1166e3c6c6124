"""The files of a run folder: their names, and functions to read and write them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kidasr.durable import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")

#: The resolved config; a run is resumed only with the same one.
CONFIG = "config.json"
#: Scores and learning curve. Written last, so it marks the run as finished.
METRICS = "metrics.json"
#: Transcripts of the validation set, with error counts. Those of a test set: see :func:`predictions_of`.
PREDICTIONS = "predictions.jsonl"
#: The errors in each utterance of the evaluation set, at each evaluation.
EVALUATIONS = "evaluations.json"
#: Recordings that can't be used.
BAD_AUDIO = "bad_audio.jsonl"
#: The validation set's score before training, reused by a resumed run. That of a test set: see :func:`zero_shot_of`.
ZERO_SHOT = "zero_shot.json"
#: The pretrained model's loss on each training utterance, if the curriculum needs it; reused by a resumed run.
TRAINING_LOSSES = "training_losses.json"
#: Software and hardware of the run.
ENVIRONMENT = "environment.json"
#: The report of a run or a comparison.
REPORT = "report.html"
#: The figures of a run, without the extensions ``.png`` and ``.pdf``.
LEARNING_CURVE, WER_BY_AGE = "learning_curve", "wer_by_age"
#: The folders of the kept model and of the checkpoints.
MODEL, CHECKPOINTS = "model", "checkpoints"
#: The run's id in Weights & Biases, and TensorBoard's folder (``logger.logging_dir``).
WANDB_ID, TENSORBOARD = "wandb_id.txt", "tensorboard"
#: The run's events, one per line, and the progress of training.
ATTEMPTS, PROGRESS = "attempts.jsonl", "progress.json"
#: Locked by the running process.
LOCK = ".lock"
#: The log, set up in ``conf/hydra/job_logging``.
RUN_LOG = "run.log"

#: The files of a run that ``overwrite=true`` deletes, as patterns.
RUN_ARTIFACTS = (
    METRICS,  # first: without it, the run counts as unfinished
    PREDICTIONS,
    "predictions_*.jsonl",
    EVALUATIONS,
    *(f"{figure}.{ending}" for figure in (LEARNING_CURVE, WER_BY_AGE) for ending in ("png", "pdf")),
    REPORT,
    BAD_AUDIO,
    ENVIRONMENT,
    ZERO_SHOT,
    "zero_shot_*.json",
    TRAINING_LOSSES,
    MODEL,
    CHECKPOINTS,
    WANDB_ID,
    TENSORBOARD,
    PROGRESS,
    ATTEMPTS,
    CONFIG,
)


def predictions_of(set_name: str) -> str:
    """The file with a set's transcripts."""
    return PREDICTIONS if set_name == "validation" else f"predictions_{set_name}.jsonl"


def zero_shot_of(set_name: str) -> str:
    """The file with a set's score before training."""
    return ZERO_SHOT if set_name == "validation" else f"zero_shot_{set_name}.json"


def read_json(path: Path) -> Any:
    """Read a file written by :func:`write_json`."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write a JSON file, completely or not at all."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def read_jsonl(path: Path, record: type[Record]) -> list[Record]:
    """Read a file written by :func:`write_jsonl`."""
    # Not splitlines(): it also splits at characters that JSON does not escape.
    return [record(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_jsonl(path: Path, records: Iterable["DataclassInstance"]) -> None:
    """Write dataclasses as one JSON object per line, completely or not at all."""
    write_text(path, "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records))
