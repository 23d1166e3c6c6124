"""A multirun on this machine, one run after the other."""

import gc
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from omegaconf import OmegaConf, open_dict

from kidasr.cli.launch import USER_ERROR, is_search, nothing_to_do
from kidasr.cli.processes import quoted, run_in_processes, this_command
from kidasr.config.checks import job_class
from kidasr.errors import STOPPED, KidasrError, Stopped
from kidasr.freed_memory import return_freed_memory
from kidasr.processes import are_started
from kidasr.runs.folder import (
    InUseError,
    check_run_folder,
    holder_of,
    is_in_use_elsewhere,
    lock_run_folder,
    release_run_folder,
)
from kidasr.runs.identity import words_of
from kidasr.runs.record import failure, record
from kidasr.runs.sweeps import FailedRun, note_failed
from kidasr.sweep.plan import SweepRun, plan_sweep

log = logging.getLogger(__name__)

#: How often to look whether another process has finished a run.
POLL_SEC = 1.0

#: Overrides of a multirun that its runs must not get.
OF_A_MULTIRUN = ("hydra.mode=", "hydra.run.", "hydra.sweep", "hydra/sweep", "hydra.launcher.", "hydra/launcher=")


def launch_here(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run the jobs of a sweep, each once. A failed run does not stop the others.

    Several processes may run the same sweep. Each leaves to the others what they have begun until it has nothing else to
    do; then it waits for them, and takes over what one of them did not finish.

    Args:
        launcher: Hydra's launcher after its setup.
        job_overrides, initial_job_idx: As passed by Hydra.
    """
    setup_globals()
    hydra = launcher.config.hydra
    configure_log(hydra.hydra_logging, hydra.verbose)
    runs = plan_sweep(launcher, job_overrides, initial_job_idx)
    returns: dict[Path, JobReturn] = {}
    elsewhere: list[tuple[int, SweepRun]] = []

    def attempt(number: int, run: SweepRun) -> bool:
        """Whether it has been run; otherwise another process has it."""
        log.info("run %d of %d: %s", number + 1 - initial_job_idx, len(runs), words_of(run.name))
        if run.folder in returns:
            log.info("the same run as an earlier one, in other words: once is enough")
            return True
        try:
            returns[run.folder] = _run(launcher, run, number)
        except InUseError:
            return False
        finally:
            if _is_shared(run):
                release_run_folder(run.folder)
            gc.collect()  # model and optimizer of the finished run, which refer to each other
            return_freed_memory()
            configure_log(hydra.hydra_logging, hydra.verbose)
        return True

    for number, run in enumerate(runs, start=initial_job_idx):
        if not attempt(number, run):
            log.info("%s does it", holder_of(run.folder))
            elsewhere.append((number, run))
    for number, run in elsewhere:
        _wait_for(run.folder)
        while not attempt(number, run):
            _wait_for(run.folder)
    return [returned(launcher, run, returns[run.folder]) for run in runs]


def _is_shared(run: SweepRun) -> bool:
    """Whether other processes may do the run. Not one that begins anew, nor one that this process is only a part of."""
    return run.cfg.resume != "never" and not are_started() and bool(job_class(run.cfg).has_folder)


def _wait_for(folder: Path) -> None:
    """Wait until no other process has a run."""
    if is_in_use_elsewhere(folder):
        log.info("waiting for %s, which does %s", holder_of(folder), words_of(folder.name))
    while is_in_use_elsewhere(folder):
        time.sleep(POLL_SEC)


def _run(launcher: Any, run: SweepRun, number: int) -> JobReturn:
    """Do a run, unless it is finished.

    Raises:
        InUseError: If another process has it, which may be one of the same sweep.
    """
    try:
        # Before Hydra, which would write the config of now over that of a finished run.
        finished = check_run_folder(run.folder, run.cfg)
        if not finished and _is_shared(run):
            if run.processes == 1:
                lock_run_folder(run.folder)
            elif is_in_use_elsewhere(run.folder):  # the first of its processes takes the lock
                raise InUseError(str(run.folder))
            finished = check_run_folder(run.folder, run.cfg)  # by another process, meanwhile
        if finished:
            log.info(nothing_to_do(run.folder, run.cfg))
            return JobReturn(overrides=run.typed, status=JobStatus.COMPLETED, _return_value=_result_of(run))
    except InUseError:
        raise
    except KidasrError as error:
        log.error("%s", error)
        return JobReturn(overrides=run.typed, status=JobStatus.FAILED, _return_value=error)
    config = launcher.hydra_context.config_loader.load_sweep_config(launcher.config, run.overrides)
    if run.processes > 1 and not are_started():
        return _run_in_processes(launcher, run)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return run_job(
        hydra_context=launcher.hydra_context,
        task_function=launcher.task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _result_of(run: SweepRun) -> float | None:
    return job_class(run.cfg).result(run.folder)


def _run_in_processes(launcher: Any, run: SweepRun) -> JobReturn:
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    typed: Any = OmegaConf.to_container(launcher.config.hydra.overrides.hydra, resolve=False)
    shared = [one for one in typed if not one.lstrip("+").startswith(OF_A_MULTIRUN)]
    command = this_command(*run.typed, *shared, "hydra.mode=RUN", f"hydra.run.dir={quoted(run.folder)}")
    code = run_in_processes(command, run.processes, environment)
    if code == STOPPED:
        raise Stopped("a signal")
    result = JobReturn(overrides=run.typed, status=JobStatus.COMPLETED if not code else JobStatus.FAILED)
    if not code:
        result.return_value = _result_of(run)
        return result
    if not failure(run.folder):  # a process other than the first, which keeps the record
        record(run.folder, "failed", error=f"a process exited with code {code}; see its output", mistake=code == USER_ERROR)
    reason = str((failure(run.folder) or {}).get("error"))
    result.return_value = KidasrError(reason) if code == USER_ERROR else RuntimeError(reason)
    return result


def returned(launcher: Any, run: SweepRun, result: JobReturn) -> JobReturn:
    """The result of a run for the sweeper.

    A failure is noted for the exit code, but not passed to a sweeper that would stop there. A search needs it.
    """
    if result.status != JobStatus.FAILED:
        return result
    error: Any = result._return_value
    mistake = bool((failure(run.folder) or {}).get("mistake")) or isinstance(error, KidasrError)
    note_failed(FailedRun(words_of(run.name), " ".join(str(error).split()) or type(error).__name__, mistake))
    if is_search(launcher.config):
        return result
    return JobReturn(overrides=run.typed, status=JobStatus.COMPLETED, _return_value=None)
