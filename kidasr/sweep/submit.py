"""A sweep as cluster jobs: submit the missing runs and wait for them."""

import logging
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from submitit.core.utils import FailedJobError, FailedSubmissionError
from tqdm import tqdm

from kidasr.cli.launch import is_search
from kidasr.errors import KidasrError, truncate
from kidasr.installation import program
from kidasr.report.tables import percent
from kidasr.runs.folder import finished_wer, prepare_run_folder
from kidasr.runs.identity import words_of
from kidasr.runs.record import record
from kidasr.sweep.local import returned
from kidasr.sweep.pending import advice, explain, pending_reasons
from kidasr.sweep.plan import SweepRun, plan_sweep
from kidasr.sweep.state import ENDED, RunState, run_state, slurm_queue

#: Overrides of every job: it may be requeued.
CONTINUE = ("resume=auto", "overwrite=false")

log = logging.getLogger(__name__)

#: Launcher keys that are arguments of submitit's executor, and those with the same name for every scheduler.
_OF_THE_EXECUTOR = ("submitit_folder", "max_num_timeout")
_SHARED = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "name", "stderr_to_stdout")

#: sbatch accepts only one of each pair: the first replaces the second.
_INSTEAD = ((("mem_per_gpu", "mem_per_cpu"), "mem_gb"), (("cpus_per_gpu",), "cpus_per_task"))

#: Seconds that a job may be neither in the queue nor ended before it counts as lost.
_LOST_SEC = 10


def launch_jobs(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Submit the runs of a sweep that are neither finished nor in the queue, and wait for them unless ``wait=false``.

    Args:
        launcher: Hydra's launcher after its setup.
        job_overrides, initial_job_idx: As passed by Hydra.

    Raises:
        KidasrError: If the scheduler accepts no jobs.
    """
    cluster = launcher._EXECUTOR
    if cluster == "slurm" and not shutil.which("sbatch"):
        raise KidasrError(
            "hydra/launcher=slurm: there is no sbatch on this machine; expected: a login node of the cluster, or "
            "hydra/launcher=submitit_local"
        )
    if not launcher.wait and is_search(launcher.config):
        raise KidasrError("hydra.launcher.wait=false: a search needs the results of earlier runs; expected: wait=true")
    runs = plan_sweep(launcher, job_overrides, initial_job_idx)
    queue = slurm_queue() if cluster == "slurm" else None
    missing: dict[Path, SweepRun] = {}
    for number, run in enumerate(runs, start=initial_job_idx):
        state = run_state(run.folder, queue).state
        there = state in ("queued", "running") or (state == "finished" and run.cfg.resume != "never")
        log.info("#%d %s%s", number, words_of(run.name), f": already {state}" if there else "")
        if not there:
            missing[run.folder] = run
    try:
        _submit(launcher, list(missing.values()), initial_job_idx)
    except (FailedJobError, FailedSubmissionError, RuntimeError, ValueError, NameError) as error:
        reason = " ".join(str(error).split())
        raise KidasrError(f"hydra/launcher={cluster}: {truncate(reason)}") from error
    folder = launcher.config.hydra.sweep.dir
    log.info("%d submitted of %d: %s job=status sweep='%s'", len(missing), len(runs), program(), folder)
    if not launcher.wait:
        return [JobReturn(overrides=run.typed, status=JobStatus.COMPLETED, _return_value=None) for run in runs]
    states = _wait(runs, launcher.poll_sec)
    return [returned(launcher, run, _result(run, states[run.folder])) for run in runs]


def _of_this_machine(cfg: DictConfig) -> list[str]:
    """Overrides that fix what a config decides by the machine, so that all runs of a sweep are the same experiment."""
    half = OmegaConf.select(cfg, "trainer.bf16")
    return [] if half is None else [f"trainer.bf16={str(half).lower()}"]


def _submit(launcher: Any, runs: Sequence[SweepRun], number: int) -> None:
    """Submit runs, one array for each number of processes and nodes."""
    alike = defaultdict(list)
    for run in runs:
        alike[run.nodes, run.processes // run.nodes].append(run)
    for (nodes, tasks), members in alike.items():
        executor = _executor(launcher, nodes, tasks)
        for run in members:
            # Here, not by the job: it may be requeued, and conf/ may have changed when it starts.
            prepare_run_folder(run.folder, run.cfg)
            record(run.folder, "queued")
        columns: list[tuple[Any, ...]] = [
            (str(run.folder), [*run.overrides, *_of_this_machine(run.cfg), *CONTINUE], place, Singleton.get_state())
            for place, run in enumerate(members, start=number)
        ]
        number += len(members)
        with _ctrl_c_ignored():  # processes that are started here ignore it too
            jobs = executor.map_array(launcher, *zip(*columns, strict=True))
        for run, job in zip(members, jobs, strict=True):
            cluster = launcher._EXECUTOR
            controller = int(job.job_id) if cluster == "local" else None
            log_path = job.task(0).paths.stdout if launcher.params["stderr_to_stdout"] else job.task(0).paths.stderr
            record(run.folder, "submitted", cluster=cluster, job=job.job_id, controller=controller, log=str(log_path))


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _executor(launcher: Any, nodes: int, tasks: int) -> submitit.AutoExecutor:
    cluster, params = launcher._EXECUTOR, dict(launcher.params)
    folder, timeouts = (params.pop(name) for name in _OF_THE_EXECUTOR)
    executor = submitit.AutoExecutor(cluster=cluster, folder=folder, **{f"{cluster}_max_num_timeout": timeouts})
    for more_exact, less in _INSTEAD:
        if any(params.get(name) is not None for name in more_exact):
            params[less] = None
    if cluster == "slurm":
        extra = dict(params.pop("additional_parameters", None) or {})
        params["additional_parameters"] = {("requeue" if launcher.requeue else "no-requeue"): True, **extra}
    named = {name if name in _SHARED else f"{cluster}_{name}": value for name, value in params.items() if value is not None}
    executor.update_parameters(nodes=nodes, tasks_per_node=tasks, **named)
    return executor


def _wait(runs: Sequence[SweepRun], poll_sec: float | None) -> dict[Path, RunState]:
    """Wait until every run has ended; log the result of each.

    Args:
        runs: The runs of the sweep.
        poll_sec: Seconds between queries of SLURM's queue; None without SLURM.
    """
    states: dict[Path, RunState] = {}
    lost_since: dict[Path, float] = {}
    queue: Mapping[str, str] | None = None
    asked = float("-inf")
    told: set[str] = set()
    folders = {run.folder: run.name for run in runs}
    with tqdm(total=len(folders), unit="run", disable=None) as bar:
        while len(states) < len(folders):
            if poll_sec is not None and time.monotonic() - asked >= poll_sec:
                queue, asked = slurm_queue(), time.monotonic()
                _tell_why_pending([run_state(folder, queue) for folder in folders], told)
            for folder, name in folders.items():
                if folder in states:
                    continue
                state = run_state(folder, queue)
                # A job that failed because SLURM ended it may soon be in the queue again.
                sure = state.state == "finished" or (state.state == "failed" and poll_sec is None)
                if state.state not in ENDED:
                    lost_since.pop(folder, None)
                    continue
                since = lost_since.setdefault(folder, time.monotonic())
                if sure or time.monotonic() - since > _LOST_SEC + (poll_sec or 0):
                    states[folder] = state
                    result = f"{state.rate} {percent(state.wer)}" if state.wer is not None else state.error or ""
                    log.info("%s: %s %s", words_of(name), state.state, result)
                    bar.update()
            time.sleep(0.5)
    return states


def _tell_why_pending(states: Sequence[RunState], told: set[str]) -> None:
    """Warn once of each reason for which SLURM will not start a run."""
    jobs = {state.job for state in states if state.state == "queued" and state.job}
    if not jobs:
        return
    reasons = {job: reason for job, reason in pending_reasons().items() if job in jobs and reason not in told}
    for line in explain(reasons, len(states)):
        log.warning(line)
    told.update(reason for reason in reasons.values() if advice(reason))


def _result(run: SweepRun, state: RunState) -> JobReturn:
    result = JobReturn(overrides=run.typed, status=JobStatus.COMPLETED)
    if state.state == "finished":
        result.return_value = finished_wer(run.folder)
        return result
    result.status = JobStatus.FAILED
    error = state.error or f"{state.state} before the run ended"
    result.return_value = KidasrError(error) if state.mistake else RuntimeError(error)
    return result
