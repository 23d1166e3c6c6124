"""What becomes of freed memory: glibc is told when to keep it and when to return it. Other C libraries do as they like."""

import ctypes
from typing import Any

#: Parameters of glibc's ``mallopt``, by their numbers in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Tensors below the first are taken from the heap, whose free end is returned above the second.
MMAP_THRESHOLD_BYTES, TRIM_THRESHOLD_BYTES = 2**25, 2**29


def keep_freed_memory() -> None:
    """Keep freed memory for the next step: otherwise glibc returns large tensors to the system, which clears their pages
    anew each time, and that is a tenth of a step in half precision.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)


def return_freed_memory() -> None:
    """Return all freed memory to the system, between parts of a run that need it in pieces of different sizes. Takes a
    twentieth of a second for a gigabyte.
    """
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc(function: str) -> Any:
    return getattr(ctypes.CDLL(None), function, None)
