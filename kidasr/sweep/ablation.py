"""An ablation: the configurations of a design, each with every seed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from kidasr.cli.factors import ablation_jobs, read_seeds
from kidasr.cli.until import read_until
from kidasr.sweep.until import of_configuration, run_until


class Ablation:
    """Launches the jobs of an ablation.

    Args:
        sweeper: Hydra's sweeper after its setup.
        arguments: The overrides of the command line.
    """

    def __init__(self, sweeper: Any, arguments: Sequence[str]) -> None:
        self.config, self.launcher, self.max_batch_size = sweeper.config, sweeper.launcher, sweeper.max_batch_size
        self.parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
        self.arguments = list(arguments)
        self.launched = 0

    def run(self) -> list[Sequence[JobReturn]]:
        """Run every configuration with each of the config's seeds."""
        sweep_dir = Path(str(self.config.hydra.sweep.dir))
        sweep_dir.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, sweep_dir / "multirun.yaml")
        first = read_seeds(self.config)
        jobs = ablation_jobs(self.config, self.arguments, first[:1], self.parser)
        until = read_until(self.config, len(first), len(jobs))
        if until is None:
            return self._launch(first)
        returns: list[Sequence[JobReturn]] = []
        known: set[int] = set()

        def launch(seeds: Sequence[int]) -> None:
            new = [seed for seed in seeds if seed not in known]
            known.update(new)
            if new:
                returns.extend(self._launch(new))

        baseline, on = self.config.get("baseline"), self.config.get("on")
        configurations = {of_configuration(job, until.ignored) for job in jobs}
        run_until(until, sweep_dir, configurations, [int(seed) for seed in first], launch, baseline, on)
        return returns

    def _launch(self, seeds: Sequence[Any]) -> list[Sequence[JobReturn]]:
        """Run every configuration with these seeds; returns when the launcher does. Can be called again with other seeds."""
        jobs = ablation_jobs(self.config, self.arguments, seeds, self.parser)
        returns: list[Sequence[JobReturn]] = []
        for batch in BasicSweeper.split_overrides_to_chunks(jobs, self.max_batch_size):
            results = self.launcher.launch(batch, initial_job_idx=self.launched)
            for result in results:
                _ = result.return_value  # raises the exception of a job whose launcher does not note failures
            self.launched += len(batch)
            returns.append(results)
        return returns
