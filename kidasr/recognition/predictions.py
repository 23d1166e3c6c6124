"""Reads and writes ``predictions.jsonl``, the transcripts of a set."""

from collections.abc import Iterable
from pathlib import Path

from kidasr.recognition.score import Prediction
from kidasr.runs.files import read_jsonl, write_jsonl


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write one JSON object per line, with the fields of :class:`Prediction`, completely or not at all."""
    write_jsonl(path, predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """Read a file written by :func:`write_predictions`."""
    return read_jsonl(path, Prediction)
