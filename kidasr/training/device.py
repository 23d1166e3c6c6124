"""The device of a run: a CPU or an NVIDIA GPU, chosen by ``trainer.use_cpu``."""

import torch

from kidasr.config.checks import ConfigError


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


def prepare_cpu(num_threads: int | None) -> None:
    """Make training on a CPU fast and bit-reproducible, for the whole process.

    Args:
        num_threads: Compute threads; None for PyTorch's default, one per core.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # denormals are an order of magnitude slower on a CPU
    # Otherwise the gradient of the decoder's positions depends on thread timing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
