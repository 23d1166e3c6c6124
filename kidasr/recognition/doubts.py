"""Scores that are probably not what they seem, and their likely causes."""

from collections.abc import Iterator

from kidasr.recognition.score import Rates

#: More wrong words than words were said: above this, a model writes something else than a transcript.
TOO_HIGH = 1.0

#: A share of transcripts that loop, above which loops alone may make a score.
MANY_RUNAWAYS = 0.02


def doubts_before(zero_shot: Rates, rate: str) -> Iterator[str]:
    """Warnings about the score of a checkpoint as it came.

    Args:
        zero_shot: On the whole window, before training.
        rate: What the rate of errors is called.
    """
    if zero_shot["wer"] is None or zero_shot["wer"] <= TOO_HIGH:
        return
    yield (
        f"zero-shot {rate} is {_percent(zero_shot['wer'])}: {_loops(zero_shot)}. Likely causes: "
        "model.language is not what is spoken; model.task is not what the references are; the references "
        "are in another script, or of other recordings; the checkpoint was trained on short input (padding=longest), and "
        "zero-shot is scored on the full window"
    )


def doubts_after(zero_shot: Rates | None, final: Rates, rate: str, is_short: bool) -> Iterator[str]:
    """Warnings about the score of a fine-tuned model.

    Args:
        zero_shot: Before training; None if that was not scored.
        final: After.
        rate: What the rate of errors is called.
        is_short: Whether the run is trained and decoded on short input (``padding=longest``).
    """
    before, after = zero_shot and zero_shot["wer"], final["wer"]
    if after is None or (after <= TOO_HIGH and (before is None or after <= before)):
        return
    against = f", worse than before training ({_percent(before)})" if before is not None and after > before else ""
    causes = ["too high an optim.learning_rate", "too few steps"]
    if is_short:
        causes.insert(0, "a model that is not yet used to short input (train longer, or padding=max_length)")
    if final["runaways"] > MANY_RUNAWAYS * final["utterances"]:
        causes.append(
            "transcripts that loop (a lower trainer.generation_max_tokens_per_sec bounds them)" if is_short else "loops"
        )
    yield f"final {rate} is {_percent(after)}{against}: {_loops(final)}. Likely causes: {'; '.join(causes)}"


def _loops(rates: Rates) -> str:
    share = rates["runaways"] / max(1, rates["utterances"])
    return f"{rates['runaways']} of {rates['utterances']} transcripts repeat themselves without end ({_percent(share)})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
