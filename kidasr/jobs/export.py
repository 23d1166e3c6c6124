"""The export job: a model for other programs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError, truncate
from kidasr.model.formats.format import Format
from kidasr.model.pretrained import Pretrained, PretrainedWhisper
from kidasr.runs.files import MODEL

if TYPE_CHECKING:
    from kidasr.model.whisper import Whisper

log = logging.getLogger(__name__)


class Export(Job):
    """Write a model for another program.

    Args:
        run_dir: The job's own folder.
        output: The folder to write to; None for ``model`` in the job's own.
        model: The model: a folder or a name on the Hugging Face Hub.
        format: What to write.

    Raises:
        KidasrError: If the model is not a Whisper that can be loaded, the format can't hold it, a package is missing, or the
            folder holds something.
    """

    def __init__(self, run_dir: str, output: Text | None, model: Pretrained, format: Format):
        self.output = Path(run_dir) / MODEL if output is None else Path(output).expanduser()
        self.model, self.format = model, format

    def run(self) -> None:
        """Load the model and write it."""
        from kidasr.durable import explain_io_errors, folder_written, size_text
        from kidasr.model.export import carry_over

        self._check_output()
        self.format.check()
        whisper, model = self._load()
        size = sum(parameter.nbytes for parameter in whisper.model.parameters())
        with (
            explain_io_errors(self.output, "the model", size, "nothing is left of it"),
            folder_written(self.output) as aside,
        ):
            self.format.write(whisper, aside)
            carry_over(model, aside, self.format)
        written = sum(path.stat().st_size for path in self.output.rglob("*") if path.is_file())
        log.info("exported %s as %s, %s: %s", model.name_or_path, self.format.describe(), size_text(written), self.output)

    def _check_output(self) -> None:
        from kidasr.runs.folder import check_place

        check_place(self.output, "output")
        if self.output.is_dir() and (found := sorted(one.name for one in self.output.iterdir())):
            raise KidasrError(
                f"output={truncate(self.output)}: is not empty, it holds {truncate(', '.join(found[:3]))}"
                f"{', ...' if len(found) > 3 else ''}; expected: a new or empty folder"
            )

    def _load(self) -> tuple[Whisper, PretrainedWhisper]:
        if not isinstance(self.model, PretrainedWhisper):
            raise KidasrError(f"model: a {type(self.model).__name__} can't be exported; expected: model=whisper")
        return self.model.load(), self.model
