"""Settings of the process that trains: speed and determinism on a CPU, and the libraries' talk."""

import atexit
import logging
import warnings

import torch
import transformers


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


def leave_processes_at_exit() -> None:
    """Part from the other processes in order: else gloo's threads may abort the process as it ends."""
    atexit.register(_leave_processes)


def _leave_processes() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def quiet_libraries() -> None:
    """The libraries' warnings go where ours go, also into ``run.log``; those that no user can act on go nowhere."""
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers.generation").setLevel(logging.ERROR)  # Whisper's own generate() sets these off
    logging.getLogger("transformers.models.whisper").setLevel(logging.ERROR)
    logging.getLogger("transformers.trainer").addFilter(lambda record: "['proj_out.weight']" not in record.getMessage())
    logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime" not in record.getMessage())
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}"
