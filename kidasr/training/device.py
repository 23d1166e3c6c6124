"""The device of a run: a CPU or an NVIDIA GPU, chosen by ``trainer.use_cpu``."""

import ctypes
import logging

import torch

from kidasr.config.checks import ConfigError

log = logging.getLogger(__name__)

#: Parameters of glibc's ``mallopt``, by their numbers in malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
#: Tensors below the first are taken from the heap, whose free end is returned above the second.
MMAP_THRESHOLD_BYTES, TRIM_THRESHOLD_BYTES = 2**25, 2**29


def check_device(use_cpu: bool) -> None:
    """Check that this machine has the device. (The config was checked on the machine that submitted the job.)

    Raises:
        ConfigError: If a GPU is required and there is none.
    """
    if not use_cpu and not torch.cuda.is_available():
        cuda = (
            f"PyTorch {torch.__version__} is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "PyTorch is a CPU build"
        )
        raise ConfigError(
            f"trainer.use_cpu=false: no CUDA device found ({cuda}); expected: a GPU and a matching driver, or trainer=cpu"
        )


def describe_device(use_cpu: bool, half: torch.dtype | None) -> None:
    """Log device and precision; warn if a GPU is there and not used.

    Args:
        use_cpu: Whether the run is on the CPU.
        half: The half-precision type, or None.
    """
    precision = "float32" if half is None else f"{str(half).removeprefix('torch.')} where it is safe, weights in float32"
    if not use_cpu:
        log.info("device: %s, %s", torch.cuda.get_device_name(), precision)
        return
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    here = "trainer=cpu" if gpu else "no GPU here"
    log.info("device: CPU (%s), %d threads, %s", here, torch.get_num_threads(), precision)
    if gpu:
        log.warning("this machine has a GPU, %s, and the run does not use it; expected: trainer=gpu, if it should", gpu)


def _keep_freed_memory() -> None:
    """Keep freed memory for the next step: otherwise glibc returns large tensors to the system, which clears their pages
    anew each time, and that is a tenth of a step in half precision. Does nothing with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)


def prepare_cpu(num_threads: int | None) -> None:
    """Make training on a CPU fast and bit-reproducible, for the whole process.

    Args:
        num_threads: Compute threads; None for PyTorch's default, one per core.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # denormals are an order of magnitude slower on a CPU
    _keep_freed_memory()
    # Otherwise the gradient of the decoder's positions depends on thread timing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
