"""What a model folder says of how its model was trained."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kidasr.errors import KidasrError
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import Recogniser
from kidasr.runs.files import CONFIG, write_json

#: The file, in a model folder, with what the checkpoint's own files do not say.
KIDASR = "kidasr.json"

#: Length of a model's input: as it was trained, short (the ``padding`` group), or its full window.
InputLength = Literal["as_trained", "short", "window"]

#: The keys of the ``padding`` group.
KEYS = ("padding", "trailing_silence_sec", "mask", "group_by_length")

#: Libraries that decide what the model computes, and how transcripts are normalized.
LIBRARIES = ("torch", "transformers", "tokenizers")


#: Longest piece of a recording for a model that is used to any length, in seconds.
PIECE_SEC = 15.0


def describe_training(folder: Path, config: Mapping[str, Any], recogniser: Recogniser, lengths_sec: Sequence[float]) -> None:
    """Write the file, and let others read the folder's files as far as the user's umask allows.

    Args:
        folder: A model folder.
        config: The config of its run, as stored in ``config.json``.
        recogniser: The model.
        lengths_sec: Length of each training utterance, as it was trained on, before augmentations of waveforms.
    """
    median, p95, longest = (round(float(one), 2) for one in np.quantile(lengths_sec, [0.5, 0.95, 1.0]))
    scoring, model = recogniser.scoring, config["model"]
    write_json(
        folder / KIDASR,
        {
            "kidasr": version("kidasr"),
            "versions": {name: version(name) for name in LIBRARIES},
            "padding": {key: config["padding"][key] for key in KEYS},
            "trained_sec": {"median": median, "p95": p95, "longest": longest},
            **{key: model.get(key) for key in ("language", "task")},
            "writes": recogniser.language,
            "normalizer": _name_of(scoring.normalize),
            "rate": scoring.rate,
        },
    )
    let_others_read(folder)


def let_others_read(folder: Path) -> None:
    """Let others read a folder's files as far as the user's umask allows: safetensors makes files of their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~umask)


def input_padding(length: InputLength, name_or_path: str, short: Padding) -> Padding:
    """The padding that a key ``input_length`` asks for.

    Args:
        length: The key's value.
        name_or_path: A model folder or a name on the Hugging Face Hub.
        short: What short input is.

    Raises:
        KidasrError: If the model's folder says how it was trained, but can't be read.
    """
    if length == "as_trained":
        return padding_as_trained(name_or_path)
    return short if length == "short" else FULL_WINDOW


def describe_export(folder: Path, name_or_path: str, language: str, task: str, written_as: str) -> None:
    """Write the file into the folder of an exported model: what the model's own file says, and that this is an export.

    Args:
        folder: The folder of the export.
        name_or_path: The model that was exported: a folder or a name on the Hugging Face Hub.
        language, task: Of its prompt.
        written_as: The format of the export.

    Raises:
        KidasrError: If the model's own file can't be read.
    """
    padding = padding_as_trained(name_or_path)
    keys = {
        "padding": "longest" if padding.is_short else "max_length",
        "trailing_silence_sec": padding.trailing_silence_sec,
        "mask": padding.mask,
        "group_by_length": padding.group_by_length,
    }
    known = read_description(Path(name_or_path).expanduser()) or {"kidasr": version("kidasr")}
    exported = {"from": name_or_path, "format": written_as}
    write_json(folder / KIDASR, {**known, "padding": keys, "language": language, "task": task, "exported": exported})


def _name_of(normalize: Any) -> str:
    """A class or function with its module: ``"transformers.models.whisper.english_normalizer.EnglishTextNormalizer"``."""
    named = normalize if hasattr(normalize, "__qualname__") else type(normalize)
    return f"{getattr(named, '__module__', None) or 'builtins'}.{named.__qualname__}"


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
    path = _described_in(name_or_path)
    if path is None:
        return FULL_WINDOW
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Padding(**{key: content["padding"][key] for key in KEYS})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KidasrError(f"{path}: can't be read: {error}; expected: the file that a run has written") from error


def pieces_as_trained(name_or_path: str) -> float:
    """The longest piece of a recording to transcribe at once, in seconds.

    A model that was trained on short input stops after about as much speech as its training utterances had: it leaves out
    the rest of a longer piece (docs/transcribing.md). So its pieces are as long as all but the longest twentieth of them.

    Args:
        name_or_path: A model folder or a name on the Hugging Face Hub.

    Raises:
        KidasrError: If the folder's file can't be read.
    """
    path = _described_in(name_or_path)
    if path is None or not padding_as_trained(name_or_path).is_short:
        return PIECE_SEC
    try:
        trained = json.loads(path.read_text(encoding="utf-8")).get("trained_sec")
        return PIECE_SEC if trained is None else min(PIECE_SEC, float(trained["p95"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise KidasrError(f"{path}: can't be read: {error}; expected: the file that a run has written") from error


def language_as_trained(name_or_path: str) -> str | None:
    """The ``model.language`` that a model was trained with; None for one that kidasr did not train.

    Args:
        name_or_path: A model folder or a name on the Hugging Face Hub.
    """
    path = _described_in(name_or_path)
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
        language: str | None = content.get("language", (content.get("model") or {}).get("language"))
        return language
    except (OSError, ValueError, AttributeError):
        return None


def _described_in(name_or_path: str) -> Path | None:
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        return _from_hub(name_or_path)
    files = (folder / KIDASR, folder.parent / CONFIG)  # the second, of a run from before there was the first
    return next((path for path in files if path.is_file()), None)


def _from_hub(name: str) -> Path | None:
    """The file of a model on the hub, downloaded as the model itself is; None for a folder, or if there is none."""
    from huggingface_hub import hf_hub_download

    if Path(name).expanduser().is_dir():
        return None
    try:
        return Path(hf_hub_download(name, KIDASR))
    except Exception:  # no such file, no such model, no hub: what is wrong with the model, its loading says
        return None
