"""From the command line to the job. Every config is checked first; a mistake is reported in one line, not a traceback."""

import errno
import functools
import json
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from kidasr.cli.factors import ABLATION_KEYS, EXAMPLE, ablation_jobs, check_factors, is_ablation, read_seeds
from kidasr.cli.help import help_text
from kidasr.cli.hints import in_quotes, instead_of_a_choice, instead_of_a_flag
from kidasr.cli.processes import quoted, run_in_processes, this_command
from kidasr.cli.shorthand import augmentation_keys, overridden_groups, written_out
from kidasr.cli.step_scale import check_step_scale, describe_step_scale
from kidasr.cli.toy_model import toy_model_warning
from kidasr.cli.until import read_until
from kidasr.config.checks import (
    ConfigError,
    check_config,
    check_hydra,
    check_places,
    check_used,
    job_class,
    unknown_key,
)
from kidasr.config.secrets import check_overrides, hidden
from kidasr.errors import KidasrError, Stopped, truncate
from kidasr.installation import program
from kidasr.processes import are_started, is_first_process
from kidasr.runs.folder import (
    check_place,
    check_run_folder,
    lock_run_folder,
    new_folder,
    newest_unfinished,
    prepare_run_folder,
)
from kidasr.runs.identity import identity, resolved
from kidasr.runs.record import is_expected, record
from kidasr.runs.sweeps import failed_runs, name_run, remember_runs

#: Exit codes: a user's mistake, and any other failure.
USER_ERROR, FAILURE = 2, 1

#: Errors that the user fixes by making room: disk full, quota exceeded, file too large.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: Groups whose choices exclude each other: Hydra would mix the keys of two. (Others may take a list, as ``augment`` does.)
ONE_CHOICE = (
    *("adapter", "average", "checkpoint", "corpus", "curriculum", "data", "debug", "early_stopping", "freeze", "job"),
    *("logger", "model", "objective", "optim", "padding", "report", "schedule", "segment", "trainer"),
)

log = logging.getLogger("kidasr")


def checked(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Wrap a job's function: check config and run folder first, and log errors to ``run.log`` as well.

    A user's mistake is logged in one line, any other failure with its traceback. A single run then exits with code 2 or 1.
    In a multirun the error is raised again for Hydra, which lets the other jobs finish.
    """

    @functools.wraps(job)
    def run(cfg: DictConfig) -> Any:
        hydra = HydraConfig.get()
        if not is_first_process():  # one process logs; the others only report errors
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
                if warning := toy_model_warning(cfg, hydra.overrides.task):
                    log.warning(warning)
                check_places(cfg)
                if line := describe_step_scale(cfg):
                    log.info(line)
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
                mistake = error.exit_code == USER_ERROR
                record(run_dir, "failed", error=hidden(str(error).partition("\n")[0]), mistake=mistake)
            if hydra.mode == RunMode.RUN:
                raise SystemExit(error.exit_code) from error
            traceback.clear_frames(error.__traceback__)  # Hydra keeps the error to the end of the sweep: not the model, too
            raise
        except Exception as error:
            log.exception("the run failed")
            if begun or is_expected(run_dir):
                reason = " ".join(str(error).split())
                record(run_dir, "failed", error=hidden(f"{type(error).__name__}: {truncate(reason)}"), mistake=False)
            if hydra.mode == RunMode.RUN:
                raise SystemExit(FAILURE) from error
            traceback.clear_frames(error.__traceback__)
            raise
        except KeyboardInterrupt:
            if begun:
                record(run_dir, "failed", error="interrupted", mistake=True)
            raise

    return run


def _job_id() -> str | None:
    cfg: Any = HydraConfig.instance().cfg
    return OmegaConf.select(cfg, "hydra.job.id")


def _run(job: Callable[[DictConfig], Any], cfg: DictConfig) -> Any:
    try:
        return job(cfg)
    except InstantiationException as error:  # a _target_ that can't be instantiated
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
            f"{error.filename or 'the run folder'}: {error.strerror}; make room, then the same command resumes"
        ) from error


def nothing_to_do(run_dir: Path, cfg: DictConfig) -> str:
    """The message for a finished run."""
    result = job_class(cfg).result(run_dir)
    error_rate = "" if result is None else f" (WER {100 * result:.1f}%)"
    return f"{run_dir} holds the finished run of this config{error_rate}: nothing to do"


def launch(main: Callable[[], Any], conf: Path) -> None:
    """Run a ``hydra.main`` function from the command line.

    The config of the run, or of every job of a multirun, is composed and checked before the first one starts.

    Args:
        main: The function decorated by ``hydra.main``.
        conf: The config folder.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":  # the user wants the traceback
        main()
        _end_with_failed_runs()
        return
    inherited = dict(os.environ)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise errors, to be reported here in one line
    logging.raiseExceptions = False  # on a full disk, run.log fails silently; the screen still gets the message
    try:
        sys.argv[1:], own = add_config_dirs(sys.argv[1:], conf)
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
            for line in in_one_line(error, conf, sys.argv[1:]).splitlines():
                print(f"error: {hidden(line)}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR", None)


def _end_with_failed_runs() -> None:
    """List the failed runs of a multirun, if any, and exit: with 2 if all were user mistakes, otherwise with 1."""
    failed = failed_runs()
    if not failed:
        return
    for one in failed:
        print(f"failed: {one.name}: {hidden(one.error)}", file=sys.stderr)
    sys.exit(USER_ERROR if all(one.mistake for one in failed) else FAILURE)


def add_config_dirs(arguments: Sequence[str], conf: Path) -> tuple[list[str], list[Path]]:
    """Turn ``--config-dir`` into a search path, which every job of a sweep inherits, and make its modules importable.

    The folder ``conf`` of the working directory is another such folder if it has a ``local/default.yaml``: an installed
    package has no ``conf/local`` of its own.

    Args:
        arguments: The command line without the program's name.
        conf: kidasr's own config folder.

    Returns:
        The other arguments plus the search path, and the user's folders.

    Raises:
        ConfigError: If the folder does not exist.
    """
    rest: list[str] = []
    folders: list[Path] = []
    words = iter(arguments)
    for one in words:
        if one in ("--config-dir", "-cd") or one.startswith("--config-dir="):
            given = one.partition("=")[2] if "=" in one else next(words, "")
            if not given or not Path(given).is_dir():
                raise ConfigError(f"--config-dir={given}: no such folder; expected: a folder with config groups")
            folders = [Path(given).absolute()]
        else:
            rest.append(one)
    here = Path("conf").absolute()
    is_inherited = any(one.startswith("hydra.searchpath=") for one in rest)
    if (here / "local" / "default.yaml").is_file() and here.resolve() != conf.resolve() and not is_inherited:
        folders.append(here)
    if not folders:
        return rest, []
    sys.path[1:1] = [str(one) for one in folders if str(one) not in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))
    # Last: after an override, Hydra does not recognise its own flags.
    return [*rest, f"hydra.searchpath=[{','.join(quoted(f'file://{one}') for one in folders)}]"], folders


def _check_command_line(conf: Path, folders: list[Path]) -> int:
    """Compose and check the command line's config. Hydra's own flags and other config folders are left to Hydra.

    A single run's folder is found (``resume=latest``) and locked; a multirun's folder is named.

    Returns:
        The number of processes to start: 0 if there is nothing to do, 1 for this process alone.
    """
    arguments, unknown = get_args_parser().parse_known_args()
    if unknown:
        _refuse_flag(unknown[0])
    check_overrides(arguments.overrides)
    own_flags = ("hydra_help", "cfg", "info", "shell_completion", "experimental_rerun")
    if any(getattr(arguments, flag) for flag in (*own_flags, "config_path", "config_name")):
        return 1
    logging.disable(logging.WARNING)  # each job logs its warnings to its own run.log later
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            _check_sweeper(arguments.overrides)
            of_all = _without_sweeps(arguments.overrides)
            shared = _compose(of_all)
            if arguments.help:
                print(help_text(shared, folders))
                return 0
            _check_hypotheses(arguments.overrides, folders)
            if not (arguments.multirun or shared.hydra.mode == RunMode.MULTIRUN):
                for one in arguments.overrides:
                    if one.lstrip("+").startswith(("hydra/launcher=", "hydra/sweeper=")):
                        raise ConfigError(f"{one}: needs a multirun; expected: --multirun as well")
                alone = shared if of_all == arguments.overrides else _compose(arguments.overrides)
                return _check_single_run(*_checked(alone))
            _check_multirun(shared, arguments.overrides, folders)
    finally:
        logging.disable(logging.NOTSET)
    return 1


def _refuse_flag(flag: str) -> None:
    """Refuse a flag that does not exist, as other tools have for each key."""
    following = sys.argv[sys.argv.index(flag) + 1 :] if flag in sys.argv else []
    raise ConfigError(
        f"{flag}: no such flag; expected: {instead_of_a_flag(flag, following)} (keys are typed without dashes)"
    )


def _checked(cfg: DictConfig) -> tuple[DictConfig, DictConfig]:
    """Split a config into Hydra's part and the rest, and check the rest."""
    hydra = cfg.hydra
    check_used(cfg, hydra.overrides.task)
    with open_dict(cfg):
        del cfg["hydra"]
    check_config(cfg)
    check_step_scale(cfg)
    return hydra, cfg


def _check_single_run(hydra: DictConfig, cfg: DictConfig) -> int:
    """Find, lock and check the run folder before Hydra writes to it; returns the number of processes to start."""
    if not job_class(cfg).has_folder:
        sys.argv.append("hydra/job_logging=screen")
        return 1
    run_dir = Path(str(hydra.run.dir))
    unresolved: Any = OmegaConf.to_container(hydra.run, resolve=False)
    pattern = str(unresolved["dir"])
    # Named after the second, it can't be meant to resume. Processes that are started together share the folder.
    is_new = "${now:" in pattern and "%S" in pattern and not are_started()
    if cfg.resume == "latest":
        # All run folders share the part of the path before the time.
        base = Path(pattern.partition("${")[0] or ".")
        latest = newest_unfinished(base, cfg)
        if is_first_process():
            found = f"resuming {latest}" if latest else f"no unfinished run of this config in {base}, starting a new one"
            print(f"resume=latest: {found}")
        if latest is not None:
            run_dir, is_new = latest, False
    check_place(run_dir)
    processes = 1
    if "trainer" in cfg.job and not are_started():
        check_nodes(cfg, here=True)
        processes = cfg.trainer.num_processes or 1
    if is_new:
        with _explain_full_disk():
            run_dir = new_folder(run_dir)
    # Fix the folder: Hydra composes again, and the time in its name may have changed.
    sys.argv.append(f"hydra.run.dir={quoted(run_dir)}")
    if not is_first_process():
        sys.argv.append("hydra.output_subdir=null")  # only the first process writes
    if processes == 1:
        lock_run_folder(run_dir)
    if not check_run_folder(run_dir, cfg):
        return processes
    if is_first_process():
        print(nothing_to_do(run_dir, cfg))
    return 0


def check_nodes(cfg: DictConfig, here: bool) -> None:
    """Refuse a run on several machines if it would start here, on one.

    Raises:
        ConfigError: If ``here`` and ``trainer.num_nodes`` is more than 1.
    """
    if here and (OmegaConf.select(cfg, "trainer.num_nodes") or 1) > 1:
        raise ConfigError(
            f"trainer.num_nodes={cfg.trainer.num_nodes}: this is one machine; expected: --multirun hydra/launcher=slurm, or "
            "torchrun on each machine"
        )


def _check_multirun(shared: DictConfig, overrides: list[str], folders: list[Path]) -> None:
    """Check every job of a multirun, and fix the sweep's folder: Hydra would compute its name again for each job."""
    with open_dict(shared):
        shared.hydra.overrides.task = [one for one in overrides if not one.lstrip("+~").startswith("hydra")]
        shared.hydra.overrides.task += [one for one in overrides if one.startswith("hydra/sweeper=")]
    sweep_dir = Path(str(shared.hydra.sweep.dir))
    check_place(sweep_dir, "hydra.sweep.dir")
    check_hydra(shared.hydra)
    base = _compose([])
    named: dict[str, dict[str, Any]] = {}
    composed: dict[tuple[str, ...], tuple[str, DictConfig]] = {}
    known: dict[str, tuple[str, ...]] = {}
    jobs = list(planned_jobs(shared, overrides, folders))
    for number, job in enumerate(tqdm(jobs, desc="checking configs", unit="run", leave=False, disable=None, delay=1)):
        whole = _compose(job)
        name = name_run(sweep_dir, whole, base, number)
        what = identity(resolved(whole))
        words = tuple(one for one in job if not one.lstrip("+~").startswith("hydra"))
        if is_ablation(shared):
            _check_is_new(words, what, known)
        if named.setdefault(name, what) != what:
            raise ConfigError(
                f"hydra.sweep.subdir: two runs would share {sweep_dir / name}; expected: a folder for each run, which is "
                "the default without hydra.sweep.subdir"
            )
        hydra, cfg = _checked(whole)
        if cfg.resume == "latest":
            raise ConfigError(
                "resume=latest: only for a single run; expected with --multirun: hydra.sweep.dir=... of the sweep to resume"
            )
        check_nodes(cfg, here=not str(hydra.launcher.get("_target_")).endswith("SlurmLauncher"))
        check_run_folder(sweep_dir / name, cfg)
        composed[words] = name, cfg
    remember_runs(composed)
    sys.argv.append(f"hydra.sweep.dir={quoted(sweep_dir)}")


def _check_is_new(job: tuple[str, ...], what: dict[str, Any], known: dict[str, tuple[str, ...]]) -> None:
    """Refuse a job of an ablation that is the same run as an earlier one: one of the factors has no effect."""
    other = known.setdefault(json.dumps(what, sort_keys=True), job)
    ours, theirs = ([one for one in job if one not in other], [one for one in other if one not in job])
    if ours:
        raise ConfigError(
            f"{' '.join(ours)}: the same run as {' '.join(theirs)}; expected: factors that change the result, whatever the "
            "levels of the others"
        )


def _compose(overrides: list[str]) -> DictConfig:
    for override in OverridesParser.create().parse_overrides(overrides):
        group, chosen = override.key_or_group, override.value()
        if not isinstance(chosen, list):
            continue
        if group == "experiment":
            raise ConfigError(f"{override.input_line}: each preset is a complete recipe; expected: one of them")
        if group in ONE_CHOICE:
            typed = " or ".join(f"{group}={one}" for one in chosen) or f"{group}=CHOICE"
            raise ConfigError(f"{override.input_line}: takes one choice; expected: {typed}")
    try:
        return compose("config", overrides, return_hydra_config=True)
    except (ValueError, TypeError, AttributeError, AssertionError) as error:  # malformed overrides that Hydra does not catch
        reason = (
            " ".join(str(error).split()) if isinstance(error, ValueError) else "not in the form group=choice or key=value"
        )
        raise ConfigError(f"{truncate(' '.join(overrides))}: {reason}") from error


def _without_sweeps(overrides: list[str]) -> list[str]:
    """The overrides that all jobs of a multirun share."""
    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)
    return [str(one.input_line) for one in parsed if not one.is_sweep_override()]


def planned_jobs(shared: DictConfig, overrides: list[str], folders: list[Path]) -> Iterator[list[str]]:
    """The overrides of each job of a multirun; for a search, whose points are not known yet, the overrides that all share.

    Args:
        shared: The config composed from the shared overrides.
        overrides: The command line.
        folders: Config folders.

    Raises:
        ConfigError: If an ablation can't be run as asked.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides(overrides)
    for one in parsed:
        if one.key_or_group in ABLATION_KEYS and one.is_sweep_override():
            raise ConfigError(f"{one.input_line}: each ablation is a multirun of its own; expected: one of them")
        if one.is_choice_sweep() and (twice := _repeated(one.sweep_string_iterator())):
            raise ConfigError(f"{one.input_line}: {twice} is listed twice; expected: each value once")
    if is_ablation(shared):
        if shared.hydra.runtime.choices.get("ablation", "none") == "none":
            raise ConfigError("hydra/sweeper=ablation: an ablation chooses it; expected: ablation=half_factorial")
        check_factors(shared, parsed, folders)
    if is_search(shared) or any(one.is_sweep_override() and not one.is_discrete_sweep() for one in parsed):
        yield _without_sweeps(overrides)
    elif is_ablation(shared):
        seeds = read_seeds(shared)
        for one in parsed:
            if one.is_sweep_override() and OmegaConf.select(shared, "ablation.until") is not None:
                raise ConfigError(
                    f"{one.input_line}: can't be swept in an ablation that ends when it is answered; expected: one "
                    f"value, or {EXAMPLE}"
                )
        read_until(shared, len(seeds), len(ablation_jobs(shared, overrides, seeds[:1], parser)))
        yield from ablation_jobs(shared, overrides, seeds, parser)
    else:
        params = [f"{key}={values}" for key, values in (shared.hydra.sweeper.params or {}).items()]
        for batch in BasicSweeper.split_arguments([*parser.parse_overrides(params), *parsed], max_batch_size=None):
            yield from batch


def _repeated(values: Iterable[object]) -> object | None:
    known: set[object] = set()
    return next((one for one in values if one in known or known.add(one)), None)  # type: ignore[func-returns-value]


def is_search(cfg: DictConfig) -> bool:
    """Whether the sweeper of a multirun chooses runs by the results of earlier ones."""
    return not is_ablation(cfg) and not str(cfg.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")


def _check_sweeper(overrides: list[str]) -> None:
    typed = [one for one in overrides if one.startswith("hydra/sweeper=")]
    if typed and any(one.startswith("ablation=") and one != "ablation=none" for one in overrides):
        raise ConfigError(f"{typed[0]}: an ablation has a sweeper of its own; expected: only one of them")


def _check_hypotheses(overrides: list[str], folders: list[Path]) -> None:
    """Refuse two hypotheses that override the same group: Hydra would silently use only one of them."""
    for override in OverridesParser.create().parse_overrides(overrides):
        value = override.value()
        if override.key_or_group != "hypotheses" or not isinstance(value, list):
            continue
        chosen: dict[str, str] = {}
        for name in map(str, value):
            for group in sorted(overridden_groups(folders, name)):
                if group in chosen:
                    raise ConfigError(
                        f"{override.input_line}: {chosen[group]} and {name} both override {group.lstrip('/')}; expected: "
                        "one of them (hypotheses that add to a group, e.g. /augment/mine, can be combined)"
                    )
                chosen[group] = name


def in_one_line(error: Exception, conf: Path, arguments: list[str]) -> str:
    """What is wrong and what is expected, in one line, without Hydra's multi-line hints."""
    if isinstance(error, KidasrError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    if isinstance(error, OverrideParseException):
        override = re.sub(r"^\+\+(?=data\.tests)", "", str(error.override))  # added by kidasr.cli.shorthand
        if typed := in_quotes(override, "--multirun" in arguments or "-m" in arguments):
            return f"{override}: not in the form group=choice or key=value; expected: quotes, {typed}"
        return f"{override}: not in the form group=choice or key=value"
    if match := re.match(r"Ambiguous value for argument '(.*?)' 1\. To use it", text):
        key, _, value = match[1].partition("=")
        one_value = shlex.quote(f'{key}="{value}"')
        return f"{match[1]}: several values; expected: --multirun as well, for a run of each, or one in quotes, {one_value}"
    if match := re.match(r"Error merging override \+\+(data\.tests=.*)", text):
        return f"{match[1]}: should be names with paths; expected: data.tests='{{kids: K.jsonl, adults: A.jsonl}}'"
    if match := re.match(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1], conf, arguments)
    path = re.search(r"Could not find '(model|data)/(.*?)' Available options", text)
    if path and ("/" in path[2] or "." in path[2]):
        return f"{path[1]}={path[2]}: no such choice; expected: {instead_of_a_choice(path[1], path[2])}"
    if match := re.search(r"Could not find '([^']+)/([^'/]+)' Available options in '[^']+': (.*?) Config search path", text):
        return f"{match[1]}={match[2]}: no such choice; expected: {', '.join(match[3].split())}"
    if match := re.search(r"Could not load '([^'/]+)/([^']+)'", text):  # one of a list
        choices = sorted(path.stem for path in (conf / match[1]).glob("*.yaml"))
        return f"{match[1]}=[{match[2]}]: no such choice; expected: {', '.join(choices)}"
    return text


def _unknown_key(key: str, conf: Path, arguments: list[str]) -> str:
    """The message for a key that Hydra does not know, with the keys of the chosen groups."""
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
        return f"{key}: not a group of {job}; expected: one listed by {program()} {job} --help"
    with_key = [path.stem for path in files if re.search(rf"^ *{re.escape(name)}:", path.read_text("utf-8"), re.MULTILINE)]
    if with_key and "did you mean" not in line:
        return f"{key}: no such key with this choice of {group}; expected: {group}={' or '.join(with_key)}"
    return line
