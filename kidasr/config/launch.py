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
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kidasr.config.checks import ConfigError, check_config, unknown_key
from kidasr.config.run_folder import (
    check_place,
    check_run_folder,
    finished_wer,
    is_first_process,
    lock_run_folder,
    newest_unfinished,
    prepare_run_folder,
)
from kidasr.config.secrets import check_overrides, hidden
from kidasr.errors import KidasrError, shown

#: Exit codes: a mistake of the user's, and any other failure.
USER_ERROR, FAILURE = 2, 1

#: What an ablation varies itself.
DESIGNED = (
    "seed",
    "experiment",
    "hypotheses",
    "checkpoint",
    "schedule",
    "early_stopping",
    "freeze",
    "augment",
    "curriculum",
)
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
                try:
                    return job(cfg)
                except InstantiationException as error:  # of a _target_ that is none
                    text, _, key = str(error).partition("\nfull_key: ")
                    reason = " ".join(text.replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception.", "").split())
                    raise ConfigError(f"{key.removeprefix('job.') or 'job'}._target_: {shown(reason)}") from error
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
    sys.argv[1:] = [_seeds_as_list(argument) for argument in sys.argv[1:]]
    logging.raiseExceptions = False  # what a full disk keeps out of run.log is still on the screen
    try:
        if _check_command_line(conf):
            main()
    except (KidasrError, HydraException, OmegaConfBaseException, OSError) as error:
        if not getattr(error, "was_told", False):
            for line in _in_one_line(error, conf).splitlines():
                print(f"error: {hidden(line)}", file=sys.stderr)
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
    check_overrides(arguments.overrides)
    own_flags = ("help", "hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")
    if any(getattr(arguments, flag) for flag in (*own_flags, "config_path", "config_name", "config_dir")):
        return True
    logging.disable(logging.WARNING)  # each job says its warnings itself, into its own run.log
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            shared = _compose(_without_sweeps(arguments.overrides))
            multirun = arguments.multirun or shared.hydra.mode == RunMode.MULTIRUN
            jobs = planned_jobs(shared, arguments.overrides) if multirun else [arguments.overrides]
            for number, overrides in enumerate(jobs):
                cfg = _compose(overrides)
                hydra = cfg.hydra
                with open_dict(cfg):
                    del cfg["hydra"]
                check_config(cfg)
                if multirun:
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
    check_place(run_dir)
    lock_run_folder(run_dir)
    if not check_run_folder(run_dir, cfg):
        return True
    if is_first_process():
        print(_nothing_to_do(run_dir))
    return False


def _check_job_of_multirun(number: int, hydra: DictConfig, cfg: DictConfig) -> None:
    if cfg.resume == "latest":
        raise ConfigError("resume=latest: of one run; accepted with --multirun: hydra.sweep.dir=... of the one to continue")
    check_place(Path(str(hydra.sweep.dir)), "hydra.sweep.dir")
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
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # Hydra's, for what it did not think of
        reason = (
            " ".join(str(error).split()) if isinstance(error, ValueError) else "not in the form group=choice or key=value"
        )
        raise ConfigError(f"{shown(' '.join(overrides))}: {reason}") from error


def _without_sweeps(overrides: list[str]) -> list[str]:
    """What all jobs of a multirun share."""
    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)
    return [str(one.input_line) for one in parsed if not one.is_sweep_override()]


def planned_jobs(shared: DictConfig, overrides: list[str]) -> Iterator[list[str]]:
    """The overrides of each job of a multirun; of a search without fixed points, what its jobs share.

    Args:
        shared: The config of what all of them share.
        overrides: The command line.

    Raises:
        ConfigError: If something on the command line is what an ablation varies itself.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides(overrides)
    design = shared.hydra.runtime.choices.get("ablation")
    for one in parsed:
        if one.key_or_group == "ablation" and one.is_sweep_override():
            raise ConfigError(f"{one.input_line}: each is a multirun by itself; accepted: one of them")
        if design and one.key_or_group in DESIGNED:
            raise ConfigError(
                f"{one.input_line}: ablation={design} decides that; accepted: seeds=1,2 and what all runs are to have "
                "in common, such as model=whisper or augment.freq_mask_param=40"
            )
    parsed = (
        parser.parse_overrides([f"{key}={values}" for key, values in (shared.hydra.sweeper.params or {}).items()]) + parsed
    )
    if any(one.is_sweep_override() and not one.is_discrete_sweep() for one in parsed):
        yield _without_sweeps(overrides)
        return
    for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None):
        yield from batch


def _seeds_as_list(argument: str) -> str:
    """``seeds=1,2`` as ``seeds=[1,2]``: every configuration of an ablation with each, not an ablation for each."""
    return re.sub(r"^seeds=([^\[\]]+)$", r"seeds=[\1]", argument)


def _in_one_line(error: Exception, conf: Path) -> str:
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
    if match := re.search(r"Could not load '([^'/]+)/([^']+)'", text):  # one of a list
        choices = sorted(path.stem for path in (conf / match[1]).glob("*.yaml"))
        return f"{match[1]}=[{match[2]}]: no such choice; accepted: {', '.join(choices)}"
    return text
