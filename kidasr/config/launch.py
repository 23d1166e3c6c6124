"""From the command line to the job: every config is checked first, and a mistake is one line, not a traceback."""

import errno
import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kidasr.config.checks import ConfigError, check_config, unknown_key
from kidasr.config.run_folder import (
    check_run_folder,
    finished_wer,
    is_first_process,
    lock_run_folder,
    newest_unfinished,
    prepare_run_folder,
)
from kidasr.errors import KidasrError

#: Exit codes: a mistake of the user's, and any other failure.
USER_ERROR, FAILURE = 2, 1

#: What the user puts right by making room: no space, quota, limit of a file's size.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

log = logging.getLogger("kidasr")


def checked(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap a job's function: config and run folder are checked, and what goes wrong is in its ``run.log`` too.

    A user's mistake is one line there, any other failure a traceback. A single run then ends with exit code 2 or 1. In a
    multirun the error goes on to Hydra, which lets the other jobs finish.
    """

    @functools.wraps(job)
    def run(cfg: DictConfig) -> Any:
        hydra = HydraConfig.get()
        if not is_first_process():  # of several processes, one talks; any may fail
            logging.getLogger().setLevel(logging.ERROR)
        run_dir = Path(hydra.runtime.output_dir)
        try:
            with _full_disk_told():
                check_config(cfg)
                lock_run_folder(run_dir)
                if prepare_run_folder(run_dir, cfg):
                    log.info(_nothing_to_do(run_dir))
                    return finished_wer(run_dir)
                return job(cfg)
        except KidasrError as error:
            for line in str(error).splitlines():
                log.error(line)
            error.was_told = True
            if hydra.mode == RunMode.RUN:
                raise SystemExit(USER_ERROR) from error
            raise
        except Exception as error:
            log.exception("the run failed")
            if hydra.mode == RunMode.RUN:
                raise SystemExit(FAILURE) from error
            raise

    return run


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise KidasrError(
            f"{error.filename or 'the run folder'}: {error.strerror}; with more room, the same command continues"
        ) from error


def _nothing_to_do(run_dir: Path) -> str:
    return f"{run_dir} holds the finished run of this config (WER {100 * (finished_wer(run_dir) or 0):.1f}%): nothing to do"


def launch(main: Callable[[], Any], conf: Path) -> None:
    """Run a ``hydra.main`` function from the command line.

    The config of the run, or of each job of a multirun, is composed and checked before the first of them starts.

    Args:
        main: The function that ``hydra.main`` made.
        conf: Folder of the configs.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":  # the user wants the traceback
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on, so that they can be told here in one line
    logging.raiseExceptions = False  # what a full disk keeps out of run.log is still on the screen
    try:
        if _check_command_line(conf):
            main()
    except (KidasrError, HydraException, OmegaConfBaseException, OSError) as error:
        if not getattr(error, "was_told", False):
            for line in _in_one_line(error).splitlines():
                print(f"error: {line}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _check_command_line(conf: Path) -> bool:
    """Compose and check what the command line asks for; other config folders and Hydra's own flags are left to Hydra.

    Of a single run the folder is found (``resume=latest``) and locked.

    Returns:
        Whether there is anything to do.
    """
    arguments = get_args_parser().parse_args()
    own_flags = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")
    if any(getattr(arguments, flag) for flag in (*own_flags, "config_path", "config_name", "config_dir")):
        return True
    logging.disable(logging.WARNING)  # each job says its warnings itself, into its own run.log
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            for number, overrides in enumerate(_jobs(arguments.overrides, arguments.multirun)):
                cfg = _compose(overrides)
                hydra = cfg.hydra
                with open_dict(cfg):
                    del cfg["hydra"]
                check_config(cfg)
                if arguments.multirun:
                    _check_job_of_multirun(number, hydra, cfg)
                elif not _check_single_run(hydra, cfg):
                    return False
    finally:
        logging.disable(logging.NOTSET)
    return True


def _check_single_run(hydra: DictConfig, cfg: DictConfig) -> bool:
    """Find, lock and check the folder, before Hydra writes to it; returns whether there is anything to do."""
    run_dir = Path(str(hydra.run.dir))
    if cfg.resume == "latest":
        # The folders of the runs are beside each other up to where the time comes in.
        pattern = str(OmegaConf.to_container(hydra.run, resolve=False)["dir"])  # type: ignore[index, call-overload]
        base = Path(pattern.partition("${")[0] or ".")
        latest = newest_unfinished(base, cfg)
        if is_first_process():
            found = f"continuing {latest}" if latest else f"no unfinished run of this config in {base}, so a new one begins"
            print(f"resume=latest: {found}")
        if latest is not None:
            run_dir = latest
    # Hydra composes again, when the time in the folder's name may be another.
    sys.argv.append(f"hydra.run.dir='{_escaped(str(run_dir))}'")
    if not is_first_process():
        sys.argv.append("hydra.output_subdir=null")  # one process writes
    lock_run_folder(run_dir)
    if not check_run_folder(run_dir, cfg):
        return True
    if is_first_process():
        print(_nothing_to_do(run_dir))
    return False


def _check_job_of_multirun(number: int, hydra: DictConfig, cfg: DictConfig) -> None:
    if cfg.resume == "latest":
        raise ConfigError("resume=latest: of one run; accepted with --multirun: hydra.sweep.dir=... of the one to continue")
    with open_dict(hydra):
        hydra.job.num = number
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra})  # type: ignore[assignment]
    try:
        check_run_folder(Path(str(hydra.sweep.dir)) / str(hydra.sweep.subdir), cfg)
    finally:
        HydraConfig.instance().cfg = None


def _escaped(text: str) -> str:
    """As it stands between quotes in Hydra's grammar of overrides."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _compose(overrides: list[str]) -> DictConfig:
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.key_or_group == "experiment" and isinstance(override.value(), list):
            raise ConfigError(f"{override.input_line}: each preset is a whole recipe; accepted: one of them")
    try:
        return compose("config", overrides, return_hydra_config=True)
    except ValueError as error:  # Hydra's, for a group without a choice
        raise ConfigError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from error


def _jobs(overrides: list[str], multirun: bool) -> Iterator[list[str]]:
    """The overrides of each job that a command line starts; of a search without fixed points, what its jobs share."""
    if not multirun:
        yield overrides
        return
    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)
    if any(one.is_sweep_override() and not one.is_discrete_sweep() for one in parsed):
        yield [str(one.input_line) for one in parsed if not one.is_sweep_override()]
        return
    for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None):
        yield from batch


def _in_one_line(error: Exception) -> str:
    """What was wrong and what is accepted, without Hydra's hints over several lines."""
    if isinstance(error, KidasrError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not in the form group=choice or key=value: {lines[0]}"
    if match := re.match(r"Could not override '([^']+)'", text):
        return unknown_key(match[1])
    if match := re.search(r"Could not find '([^']+)/([^'/]+)' Available options in '[^']+': (.*?) Config search path", text):
        return f"{match[1]}={match[2]}: no such choice; accepted: {', '.join(match[3].split())}"
    return text
