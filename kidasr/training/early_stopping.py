"""H2: stop when WER no longer falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, NonNegativeInt

if TYPE_CHECKING:
    from transformers import EarlyStoppingCallback


def early_stopping_callback(patience: NonNegativeInt, threshold: NonNegativeFloat) -> EarlyStoppingCallback | None:
    """transformers' early stopping, on the same metric as the best checkpoint; None if ``patience`` is 0.

    Args:
        patience: Evaluations in a row without a lower WER; 0 for no early stopping.
        threshold: Improvements of WER up to this are ignored, as a fraction.
    """
    from transformers import EarlyStoppingCallback

    return EarlyStoppingCallback(patience, threshold) if patience else None
