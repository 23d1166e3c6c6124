"""Warnings about suspicious scores, with their likely causes."""

from collections.abc import Iterator

from kidasr.recognition.score import Rates

#: Above this there are more errors than words: the output is not a transcript.
TOO_HIGH = 1.0

#: Above this share of looping transcripts, loops alone may explain a score.
MANY_RUNAWAYS = 0.02


def doubts_before(zero_shot: Rates, rate: str) -> Iterator[str]:
    """Warnings about the score of a checkpoint before training.

    Args:
        zero_shot: Rates before training, on the full window.
        rate: Name of the error rate.
    """
    if zero_shot["wer"] is None or zero_shot["wer"] <= TOO_HIGH:
        return
    yield (
        f"zero-shot {rate} is {_percent(zero_shot['wer'])}: {_loops(zero_shot)}. Likely causes: "
        "model.language is not the spoken language; model.task does not match the references; the references "
        "are in another script, or belong to other recordings; the checkpoint was trained on short input (padding=longest), "
        "but zero-shot is scored on the full window"
    )


def doubts_after(zero_shot: Rates | None, final: Rates, rate: str, is_short: bool) -> Iterator[str]:
    """Warnings about the score of a fine-tuned model.

    Args:
        zero_shot: Rates before training; None if they were not computed.
        final: Rates after training.
        rate: Name of the error rate.
        is_short: Whether the run trains and decodes on short input (``padding=longest``).
    """
    before, after = zero_shot and zero_shot["wer"], final["wer"]
    if after is None or (after <= TOO_HIGH and (before is None or after <= before)):
        return
    against = f", worse than before training ({_percent(before)})" if before is not None and after > before else ""
    causes = ["optim.learning_rate is too high", "too few steps"]
    if is_short:
        causes.insert(0, "the model has not adapted to short input yet (train longer, or use padding=max_length)")
    if final["runaways"] > MANY_RUNAWAYS * final["utterances"]:
        causes.append(
            "looping transcripts (lower trainer.generation_max_tokens_per_sec to cut them off)" if is_short else "loops"
        )
    yield f"final {rate} is {_percent(after)}{against}: {_loops(final)}. Likely causes: {'; '.join(causes)}"


def _loops(rates: Rates) -> str:
    share = rates["runaways"] / max(1, rates["utterances"])
    return f"{rates['runaways']} of {rates['utterances']} transcripts loop endlessly ({_percent(share)})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
