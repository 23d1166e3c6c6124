"""The interface of an export format.

To add a format, write a subclass of :class:`Format` in a module of your own, and a file in ``conf/format``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from kidasr.model.whisper import Whisper


class Format(ABC):
    """Writes a Whisper for another program. The parameters of a subclass are the keys of the ``format`` group."""

    #: Whether adapters for age groups can be kept beside the model.
    keeps_age_adapters: ClassVar[bool] = False

    def check(self) -> None:  # noqa: B027, most formats need nothing
        """Check, before the model is loaded, that this machine has what the format needs.

        Raises:
            KidasrError: If a package is not installed.
        """

    @abstractmethod
    def write(self, whisper: Whisper, folder: Path) -> None:
        """Write the model and all that the other program reads beside it.

        Args:
            whisper: The model, which is not used again and may be changed.
            folder: An empty folder.

        Raises:
            KidasrError: If the format can't hold this model.
        """

    @abstractmethod
    def describe(self) -> str:
        """What was written and which program reads it, for the log: ``"CTranslate2, int8 (faster-whisper)"``."""
