"""The processes that train one run together: which of them this is, and how many there are."""

import os

from kidasr.errors import KidasrError


def is_first_process() -> bool:
    """Of several processes, one writes."""
    return os.environ.get("RANK", "0") == "0"


def are_started() -> bool:
    """Whether this is one of several processes already, of torchrun, SLURM or :mod:`kidasr.cli.processes`."""
    return "RANK" in os.environ


def is_restarted() -> bool:
    """Whether SLURM or torchrun has started this job before, so that it goes on with what it left."""
    return any(os.environ.get(name, "0") != "0" for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))


def number_of_processes(asked: int | None) -> int:
    """How many there are.

    Raises:
        KidasrError: If others were asked for (``trainer.num_processes``).
    """
    there = int(os.environ.get("WORLD_SIZE", "1"))
    if asked is not None and asked != there:
        raise KidasrError(
            f"trainer.num_processes={asked}: {there} process(es) are running; expected: that many, or null for as many as "
            "there are"
        )
    return there
