"""The checkpoint to fine-tune: the ``model`` group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from kidasr.config.schema import Text

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

    def load(self) -> Whisper:
        """Load the model in float32, with its processor: see :func:`kidasr.model.whisper.load_whisper`."""
        from kidasr.model.whisper import load_whisper

        return load_whisper(self.name_or_path, self.language, self.task)
