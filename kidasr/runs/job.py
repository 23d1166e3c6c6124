"""A job whose folder is a run folder."""

from pathlib import Path

from kidasr.config.job import Job
from kidasr.runs.files import METRICS
from kidasr.runs.folder import finished_wer


class RunJob(Job):
    """A job that scores a model and can be resumed; its runs are compared."""

    is_compared = True

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """Whether the folder has ``metrics.json``, which is written last."""
        return (folder / METRICS).is_file()

    @staticmethod
    def result(folder: Path) -> float | None:
        """WER of the validation set (without one, of the first test set), as a fraction."""
        return finished_wer(folder)
