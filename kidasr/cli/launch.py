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
from tqdm import tqdm

from kidasr.cli.help import help_text
from kidasr.cli.processes import quoted, run_in_processes, this_command
from kidasr.cli.shorthand import augmentation_keys, overridden_groups, written_out
from kidasr.config.checks import ConfigError, check_config, check_hydra, job_class, unknown_key
from kidasr.config.secrets import check_overrides, hidden
from kidasr.errors import KidasrError, Stopped, truncate
from kidasr.processes import are_started, is_first_process
from kidasr.runs.folder import (
    check_place,
    check_run_folder,
    lock_run_folder,
    newest_unfinished,
    prepare_run_folder,
)
from kidasr.runs.identity import identity, resolved
from kidasr.runs.record import is_expected, record
from kidasr.runs.sweeps import failed_runs, name_run, remember_runs

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
        begun = False
        try:
            with _explain_full_disk():
                check_config(cfg)
                if not job_class(cfg).has_folder:
                    return job(cfg)
                lock_run_folder(run_dir)
                if prepare_run_folder(run_dir, cfg):
                    log.info(nothing_to_do(run_dir, cfg))
                    return job_class(cfg).result(run_dir)
                begun = True
                record(run_dir, "started", job=_job_id())
                result = _run(job, cfg)
                record(run_dir, "finished")
                return result
        except Stopped as stopped:
            record(run_dir, "stopped", by=stopped.by)
            raise
        except KidasrError as error:
            for line in str(error).splitlines():
                log.error(line)
            error.was_reported = True
            if begun or is_expected(run_dir):
                record(run_dir, "failed", error=hidden(str(error).partition("\n")[0]), mistake=True)
            if hydra.mode == RunMode.RUN:
                raise SystemExit(USER_ERROR) from error
            raise
        except Exception as error:
            log.exception("the run failed")
            if begun or is_expected(run_dir):
                reason = " ".join(str(error).split())
                record(run_dir, "failed", error=hidden(f"{type(error).__name__}: {truncate(reason)}"), mistake=False)
            if hydra.mode == RunMode.RUN:
                raise SystemExit(FAILURE) from error
            raise

    return run


def _job_id() -> str | None:
    cfg: Any = HydraConfig.instance().cfg
    return OmegaConf.select(cfg, "hydra.job.id")


def _run(job: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    try:
        return job(cfg)
    except InstantiationException as error:  # of a _target_ that is none
        text, _, key = str(error).partition("\nfull_key: ")
        reason = " ".join(text.replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception.", "").split())
        raise ConfigError(f"{key.removeprefix('job.') or 'job'}._target_: {truncate(reason)}") from error


@contextmanager
def _explain_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise KidasrError(
            f"{error.filename or 'the run folder'}: {error.strerror}; with more room, the same command continues"
        ) from error


def nothing_to_do(run_dir: Path, cfg: DictConfig) -> str:
    """The line for a finished run."""
    result = job_class(cfg).result(run_dir)
    error_rate = "" if result is None else f" (WER {100 * result:.1f}%)"
    return f"{run_dir} holds the finished run of this config{error_rate}: nothing to do"


def launch(main: Callable[[], Any], conf: Path) -> None:
    """Run a ``hydra.main`` function from the command line.

    The config of the run, or of each job of a multirun, is composed and checked before the first of them starts.

    Args:
        main: The function that ``hydra.main`` made.
        conf: Folder of the configs.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":  # the user wants the traceback
        main()
        _end_with_failed_runs()
        return
    inherited = dict(os.environ)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on, so that they can be told here in one line
    logging.raiseExceptions = False  # what a full disk keeps out of run.log is still on the screen
    try:
        sys.argv[1:], own = _add_config_dir(sys.argv[1:])
        folders = [conf, *own]
        inherited["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        sys.argv[1:] = written_out(sys.argv[1:], folders)
        processes = _check_command_line(conf, folders)
        if processes > 1:
            sys.exit(run_in_processes(this_command(*sys.argv[1:]), processes, inherited))
        if processes:
            main()
            _end_with_failed_runs()
    except (KidasrError, HydraException, OmegaConfBaseException, OSError) as error:
        if not getattr(error, "was_reported", False):
            for line in _in_one_line(error, conf, sys.argv[1:]).splitlines():
                print(f"error: {hidden(line)}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR", None)


def _end_with_failed_runs() -> None:
    """Where runs of a multirun have failed, say so and exit with 2, or with 1 if any was no mistake of the user's."""
    failed = failed_runs()
    if not failed:
        return
    for one in failed:
        print(f"failed: {one.name}: {hidden(one.error)}", file=sys.stderr)
    sys.exit(USER_ERROR if all(one.mistake for one in failed) else FAILURE)


def _add_config_dir(arguments: list[str]) -> tuple[list[str], list[Path]]:
    """Take ``--config-dir`` for a search path, which every job of a sweep gets too, and import modules from it.

    Returns:
        The other arguments with the search path, and the folder of the user's, if there is one.

    Raises:
        ConfigError: If there is no such folder.
    """
    rest, given = [], None
    words = iter(arguments)
    for one in words:
        if one in ("--config-dir", "-cd"):
            given = next(words, "")
        elif one.startswith("--config-dir="):
            given = one.partition("=")[2]
        else:
            rest.append(one)
    if given is None:
        return arguments, []
    folder = Path(given).absolute()
    if not given or not folder.is_dir():
        raise ConfigError(f"--config-dir={given}: no such folder; expected: one with groups of configs")
    sys.path.insert(1, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return [f"hydra.searchpath=[{quoted(f'file://{folder}')}]", *rest], [folder]


def _check_command_line(conf: Path, folders: list[Path]) -> int:
    """Compose and check what the command line asks for; other config folders and Hydra's own flags are left to Hydra.

    Of a single run the folder is found (``resume=latest``) and locked; of a multirun it is named.

    Returns:
        How many processes are to do it: 0 if there is nothing to do, 1 for this one.
    """
    arguments = get_args_parser().parse_args()
    check_overrides(arguments.overrides)
    own_flags = ("hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")
    if any(getattr(arguments, flag) for flag in (*own_flags, "config_path", "config_name")):
        return 1
    logging.disable(logging.WARNING)  # each job says its warnings itself, into its own run.log
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            shared = _compose(_without_sweeps(arguments.overrides))
            if arguments.help:
                print(help_text(shared, folders))
                return 0
            _check_hypotheses(arguments.overrides, folders)
            if not (arguments.multirun or shared.hydra.mode == RunMode.MULTIRUN):
                for one in arguments.overrides:
                    if one.lstrip("+").startswith(("hydra/launcher=", "hydra/sweeper=")):
                        raise ConfigError(f"{one}: of a multirun; expected: with --multirun")
                return _check_single_run(*_checked(_compose(arguments.overrides)))
            _check_multirun(shared, arguments.overrides, folders)
    finally:
        logging.disable(logging.NOTSET)
    return 1


def _checked(cfg: DictConfig) -> tuple[DictConfig, DictConfig]:
    """Hydra's part of a config and the rest, which can work."""
    hydra = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    check_config(cfg)
    return hydra, cfg


def _check_single_run(hydra: DictConfig, cfg: DictConfig) -> int:
    """Find, lock and check the folder, before Hydra writes to it; returns how many processes have something to do."""
    if not job_class(cfg).has_folder:
        sys.argv.append("hydra/job_logging=screen")
        return 1
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
    sys.argv.append(f"hydra.run.dir={quoted(run_dir)}")
    if not is_first_process():
        sys.argv.append("hydra.output_subdir=null")  # one process writes
    check_place(run_dir)
    processes = 1
    if "trainer" in cfg.job and not are_started():
        check_nodes(cfg, here=True)
        processes = cfg.trainer.num_processes or 1
    if processes == 1:
        lock_run_folder(run_dir)
    if not check_run_folder(run_dir, cfg):
        return processes
    if is_first_process():
        print(nothing_to_do(run_dir, cfg))
    return 0


def check_nodes(cfg: DictConfig, here: bool) -> None:
    """Check that a run of several machines is not to be started here, where there is one.

    Raises:
        ConfigError: If so.
    """
    if here and (OmegaConf.select(cfg, "trainer.num_nodes") or 1) > 1:
        raise ConfigError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}: this is one machine; expected: --multirun hydra/launcher=slurm, or "
            "torchrun on each of them"
        )


def _check_multirun(shared: DictConfig, overrides: list[str], folders: list[Path]) -> None:
    """Check every job of a multirun, and give it its folder, which Hydra would name again for each job."""
    with open_dict(shared):
        shared.hydra.overrides.task = [one for one in overrides if not one.lstrip("+~").startswith("hydra")]
        shared.hydra.overrides.task += [one for one in overrides if one.startswith("hydra/sweeper=")]
    sweep_dir = Path(str(shared.hydra.sweep.dir))
    check_place(sweep_dir, "hydra.sweep.dir")
    check_hydra(shared.hydra)
    base = _compose([])
    named: dict[str, dict[str, Any]] = {}
    composed: dict[tuple[str, ...], tuple[str, DictConfig]] = {}
    jobs = list(planned_jobs(shared, overrides, folders))
    for number, job in enumerate(tqdm(jobs, desc="checking configs", unit="run", leave=False, disable=None, delay=1)):
        whole = _compose(job)
        name = name_run(sweep_dir, whole, base, number)
        what = identity(resolved(whole))
        if named.setdefault(name, what) != what:
            raise ConfigError(
                f"hydra.sweep.subdir: two runs would go into {sweep_dir / name}; expected: a folder for each, or no "
                "hydra.sweep.subdir, by which each has one"
            )
        hydra, cfg = _checked(whole)
        if cfg.resume == "latest":
            raise ConfigError(
                "resume=latest: of one run; expected with --multirun: hydra.sweep.dir=... of the one to continue"
            )
        check_nodes(cfg, here=not str(hydra.launcher.get("_target_")).endswith("SlurmLauncher"))
        check_run_folder(sweep_dir / name, cfg)
        composed[tuple(one for one in job if not one.lstrip("+~").startswith("hydra"))] = name, cfg
    remember_runs(composed)
    sys.argv.append(f"hydra.sweep.dir={quoted(sweep_dir)}")


def _compose(overrides: list[str]) -> DictConfig:
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.key_or_group == "experiment" and isinstance(override.value(), list):
            raise ConfigError(f"{override.input_line}: each preset is a whole recipe; expected: one of them")
    try:
        return compose("config", overrides, return_hydra_config=True)
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # Hydra's, for what it did not think of
        reason = (
            " ".join(str(error).split()) if isinstance(error, ValueError) else "not in the form group=choice or key=value"
        )
        raise ConfigError(f"{truncate(' '.join(overrides))}: {reason}") from error


def _without_sweeps(overrides: list[str]) -> list[str]:
    """What all jobs of a multirun share."""
    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)
    return [str(one.input_line) for one in parsed if not one.is_sweep_override()]


def planned_jobs(shared: DictConfig, overrides: list[str], folders: list[Path]) -> Iterator[list[str]]:
    """The overrides of each job of a multirun; of a search without fixed points, what its jobs share.

    Args:
        shared: The config of what all of them share.
        overrides: The command line.
        folders: Of configs.

    Raises:
        ConfigError: If something on the command line is what an ablation varies itself.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides(overrides)
    design = shared.hydra.runtime.choices.get("ablation", "none")
    varied = {"seed", "experiment", "hypotheses"}
    if design != "none":
        _check_ablated(list(shared.ablated), folders)
        varied |= {group.lstrip("/") for name in shared.ablated for group in overridden_groups(folders, name)}
    for one in parsed:
        if one.key_or_group == "ablation" and one.is_sweep_override():
            raise ConfigError(f"{one.input_line}: each is a multirun by itself; expected: one of them")
        if design != "none" and one.key_or_group in varied:
            raise ConfigError(
                f"{one.input_line}: ablation={design} decides that; expected: seeds=1,2 and what all runs are to have "
                "in common, such as model=whisper or trainer.num_train_epochs=5"
            )
    parsed = (
        parser.parse_overrides([f"{key}={values}" for key, values in (shared.hydra.sweeper.params or {}).items()]) + parsed
    )
    of_the_basic_sweeper = str(shared.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")
    if not of_the_basic_sweeper or any(one.is_sweep_override() and not one.is_discrete_sweep() for one in parsed):
        yield _without_sweeps(overrides)
        return
    for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None):
        yield from batch


def _check_ablated(names: list[str], folders: list[Path]) -> None:
    if len(names) != len(set(names)):
        raise ConfigError(f"ablated={names}: a hypothesis is there twice; expected: each once")
    known = sorted({path.stem for folder in folders for path in (folder / "hypotheses").glob("*.yaml")})
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"hypotheses=[{unknown[0]}]: no such choice; expected: {', '.join(known)}")


def _check_hypotheses(overrides: list[str], folders: list[Path]) -> None:
    """Refuse hypotheses that choose in the same group: Hydra would take one and pass over the other."""
    for override in OverridesParser.create().parse_overrides(overrides):
        value = override.value()
        if override.key_or_group != "hypotheses" or not isinstance(value, list):
            continue
        chosen: dict[str, str] = {}
        for name in map(str, value):
            for group in sorted(overridden_groups(folders, name)):
                if group in chosen:
                    raise ConfigError(
                        f"{override.input_line}: {chosen[group]} and {name} both choose {group.lstrip('/')}; expected: one "
                        "of them (one that adds to a group, as /augment/mine, goes with others)"
                    )
                chosen[group] = name


def _in_one_line(error: Exception, conf: Path, arguments: list[str]) -> str:
    """What was wrong and what is expected, without Hydra's hints over several lines."""
    if isinstance(error, KidasrError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not in the form group=choice or key=value: {lines[0]}"
    if match := re.match(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1], conf, arguments)
    if match := re.search(r"Could not find '([^']+)/([^'/]+)' Available options in '[^']+': (.*?) Config search path", text):
        return f"{match[1]}={match[2]}: no such choice; expected: {', '.join(match[3].split())}"
    if match := re.search(r"Could not load '([^'/]+)/([^']+)'", text):  # one of a list
        choices = sorted(path.stem for path in (conf / match[1]).glob("*.yaml"))
        return f"{match[1]}=[{match[2]}]: no such choice; expected: {', '.join(choices)}"
    return text


def _unknown_key(key: str, conf: Path, arguments: list[str]) -> str:
    """The line for a key that Hydra does not know, with what the chosen groups know."""
    group = key.partition(".")[0]
    name = key.rpartition(".")[2]
    choices = [one for one in arguments if re.match(r"[\w/]+=[^=]*$", one) and (conf / one.partition("=")[0]).is_dir()]
    choices = [one for one in choices if "," not in one or "[" in one]
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            search_path = [one for one in arguments if one.startswith("hydra.searchpath=")]
            line = unknown_key(key, _compose([*choices, *search_path]), list(augmentation_keys([conf])))
    except (KidasrError, HydraException, OmegaConfBaseException):
        line = unknown_key(key)
    files = sorted((conf / group).glob("*.yaml"))
    if files and "." not in key:
        job = next((one for one in choices if one.startswith("job=")), "job=train")
        return f"{key}: no group of {job}; python run.py {job} --help lists those that are"
    with_key = [path.stem for path in files if re.search(rf"^ *{re.escape(name)}:", path.read_text("utf-8"), re.MULTILINE)]
    if with_key and "did you mean" not in line:
        return f"{key}: no such key with this choice of {group}; expected: {group}={' or '.join(with_key)}"
    return line
