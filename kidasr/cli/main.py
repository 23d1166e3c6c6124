"""The command line: what ``python run.py``, ``kidasr`` and ``python -m kidasr`` do."""

import hydra
from omegaconf import DictConfig

from kidasr.cli.launch import checked, launch
from kidasr.installation import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
@checked
def run_job(cfg: DictConfig) -> float | None:
    """Instantiate the job of a config and run it. A training job returns its validation WER, which a sweeper minimises."""
    return hydra.utils.instantiate(cfg.job).run()


def main() -> None:
    """Compose a config from the command line and ``conf/``, and run its job."""
    launch(run_job, CONF)
