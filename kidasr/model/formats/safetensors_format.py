"""A plain Whisper checkpoint, as transformers writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat

from kidasr.model.formats.format import Format

if TYPE_CHECKING:
    from kidasr.model.whisper import Whisper


class Safetensors(Format):
    """Weights in the precision of one's choice, with config, generation settings, tokenizer and feature extractor.

    Args:
        dtype: Type of the weights.
        max_shard_gb: Largest file of weights; more are written as several files with an index. None for one file.
    """

    keeps_age_adapters = True

    def __init__(self, dtype: Literal["float32", "float16", "bfloat16"], max_shard_gb: PositiveFloat | None):
        self.dtype, self.max_shard_gb = dtype, max_shard_gb

    def write(self, whisper: Whisper, folder: Path) -> None:
        """See :meth:`Format.write`."""
        import torch

        whisper.model.to(getattr(torch, self.dtype))
        size = None if self.max_shard_gb is None else round(1e9 * self.max_shard_gb)
        whisper.save(folder, whisper.model.generation_config.num_beams or 1, size)

    def describe(self) -> str:
        """See :meth:`Format.describe`."""
        return f"safetensors, {self.dtype} (transformers)"
