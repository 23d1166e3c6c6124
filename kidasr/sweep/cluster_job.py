"""A run as a cluster job: joins the job's other processes, and is requeued after a stop."""

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

#: Seconds that the other processes wait for the first one to requeue the job, which ends them too.
_REQUEUED_SEC = 60


def run_cluster_job(run: Callable[[list[str]], JobReturn], run_dir: Path, requeue: bool) -> JobReturn:
    """Run a job inside submitit.

    submitit requeues its job from its signal handler, wherever the program is. A run therefore holds the signal back until
    it has saved a checkpoint, and then raises it again.

    Args:
        run: Runs the job, given overrides for this process only.
        run_dir: The run's folder.
        requeue: Whether to requeue the job after a stop by the scheduler's signal.

    Raises:
        Exception: The run's exception, so that the scheduler marks the job as failed.
    """
    environment = submitit.JobEnvironment()
    if environment.cluster == "local":
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)  # own process group: Ctrl-C is for the waiting command
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
    except UncompletedJobError as error:  # from submitit, for a signal that arrived before the run could handle it
        record(run_dir, "failed", error=str(error), mistake=False)
        raise
    _ = result.return_value  # raises the run's exception
    return result


def _join(environment: submitit.JobEnvironment) -> None:
    """Set up torch.distributed for the job's processes."""
    torch_environment = submitit.helpers.TorchDistributedEnvironment()
    if environment.num_nodes == 1:
        torch_environment.master_addr = "127.0.0.1"
    torch_environment.export(set_cuda_visible_devices=False, overwrite=True)


def _name_job(environment: submitit.JobEnvironment, name: str) -> None:
    """Name the job after its run; the jobs of an array share one name otherwise."""
    if environment.cluster == "slurm":
        command = ["scontrol", "update", f"JobId={environment.job_id}", f"JobName={name}"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, check=False, timeout=30)


def _is_in_grace(environment: submitit.JobEnvironment) -> bool:
    """Whether a job that received SIGTERM is in the grace time of a preemption, after which SLURM would requeue it.

    A job that was cancelled or requeued already is no longer ``RUNNING`` in SLURM's queue.
    """
    return environment.cluster == "slurm" and (slurm_queue() or {}).get(environment.job_id) == "RUNNING"


def _requeue(environment: submitit.JobEnvironment, run_dir: Path) -> None:
    """Requeue the job with submitit, which ends this process; return if that fails."""
    try:
        signal.raise_signal(environment._usr_sig())
    except UncompletedJobError as error:  # too many time limits reached
        record(run_dir, "failed", error=f"{error} (hydra.launcher.max_num_timeout)", mistake=False)
        raise
    except subprocess.SubprocessError as error:
        log.warning("the job could not be requeued: %s", error)
    if not is_first_process() and environment.cluster == "slurm":
        time.sleep(_REQUEUED_SEC)
