"""H2: stop when WER no longer falls."""

from transformers import EarlyStoppingCallback


def early_stopping_callback(patience: int, threshold: float) -> EarlyStoppingCallback | None:
    """transformers' early stopping on the metric that also chooses the best checkpoint.

    Args:
        patience: Evaluations in a row without a lower WER; 0 for no early stopping.
        threshold: By how much a WER must be lower, as a fraction.
    """
    return EarlyStoppingCallback(patience, threshold) if patience else None
