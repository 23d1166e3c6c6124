"""The transcripts of a set as a file: ``predictions.jsonl``."""

from collections.abc import Iterable
from pathlib import Path

from kidasr.recognition.score import Prediction
from kidasr.runs.files import read_jsonl, write_jsonl


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One JSON object a line, the fields of :class:`Prediction`; whole or not at all."""
    write_jsonl(path, predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """What :func:`write_predictions` wrote."""
    return read_jsonl(path, Prediction)
