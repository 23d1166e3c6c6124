"""A run as a job of a scheduler: it joins the job's other processes, and is requeued where it was stopped."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import submitit
from hydra.core.utils import JobReturn
from submitit.core.utils import UncompletedJobError

from kidasr.errors import Stopped
from kidasr.processes import is_first_process
from kidasr.runs.identity import words_of
from kidasr.runs.record import record
from kidasr.sweep.state import slurm_queue

log = logging.getLogger(__name__)

#: How long other processes wait for the first to have the job requeued, by which they end too.
_REQUEUED_SEC = 60


def run_cluster_job(run: Callable[[list[str]], JobReturn], run_dir: Path, requeue: bool) -> JobReturn:
    """Run a job within submitit.

    submitit has its job requeued from within the handler of its signal, wherever the program is. A run keeps the signal to
    itself until what is trained is saved, and then raises it again.

    Args:
        run: Runs the job, with overrides of this process alone.
        run_dir: The run's folder.
        requeue: Whether the job is requeued when it is stopped by the scheduler's signal.

    Raises:
        Exception: Of the run, so that the scheduler sees that the job failed.
    """
    environment = submitit.JobEnvironment()
    if environment.cluster == "local":
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # away from the terminal, whose Ctrl-C is for the command that waits
    if environment.num_tasks > 1:
        _join(environment)
    if is_first_process():
        _name_job(environment, words_of(run_dir.name))
    try:
        result = run([] if is_first_process() else ["hydra.output_subdir=null"])  # one process writes
    except Stopped as stopped:
        if requeue and (stopped.by != "SIGTERM" or _is_in_grace(environment)):
            _requeue(environment, run_dir)
        raise
    except UncompletedJobError as error:  # submitit's, for the signal before the run could take it
        record(run_dir, "failed", error=str(error), mistake=False)
        raise
    _ = result.return_value  # raises what the run has failed by
    return result


def _join(environment: submitit.JobEnvironment) -> None:
    """Tell torch.distributed about the job's other processes."""
    torch_environment = submitit.helpers.TorchDistributedEnvironment()
    if environment.num_nodes == 1:
        torch_environment.master_addr = "127.0.0.1"
    torch_environment.export(set_cuda_visible_devices=False, overwrite=True)


def _name_job(environment: submitit.JobEnvironment, name: str) -> None:
    """An array has one name; let each of its jobs say what it is."""
    if environment.cluster == "slurm":
        command = ["scontrol", "update", f"JobId={environment.job_id}", f"JobName={name}"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, check=False, timeout=30)


def _is_in_grace(environment: submitit.JobEnvironment) -> bool:
    """Whether a job that got SIGTERM is to end, but has not: the grace of a preemption, only after which SLURM requeues it.

    One that is cancelled or requeued already is no longer ``RUNNING`` to SLURM.
    """
    return environment.cluster == "slurm" and (slurm_queue() or {}).get(environment.job_id) == "RUNNING"


def _requeue(environment: submitit.JobEnvironment, run_dir: Path) -> None:
    """Have the job requeued by submitit, which ends this process; return where that can't be done."""
    try:
        signal.raise_signal(environment._usr_sig())
    except UncompletedJobError as error:  # out of time too often
        record(run_dir, "failed", error=f"{error} (hydra.launcher.max_num_timeout)", mistake=False)
        raise
    except subprocess.SubprocessError as error:
        log.warning("the job could not be requeued: %s", error)
    if not is_first_process() and environment.cluster == "slurm":
        time.sleep(_REQUEUED_SEC)
