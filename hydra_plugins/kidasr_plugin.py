"""kidasr's launchers and sweepers, in the place where Hydra finds them; implemented in :mod:`kidasr.sweep`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper as HydraOptunaSweeper
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher as HydraLocalLauncher
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as HydraSlurmLauncher
from omegaconf import DictConfig


class Launcher(BasicLauncher):
    """Runs one job after the other on this machine, each with ``trainer.num_processes`` processes."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kidasr.sweep.local import launch_here

        return launch_here(self, job_overrides, initial_job_idx)


class _Submitit:
    """Shared by the two submitit launchers.

    Args:
        wait: Whether to wait until the jobs have ended.
        requeue: Whether to requeue a job that is preempted or reaches its time limit.
        poll_sec: Seconds between queries of SLURM's queue; None without SLURM.
        params: As for Hydra's launcher.
    """

    config: DictConfig
    params: dict[str, Any]

    def __init__(self, wait: bool, requeue: bool, poll_sec: float | None = None, **params: Any) -> None:
        super().__init__(**params)
        self.wait, self.requeue, self.poll_sec = wait, requeue, poll_sec

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kidasr.sweep.submit import launch_jobs

        return launch_jobs(self, job_overrides, initial_job_idx)

    def __call__(self, run_dir: str, overrides: list[str], number: int, singletons: dict[type, Singleton]) -> JobReturn:
        from kidasr.cli.resolvers import register
        from kidasr.sweep.cluster_job import run_cluster_job

        parent: Any = super()
        loader: Any = self.hydra_context.config_loader  # type: ignore[attr-defined]
        load = loader.load_sweep_config

        def load_sweep_config(*given: Any) -> Any:
            register()  # Hydra has run the plugins' modules once more, and they have registered their configs again
            return load(*given)

        loader.load_sweep_config = load_sweep_config
        return run_cluster_job(
            lambda own: parent.__call__([*overrides, *own], "hydra.sweep.dir", number, str(number), singletons),
            Path(run_dir),
            self.requeue,
        )

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """What submitit requeues; None to requeue nothing."""
        parent: Any = super()
        return parent.checkpoint(*args, **kwargs) if self.requeue else None


class LocalLauncher(_Submitit, HydraLocalLauncher):
    """Runs all jobs at once on this machine, in separate processes that see the same GPUs as this one."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.gpus = os.environ.get("CUDA_VISIBLE_DEVICES")

    def __call__(self, *args: Any) -> JobReturn:
        if self.params["gpus_per_node"] is None:  # then submitit hides all GPUs
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            if self.gpus is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus
        return super().__call__(*args)


class SlurmLauncher(_Submitit, HydraSlurmLauncher):
    """Runs jobs on SLURM."""


class OptunaSweeper(HydraOptunaSweeper):
    """Hydra's Optuna sweeper, but it continues a study: finished trials count, interrupted ones are run again."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        from kidasr.sweep.study import continue_study

        continue_study(self.sweeper, config)

    def sweep(self, arguments: list[str]) -> None:
        from kidasr.sweep.study import search

        search(self.sweeper, arguments)


class AblationSweeper(BasicSweeper):
    """Runs the configurations of an ablation with each seed.

    Args:
        design: One of :data:`kidasr.cli.designs.DESIGNS`.
        max_batch_size, params: As for Hydra's own sweeper.
    """

    def __init__(self, design: str, max_batch_size: int | None, params: dict[str, str] | None) -> None:
        super().__init__(max_batch_size, params)
        self.design = design

    def sweep(self, arguments: list[str]) -> Any:
        from kidasr.sweep.ablation import Ablation

        return Ablation(self, arguments).run()
