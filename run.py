"""Compose a config from conf/, instantiate its job and run it. See python run.py --help."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from kidasr.cli import checked, launch


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
@checked
def main(cfg: DictConfig) -> float | None:
    """Run the job. A training job returns its validation WER, which a sweeper minimises."""
    return hydra.utils.instantiate(cfg.job).run()


if __name__ == "__main__":
    launch(main, conf=Path(__file__).parent / "conf")
