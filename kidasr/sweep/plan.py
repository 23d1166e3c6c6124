"""The runs of a sweep: overrides, folder and processes of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from kidasr.cli.processes import quoted
from kidasr.processes import is_first_process
from kidasr.runs.sweeps import PlannedRun, add_runs, name_run, remembered_run


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep, ready for a launcher."""

    #: Its folder, and the folder's name inside the sweep's folder.
    folder: Path
    name: str
    #: Its overrides, without and with its folder.
    typed: list[str]
    overrides: list[str]
    cfg: DictConfig

    @property
    def processes(self) -> int:
        """Number of processes, on all nodes together."""
        processes: int | None = OmegaConf.select(self.cfg, "trainer.num_processes")
        return processes or 1

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        nodes: int | None = OmegaConf.select(self.cfg, "trainer.num_nodes")
        return nodes or 1


def plan_sweep(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[SweepRun]:
    """Name the runs of a sweep, and record them in its folder.

    Args:
        launcher: Hydra's launcher after its setup.
        job_overrides, initial_job_idx: The overrides of each run, and the number of the first run.
    """
    master, loader = launcher.config, launcher.hydra_context.config_loader
    sweep_dir = Path(str(master.hydra.sweep.dir)).absolute()
    base: DictConfig | None = None
    runs = []
    for number, typed in enumerate(map(list, job_overrides), start=initial_job_idx):
        known = remembered_run(typed)
        if known is None:
            base = base or loader.load_configuration(master.hydra.job.config_name, [], RunMode.RUN)
            cfg = loader.load_sweep_config(master, typed)
            name = name_run(sweep_dir, cfg, base, number)
            with open_dict(cfg):
                del cfg["hydra"]
            known = name, cfg
        name, cfg = known
        place = [f"hydra.sweep.dir={quoted(sweep_dir)}", f"hydra.sweep.subdir={quoted(name)}"]
        runs.append(SweepRun(sweep_dir / name, name, typed, [*typed, *place], cfg))
    if is_first_process():
        add_runs(sweep_dir, [PlannedRun(run.name, tuple(run.typed)) for run in runs])
    return runs
