"""The checkpoint to fine-tune: the ``model`` group."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kidasr.config.schema import Text
from kidasr.errors import KidasrError

if TYPE_CHECKING:
    from kidasr.features.recogniser import Recogniser
    from kidasr.model.whisper import Whisper


class Pretrained(Protocol):
    """The interface of the ``model`` group."""

    def load(self) -> Recogniser:
        """Load the recogniser, ready for training."""


class PretrainedWhisper:
    """A Whisper checkpoint by name. The arguments are the keys of the ``model`` group."""

    def __init__(self, name_or_path: Text, language: Text, task: Literal["transcribe", "translate"]):
        self.name_or_path, self.language, self.task = name_or_path, language, task

    @staticmethod
    def check_places(keys: Mapping[str, Any]) -> None:
        """Look for the checkpoint's folder.

        Args:
            keys: The keys of the ``model`` group.

        Raises:
            KidasrError: If the name is that of a folder, and there is none.
        """
        folder_of(keys["name_or_path"])

    def load(self) -> Whisper:
        """Load the model in float32, with its processor: see :func:`kidasr.model.whisper.load_whisper`."""
        from kidasr.model.whisper import load_whisper

        return load_whisper(self.name_or_path, self.language, self.task)


def folder_of(name_or_path: str) -> str:
    """The folder of a checkpoint, or its name on the Hugging Face Hub.

    Raises:
        KidasrError: If it is the name of a folder, and there is none.
    """
    name = str(Path(name_or_path).expanduser()) if name_or_path.startswith("~") else name_or_path
    looks_local = name.startswith((".", "/")) or name.count("/") > 1
    if looks_local and not Path(name).is_dir():
        raise KidasrError(
            f"model.name_or_path={name}: no such folder; expected: a folder with a Whisper checkpoint, or a name on the Hub"
        )
    return name
