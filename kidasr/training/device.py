"""The device that a run computes on: a CPU or an NVIDIA GPU, as ``trainer.use_cpu`` says."""

import torch

from kidasr.config.checks import ConfigError


def check_device(use_cpu: bool) -> None:
    """Check that this machine has the device that was asked for. A job's config was checked where it was submitted.

    Raises:
        ConfigError: If a GPU was asked for and there is none.
    """
    if not use_cpu and not torch.cuda.is_available():
        cuda = (
            f"PyTorch {torch.__version__} is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else "PyTorch is a CPU build"
        )
        raise ConfigError(
            f"trainer.use_cpu=false: no CUDA device is found ({cuda}); expected: a GPU with a driver for it, or trainer=cpu"
        )


def prepare_cpu(num_threads: int | None) -> None:
    """Settings of this process for training on a CPU: fast, and the same to the last bit each time.

    Args:
        num_threads: Threads that compute; None for PyTorch's own choice, a thread a core.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # a CPU computes with denormals an order of magnitude slower
    # Else the gradient of the decoder's positions depends on the threads' timing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
