"""The soup job: one model from the runs of several seeds."""

from __future__ import annotations

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.report.options import ReportOptions


class Soup(Job):
    """Average the models of finished runs of one configuration into one model, and score it as the runs were.

    A uniform soup (Wortsman et al., 2022, arXiv 2203.05482): the mean of the weights of runs that begin with the same
    pretrained model. It takes no more time to decode with than one of them. The job's folder is a run folder, which
    comparisons take.

    Args:
        run_dir: The folder to write to.
        runs: Run folders, folders of sweeps or of runs, or glob patterns.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If there are fewer than two finished runs, or they are of several configurations.
    """

    def __init__(self, run_dir: str, runs: Text | list[Text], report: ReportOptions):
        self.run_dir, self.runs, self.report = run_dir, runs, report

    def run(self) -> float:
        """Average, score and report. Returns the validation WER, as a fraction."""
        from kidasr.training.soup import soup_of

        return soup_of(self.runs, self.run_dir, self.report).run()
