"""A run's folder and its config: what is in it is never overwritten by another run."""

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kidasr.errors import KidasrError, shown

#: The resolved config, which a continued run must have too.
CONFIG = "config.json"
#: Written last: where it is, the run is finished.
METRICS = "metrics.json"


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Every value of a config filled in, without the job node, which only repeats the others."""
    keys = [str(key) for key in cfg if key != "job"]
    return {
        key: OmegaConf.to_container(cfg[key], resolve=True) if OmegaConf.is_config(cfg[key]) else cfg[key] for key in keys
    }


def check_place(folder: Path, key: str = "hydra.run.dir") -> None:
    """Make sure that a folder can be written, or made.

    Args:
        folder: It need not exist.
        key: Where it was given, for messages.

    Raises:
        KidasrError: If it is a file, or within one, or may not be written.
    """
    name = f"{key}={shown(folder)}"
    try:
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
        if not there.is_dir():
            raise KidasrError(f"{name}: {shown(there)} is not a folder; accepted: a folder, there or new")
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise KidasrError(f"{name}: {shown(there)} may not be written; accepted: a folder that may")
        longest = os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KidasrError(f"{name}: {reason}; accepted: a folder, there or new") from error
    if any(len(os.fsencode(part)) > longest for part in folder.parts):
        raise KidasrError(f"{name}: a name too long for a folder; accepted: up to {longest} bytes")


def check_run_folder(run_dir: Path, cfg: DictConfig) -> None:
    """Make sure that a run may go into this folder: it is new, or holds an unfinished run of the very same config.

    Raises:
        KidasrError: If the folder can't be written, or holds a finished run or one of another config.
    """
    check_place(run_dir)
    if (run_dir / METRICS).exists():
        raise KidasrError(f"{run_dir} holds a finished run; accepted: another hydra.run.dir=...")
    record = run_dir / CONFIG
    if record.exists() and json.loads(record.read_text(encoding="utf-8")) != json.loads(json.dumps(resolved(cfg))):
        raise KidasrError(
            f"{run_dir} holds an unfinished run of another config; accepted: another hydra.run.dir=..., or the very same "
            "config to continue it"
        )


def prepare_run_folder(run_dir: Path, cfg: DictConfig) -> None:
    """Check the folder and record the config in it.

    Raises:
        KidasrError: As :func:`check_run_folder`.
    """
    check_run_folder(run_dir, cfg)
    if os.environ.get("RANK", "0") == "0":  # of several processes, one writes
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / CONFIG).write_text(json.dumps(resolved(cfg), indent=2) + "\n", encoding="utf-8")
