"""Reads and writes ``predictions.jsonl``, the transcripts of a set."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from kidasr.corpus.manifest import Utterance
from kidasr.recognition.score import Prediction
from kidasr.runs.files import read_jsonl, write_jsonl


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write one JSON object per line, with the fields of :class:`Prediction`, completely or not at all."""
    write_jsonl(path, predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """Read a file written by :func:`write_predictions`."""
    return read_jsonl(path, Prediction)


def known_predictions(path: Path, utterances: Sequence[Utterance]) -> list[Prediction] | None:
    """The predictions in a file; None if there are none, or they are of other utterances."""
    try:
        heard = read_predictions(path)
    except (OSError, ValueError, TypeError):
        return None
    is_same = [(one.utterance_id, one.reference) for one in heard] == [(one.utterance_id, one.text) for one in utterances]
    return heard if is_same else None


def in_order_of(utterances: Sequence[Utterance], predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions of these utterances, in their order."""
    by_id = {prediction.utterance_id: prediction for prediction in predictions}
    return [by_id[utterance.utterance_id] for utterance in utterances]
