"""After a multirun, the comparison of its runs, by itself."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig

from kidasr.errors import KidasrError

log = logging.getLogger(__name__)


class CompareRuns(Callback):
    """Compares the runs of a multirun in its own folder, once all have ended; one run alone is compared with nothing."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """See :class:`kidasr.evidence.compare.Compare`; what can't be compared is said in one line."""
        if "job=compare" in list(config.hydra.overrides.task):
            return
        from kidasr.evidence.compare import Compare, natural  # heavy, as what the report is made with

        folder = Path(config.hydra.sweep.dir)
        jobs = sorted((path.parent.parent for path in folder.glob("**/.hydra/overrides.yaml")), key=natural)
        if len(jobs) < 2:
            return
        try:
            report = instantiate(config.report)
            Compare(str(folder), [str(job) for job in jobs], config.get("baseline"), report).run()
        except KidasrError as error:
            log.warning("no comparison of these runs: %s", error)
