"""kidasr's launchers and its sweeper, where Hydra looks for them; what they do is in :mod:`kidasr.sweep`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper as HydraOptunaSweeper
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher as HydraLocalLauncher
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as HydraSlurmLauncher
from omegaconf import DictConfig


class Launcher(BasicLauncher):
    """One run after the other, here; each of ``trainer.num_processes`` processes."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kidasr.sweep.local import launch_here

        return launch_here(self, job_overrides, initial_job_idx)


class _Submitit:
    """What the two submitit launchers share.

    Args:
        wait: Whether to wait until the jobs have ended.
        requeue: Whether a job that is preempted, or out of time, goes on later.
        poll_sec: How often SLURM is asked; None without it.
        params: As of Hydra's launcher.
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
        from kidasr.sweep.cluster_job import run_cluster_job

        parent: Any = super()
        return run_cluster_job(
            lambda own: parent.__call__([*overrides, *own], "hydra.sweep.dir", number, str(number), singletons),
            Path(run_dir),
            self.requeue,
        )

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """What submitit is to run again; None if nothing."""
        parent: Any = super()
        return parent.checkpoint(*args, **kwargs) if self.requeue else None


class LocalLauncher(_Submitit, HydraLocalLauncher):
    """All runs at once, here, in processes of their own, which see the GPUs that the starter sees."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.gpus = os.environ.get("CUDA_VISIBLE_DEVICES")

    def __call__(self, *args: Any) -> JobReturn:
        if self.params["gpus_per_node"] is None:  # by which submitit hides them all
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            if self.gpus is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus
        return super().__call__(*args)


class SlurmLauncher(_Submitit, HydraSlurmLauncher):
    """Jobs of SLURM."""


class OptunaSweeper(HydraOptunaSweeper):
    """Hydra's, which continues a study: finished trials count, and those that were cut off are run again."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        from kidasr.sweep.study import continue_study

        continue_study(self.sweeper, config)

    def sweep(self, arguments: list[str]) -> None:
        from kidasr.sweep.study import search

        search(self.sweeper, arguments)
