"""H2: stop when WER no longer falls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, NonNegativeInt

if TYPE_CHECKING:
    from transformers import EarlyStoppingCallback


def early_stopping_callback(patience: NonNegativeInt, threshold: NonNegativeFloat) -> EarlyStoppingCallback | None:
    """transformers' early stopping on the metric that also chooses the best checkpoint; None without patience.

    Args:
        patience: Evaluations in a row without a lower WER; 0 for no early stopping.
        threshold: By how much a WER must be lower, as a fraction.
    """
    from transformers import EarlyStoppingCallback

    return EarlyStoppingCallback(patience, threshold) if patience else None
