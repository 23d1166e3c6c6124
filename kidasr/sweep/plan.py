"""The runs of a sweep: what is typed for each, its folder, its processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig

from kidasr.config.launch import names_runs
from kidasr.config.processes import is_first_process
from kidasr.config.sweep_folder import PlannedRun, add_runs, name_run


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep, as a launcher starts it."""

    name: str
    folder: Path
    #: Without and with where its folder is.
    typed: list[str]
    overrides: list[str]
    #: ``trainer.num_processes``, of all machines.
    processes: int
    nodes: int
    #: Whether a finished run of it is run again (``resume=never``).
    anew: bool


def plan_sweep(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[SweepRun]:
    """Name the runs of a sweep, and note them in its folder.

    Args:
        launcher: Hydra's, set up.
        job_overrides: What is typed for each.
    """
    master, loader = launcher.config, launcher.hydra_context.config_loader
    sweep_dir = Path(str(master.hydra.sweep.dir)).absolute()
    base = loader.load_configuration(master.hydra.job.config_name, [], RunMode.RUN)
    named = names_runs(master.hydra, list(master.hydra.overrides.hydra))
    runs = []
    for typed in job_overrides:
        cfg = loader.load_sweep_config(master, list(typed))
        name = name_run(sweep_dir, cfg, base)
        place = [f"hydra.sweep.dir='{_escaped(str(sweep_dir))}'"]
        if named:
            place.append(f"hydra.sweep.subdir='{name}'")
        runs.append(
            SweepRun(
                name,
                sweep_dir / name,
                list(typed),
                [*typed, *place],
                cfg.trainer.num_processes or 1,
                cfg.trainer.num_nodes,
                cfg.resume == "never",
            )
        )
    if named and is_first_process():
        add_runs(sweep_dir, [PlannedRun(run.name, tuple(run.typed)) for run in runs])
    return runs


def is_basic(config: DictConfig) -> bool:
    """Whether Hydra's own sweeper is used, which ends by the first failed run."""
    return str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
