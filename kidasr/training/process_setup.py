"""Settings of a training process: leaving the process group, and the libraries' log output."""

import atexit
import logging
import warnings

import torch
import transformers


def leave_processes_at_exit() -> None:
    """Leave the process group at exit: otherwise gloo's threads may abort the process as it ends."""
    atexit.register(_leave_processes)


def _leave_processes() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def quiet_libraries() -> None:
    """Send the libraries' warnings to our log and ``run.log``, and drop those that a user can't act on."""
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers.generation").setLevel(logging.ERROR)  # Whisper's own generate() triggers these
    logging.getLogger("transformers.models.whisper").setLevel(logging.ERROR)
    logging.getLogger("transformers.trainer").addFilter(lambda record: "['proj_out.weight']" not in record.getMessage())
    logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime" not in record.getMessage())
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}"
