"""The files of a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidasr.durable import write_text

if TYPE_CHECKING:  # they are heavy
    from kidasr.recognition.score import Prediction


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One JSON object a line, the fields of :class:`Prediction`; whole or not at all."""
    write_text(path, "".join(json.dumps(asdict(prediction), ensure_ascii=False) + "\n" for prediction in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """What :func:`write_predictions` wrote."""
    from kidasr.recognition.score import Prediction

    # Not splitlines(), which also divides at characters that JSON leaves in a text.
    return [Prediction(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]
