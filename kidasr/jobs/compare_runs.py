"""Automatic comparison of the runs of a multirun."""

import logging
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig

from kidasr.config.checks import job_class
from kidasr.errors import KidasrError
from kidasr.processes import is_first_process
from kidasr.runs.sweeps import LOCK, read_sweep
from kidasr.sweep.state import ENDED, run_state, slurm_queue

log = logging.getLogger(__name__)


class CompareRuns(Callback):
    """Compares the runs of a multirun when all have ended. Does nothing for a single run."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """See :class:`kidasr.jobs.compare.Compare`. If the runs can't be compared, one line says why."""
        if config.hydra.launcher.get("wait", True):
            self._compare(config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """If the launcher does not wait for the jobs, the last job to end compares the runs."""
        if config.hydra.launcher.get("wait", True) or not is_first_process():
            return
        sweep_dir = Path(config.hydra.sweep.dir)
        with FileLock(sweep_dir / LOCK):  # if two jobs end at once, the second sees that the first has ended
            queue = slurm_queue()
            if all(run_state(sweep_dir / run.name, queue).state in ENDED for run in read_sweep(sweep_dir)):
                self._compare(config)

    def _compare(self, config: DictConfig) -> None:
        if not job_class(config).is_compared:
            return
        from kidasr.evidence.finished import in_order
        from kidasr.jobs.compare import Compare  # heavy: imports the report's libraries

        folder = Path(config.hydra.sweep.dir)
        started = {path.parent.parent for path in folder.glob("**/.hydra/overrides.yaml")}
        jobs = in_order([*started, *(folder / run.name for run in read_sweep(folder) if folder / run.name not in started)])
        if len(jobs) < 2:
            return
        try:
            report = instantiate(config.report, _convert_="all")
            Compare(str(folder), [str(job) for job in jobs], config.get("baseline"), config.get("on"), report).run()
        except KidasrError as error:
            log.warning("no comparison of these runs: %s", error)
