"""The files of a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidasr.durable import write_text

if TYPE_CHECKING:  # they are heavy
    from kidasr.corpus.audio_check import BadAudio
    from kidasr.recognition.score import Prediction


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One JSON object a line, the fields of :class:`Prediction`; whole or not at all."""
    _write_lines(path, predictions)


def read_predictions(path: Path) -> list[Prediction]:
    """What :func:`write_predictions` wrote."""
    from kidasr.recognition.score import Prediction

    # Not splitlines(), which also divides at characters that JSON leaves in a text.
    return [Prediction(**json.loads(line)) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_bad_audio(path: Path, bad: Iterable[BadAudio]) -> None:
    """One JSON object a line, the fields of :class:`BadAudio`."""
    _write_lines(path, bad)


def read_bad_audio(path: Path) -> list[dict[str, str]]:
    """What :func:`write_bad_audio` wrote; nothing where it wrote nothing."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _write_lines(path: Path, records: Iterable[Any]) -> None:
    write_text(path, "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records))
