"""The processes that train one run together: this one's rank, and their number."""

import os

from kidasr.errors import KidasrError


def is_first_process() -> bool:
    """Whether this process has rank 0, which does all the writing."""
    return os.environ.get("RANK", "0") == "0"


def are_started() -> bool:
    """Whether torchrun, SLURM or :mod:`kidasr.cli.processes` has already started this process."""
    return "RANK" in os.environ


def is_restarted() -> bool:
    """Whether SLURM or torchrun has restarted this job, so that it has to resume."""
    return any(os.environ.get(name, "0") != "0" for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))


def number_of_processes(asked: int | None) -> int:
    """The number of processes.

    Args:
        asked: ``trainer.num_processes``; None accepts any number.

    Raises:
        KidasrError: If it is not the number asked for.
    """
    there = int(os.environ.get("WORLD_SIZE", "1"))
    if asked is not None and asked != there:
        raise KidasrError(
            f"trainer.num_processes={asked}: {there} process(es) are running; expected: {there}, or null to use them all"
        )
    return there
