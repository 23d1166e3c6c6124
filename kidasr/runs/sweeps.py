"""A sweep's folder and its runs, each in a folder named after its config."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from kidasr.durable import write_text
from kidasr.errors import KidasrError
from kidasr.runs.identity import digest_of, key_of, run_name, words_of

#: The runs of the sweep, in the order of the command line.
SWEEP = "sweep.json"
#: Held while ``sweep.json`` is written, and during the comparison.
LOCK = ".sweep.lock"


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep."""

    #: Its folder in the sweep's folder.
    name: str
    #: Its own overrides, apart from those that all runs share.
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class FailedRun:
    """A failed run of a multirun."""

    name: str
    error: str
    #: True for a user's mistake, False for a failure of kidasr or the machine.
    mistake: bool


_failed: list[FailedRun] = []
_composed: dict[tuple[str, ...], tuple[str, DictConfig]] = {}


def note_failed(run: FailedRun) -> None:
    """Remember a failed run of this process's multirun, for the exit code."""
    _failed.append(run)


def failed_runs() -> list[FailedRun]:
    """The failed runs noted since the last call."""
    noted = _failed.copy()
    _failed.clear()
    return noted


def remember_runs(runs: Mapping[tuple[str, ...], tuple[str, DictConfig]]) -> None:
    """Cache the names and configs of this process's multirun, by their overrides: composing one takes 0.1 seconds."""
    _composed.clear()
    _composed.update(runs)


def remembered_run(typed: Sequence[str]) -> tuple[str, DictConfig] | None:
    """The cached name and config of a run, without the ``hydra`` node; None if it is not cached."""
    return _composed.get(tuple(typed))


def name_run(sweep_dir: Path, cfg: DictConfig, base: DictConfig, number: int) -> str:
    """The name of a run's folder in the sweep's folder: derived from its config, or given by ``hydra.sweep.subdir``.

    If the same run is already there under other words, its folder is reused. Launchers other than kidasr's number their
    runs.

    Args:
        sweep_dir: The sweep's folder.
        cfg: The run's config, with its ``hydra`` node. The job's number is set in it.
        base: The config without overrides, with its ``hydra`` node.
        number: The job's number in the sweep.
    """
    with open_dict(cfg):
        cfg.hydra.job.num = cfg.hydra.job.id = number
    ours = str(cfg.hydra.launcher.get("_target_")).startswith("hydra_plugins.kidasr")
    typed: Any = OmegaConf.to_container(cfg.hydra.overrides.hydra, resolve=False)
    if not ours or any(one.lstrip("+").startswith("hydra.sweep.subdir=") for one in typed):
        composing = HydraConfig.instance().cfg
        HydraConfig.instance().cfg = OmegaConf.create({"hydra": cfg.hydra})  # type: ignore[assignment]
        try:
            return str(cfg.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = composing
    name = run_name(cfg, base)
    there = [path.name for path in sweep_dir.glob(f"*-{digest_of(name)}") if path.is_dir()]
    return name if name in there or not there else sorted(there)[0]


def add_runs(sweep_dir: Path, runs: Sequence[PlannedRun]) -> None:
    """Add runs to the sweep's record; runs that are already in it keep their place."""
    sweep_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(sweep_dir / LOCK):
        known = read_sweep(sweep_dir)
        names = {run.name for run in known}
        both = [*known, *(run for run in dict.fromkeys(runs) if run.name not in names)]
        rows = [{"folder": run.name, "overrides": run.overrides} for run in both]
        write_text(sweep_dir / SWEEP, json.dumps({"runs": rows}, indent=1) + "\n")


def read_sweep(sweep_dir: Path) -> list[PlannedRun]:
    """The runs of a sweep, in order; empty if there is no record.

    Raises:
        KidasrError: If the record can't be read.
    """
    path = sweep_dir / SWEEP
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["runs"]
        return [PlannedRun(row["folder"], tuple(row["overrides"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KidasrError(f"{path} can't be read: {type(error).__name__} {error}") from error


def labels_of(runs: Sequence[PlannedRun]) -> dict[str, str]:
    """What differs between the runs of a sweep, by their names: ``seed=1 freq_mask_param=27``.

    A run that differs in nothing, as the only one does, keeps the words of its name; so does one that the user named.
    """
    of_all = set.intersection(*(set(run.overrides) for run in runs)) if runs else set()
    own = {run.name: [one for one in run.overrides if one not in of_all] for run in runs}
    keys = {key_of(one) for typed in own.values() for one in typed}
    last_parts = Counter(key.rpartition(".")[2] for key in keys)
    short = {key: last if last_parts[last] == 1 else key for key in keys if (last := key.rpartition(".")[2])}
    values = {key: [_value(one) for typed in own.values() for one in typed if key_of(one) == key] for key in keys}
    shared = {key: _shared_folders(those) for key, those in values.items()}
    labels = {
        name: " ".join(f"{short[key_of(one)]}={_value(one)[len(shared[key_of(one)]) :]}" for one in typed)
        for name, typed in own.items()
    }
    alike = Counter(labels.values())
    return {
        name: label if label and alike[label] == 1 and words_of(name) != name else words_of(name)
        for name, label in labels.items()
    }


def _value(override: str) -> str:
    return override.partition("=")[2].strip("'\"")


def _shared_folders(values: Sequence[str]) -> str:
    """The folders at the beginning of all paths, with a slash at the end; empty if there are none."""
    folders = [one.split("/")[:-1] for one in values]
    alike = list(takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False)))
    return "/".join(level[0] for level in alike) + "/" if alike else ""


def newest_sweep(base: Path) -> Path | None:
    """The newest sweep in a folder; None if there is none."""
    records = sorted(base.glob(f"*/{SWEEP}"), key=lambda path: path.stat().st_mtime)
    return records[-1].parent if records else None
