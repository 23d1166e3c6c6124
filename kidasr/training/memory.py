"""Out-of-memory errors: one line that names the keys to lower."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils.memory import should_reduce_batch_size
from transformers import TrainingArguments

from kidasr.errors import KidasrError

_WORKER = re.compile(r"DataLoader worker .* is killed by signal: (Killed|Bus error)")


@contextmanager
def explain_out_of_memory(doing: str, arguments: TrainingArguments) -> Iterator[None]:
    """Turn a failed allocation on GPU or CPU into one line that names the keys to lower.

    Args:
        doing: ``"training"`` or ``"transcribing"``.
        arguments: The current values of those keys.

    Raises:
        KidasrError: If memory runs out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split())
        if _WORKER.search(text):
            raise KidasrError(
                f"out of memory while {doing}: a data-loader worker was killed; lower trainer.dataloader_num_workers "
                f"(now {arguments.dataloader_num_workers}) or data.cache_sec"
            ) from error
        if not (isinstance(error, MemoryError) or (isinstance(error, Exception) and should_reduce_batch_size(error))):
            raise
        asked = re.search(r"[Tt]ried to allocate [\d.]+ \w+", text)
        what = f"out of memory while {doing}{f' ({asked[0].lower()})' if asked else ''}"
        if doing == "training":
            raise KidasrError(
                f"{what}: lower trainer.train_batch_size (now {arguments.train_batch_size}; "
                "trainer.gradient_accumulation_steps makes up for it) or trainer.max_batch_sec, or use padding=longest or "
                "trainer.activation_checkpointing=true"
            ) from error
        raise KidasrError(
            f"{what}: lower trainer.per_device_eval_batch_size (now {arguments.per_device_eval_batch_size}) or "
            "trainer.generation_num_beams, or use padding=longest"
        ) from error
