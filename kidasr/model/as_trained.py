"""What a model folder says of how its model was trained."""

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kidasr.errors import KidasrError
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import Recogniser
from kidasr.runs.files import CONFIG, write_json

#: The file, in a model folder, with what the checkpoint's own files do not say.
KIDASR = "kidasr.json"

#: The keys of the ``padding`` group.
KEYS = ("padding", "trailing_silence_sec", "mask", "group_by_length")


#: Libraries that decide what the model computes, and how transcripts are normalized.
LIBRARIES = ("torch", "transformers", "tokenizers")


def describe_training(folder: Path, config: Mapping[str, Any], recogniser: Recogniser) -> None:
    """Write the file, and let others read the folder's files as far as the user's umask allows.

    Args:
        folder: A model folder.
        config: The config of its run, as stored in ``config.json``.
        recogniser: The model.
    """
    scoring, model = recogniser.scoring, config["model"]
    write_json(
        folder / KIDASR,
        {
            "kidasr": version("kidasr"),
            "versions": {name: version(name) for name in LIBRARIES},
            "padding": {key: config["padding"][key] for key in KEYS},
            **{key: model.get(key) for key in ("language", "task")},
            "writes": recogniser.language,
            "normalizer": _name_of(scoring.normalize),
            "rate": scoring.rate,
        },
    )
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):  # safetensors makes files that only their owner can read
        if path.is_file():
            path.chmod(0o666 & ~umask)


def _name_of(normalize: Any) -> str:
    """A class or function with its module: ``"transformers.models.whisper.english_normalizer.EnglishTextNormalizer"``."""
    named = normalize if hasattr(normalize, "__qualname__") else type(normalize)
    return f"{named.__module__}.{named.__qualname__}"


def read_description(folder: Path) -> dict[str, Any]:
    """The content of the file in a model folder; empty if there is none, as in folders that kidasr has not written.

    Raises:
        KidasrError: If it can't be read.
    """
    path = folder / KIDASR
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise KidasrError(f"{path}: can't be read: {error}; expected: the file that a run has written") from error
    return content


def padding_as_trained(name_or_path: str) -> Padding:
    """The length of input that a model was trained with; the full window for one that kidasr did not train.

    Args:
        name_or_path: A model folder or a name on the Hugging Face Hub.

    Raises:
        KidasrError: If the folder's file can't be read.
    """
    folder = Path(name_or_path).expanduser()
    path = folder / KIDASR if folder.is_dir() else _from_hub(name_or_path)
    if path is not None and not path.is_file():
        path = folder.parent / CONFIG  # of a run from before there was such a file
    if path is None or not path.is_file():
        return FULL_WINDOW
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Padding(**{key: content["padding"][key] for key in KEYS})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KidasrError(f"{path}: can't be read: {error}; expected: the file that a run has written") from error


def _from_hub(name: str) -> Path | None:
    """The file of a model on the hub, downloaded as the model itself; None if it has none."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, KIDASR))
    except Exception:  # no such file, no such model, no hub: what is wrong with the model, its loading says
        return None
