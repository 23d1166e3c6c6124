"""The device of a run: a CPU or an NVIDIA GPU, chosen by ``trainer.use_cpu``."""

import logging
import os

import torch
from transformers import TrainingArguments
from transformers.utils import is_bitsandbytes_available

from kidasr.config.checks import ConfigError
from kidasr.freed_memory import keep_freed_memory
from kidasr.runs.environment import has_bfloat16_instructions

log = logging.getLogger(__name__)

#: Variables of oneDNN and of PyTorch's layer over it: how many compiled kernels each keeps, 1,024 if not told otherwise.
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
#: More than a step has. Nearly every batch of short input has a new shape, for which kept kernels are of no use.
KEPT_KERNELS = 64


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


def check_optimizer(name: str) -> None:
    """Check that the optimizer's library is installed here.

    Args:
        name: ``optim.optim``.

    Raises:
        ConfigError: If it is not.
    """
    if name == "adamw_8bit" and not is_bitsandbytes_available():
        raise ConfigError("optim=adamw_8bit: needs the package bitsandbytes; expected: pip install 'kidasr[adamw_8bit]'")


def check_gpu_per_process() -> None:
    """Check that each process on this machine has a GPU of its own.

    accelerate gives process N of a machine the GPU number N. SLURM's ``--gpus-per-task`` shows each task only its own GPUs,
    numbered from 0, so there every process is told to take its first.

    Raises:
        ConfigError: If there are more processes than GPUs, so that some would share one.
    """
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if processes <= gpus:
        return
    # Newer SLURMs set the second.
    if "SLURM_GPUS_PER_TASK" in os.environ or "gpu" in os.environ.get("SLURM_TRES_PER_TASK", ""):
        os.environ["LOCAL_RANK"] = "0"
        return
    raise ConfigError(
        f"trainer.num_processes: {processes} processes on this machine see {gpus} GPU(s); expected: one GPU per "
        f"process, with hydra/launcher=slurm hydra.launcher.gpus_per_node={processes}"
    )


def prepare_gpu() -> None:
    """Turn off cuDNN's attention, which PyTorch prefers on H100 and newer.

    It makes a plan for each new shape, about a second forward and backward (reported for modelscope/FunASR, issue 3704), and
    batches of short input have a new shape in nearly every step of the first epochs. With a mask, its gradients may be NaN
    (pytorch issue 196678). PyTorch then takes the memory-efficient kernel for a batch with a mask, and flash for others.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


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
    if half is not None and not has_bfloat16_instructions():
        log.warning("this CPU has no bfloat16 instructions, so float32 would be faster; expected: trainer.bf16=false")
    if gpu:
        log.warning("this machine has a GPU, %s, and the run does not use it; expected: trainer=gpu, if it should", gpu)


def prepare_cpu(num_threads: int | None) -> None:
    """Make training on a CPU fast and bit-reproducible, for the whole process.

    Args:
        num_threads: Compute threads; None for PyTorch's default, one per core.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # denormals are an order of magnitude slower on a CPU
    keep_freed_memory()
    for name in KERNEL_CACHES:  # read at the first product in half precision: 15 MB more a step, up to 1 GB
        os.environ.setdefault(name, str(KEPT_KERNELS))
    # Otherwise the gradient of the decoder's positions depends on thread timing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def half_precision(arguments: TrainingArguments) -> torch.dtype | None:
    """The half-precision type of a run; None for full precision."""
    return torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else None


def precision_name(arguments: TrainingArguments) -> str:
    """``float32``, ``bfloat16`` or ``float16``: the type in which most of the arithmetic is done."""
    return str(half_precision(arguments) or torch.float32).removeprefix("torch.")
