"""Warnings about suspicious scores, with their causes and what to type."""

from collections.abc import Iterator
from typing import Literal, TypedDict

from kidasr.recognition.score import Rates

#: Above this there are more errors than words: the output is not a transcript.
TOO_HIGH = 1.0

#: Above this share of looping transcripts, loops alone may explain a score.
MANY_RUNAWAYS = 0.02


class OtherInput(TypedDict):
    """The same model on another length of input, on a sample of a set: shows whether the length is the cause."""

    input: Literal["window", "short"]
    utterances: int
    #: The error rate there, as a fraction.
    wer: float
    #: That of the same utterances as the model was scored.
    own_wer: float


def doubts_before(zero_shot: Rates, rate: str) -> Iterator[str]:
    """Warnings about the score of a checkpoint before training.

    Args:
        zero_shot: Rates before training, on the full window.
        rate: Name of the error rate.
    """
    if zero_shot["wer"] is None or zero_shot["wer"] <= TOO_HIGH:
        return
    yield (
        f"zero-shot {rate} is {_percent(zero_shot['wer'])}: {_loops(zero_shot)}. Likely causes: {_OTHER_WORDS}; the "
        "checkpoint was trained on short input (padding=longest), but zero-shot is scored on the full window"
    )


def doubts_of(final: Rates, rate: str, other: OtherInput | None = None) -> Iterator[str]:
    """Warnings about the score of a checkpoint that is evaluated as it is.

    Args:
        final: Its rates.
        rate: Name of the error rate.
        other: The same checkpoint on the other length of input; None if it was not tried.
    """
    if final["wer"] is None or final["wer"] <= TOO_HIGH:
        return
    said = f"{rate} is {_percent(final['wer'])}: {_loops(final)}. "
    if other is not None and other["wer"] <= other["own_wer"] / 2:
        wants = "its full window" if other["input"] == "window" else "short input"
        yield f"{said}The cause: this model wants {wants}. {_found(other, rate)}. Type input_length={other['input']}"
        return
    tried = f"; it is not the length of the input: {_found(other, rate, 'the model has')}" if other else ""
    yield f"{said}Likely causes: {_OTHER_WORDS}{tried}"


def is_worse(zero_shot: Rates | None, final: Rates) -> bool:
    """Whether a run ends worse than it began, or, where nothing was scored before, with more errors than words."""
    before, after = zero_shot and zero_shot["wer"], final["wer"]
    return after is not None and (after > TOO_HIGH or (before is not None and after > before))


def doubts_after(
    zero_shot: Rates | None,
    final: Rates,
    rate: str,
    is_short: bool,
    window: OtherInput | None = None,
    longer: str = "",
) -> Iterator[str]:
    """Warnings about the score of a fine-tuned model.

    Args:
        zero_shot: Rates before training; None if they were not computed.
        final: Rates after training.
        rate: Name of the error rate.
        is_short: Whether the run trains and decodes on short input (``padding=longest``).
        window: The fine-tuned model on the full window; None if it was not tried.
        longer: What to type to train longer.
    """
    if not is_worse(zero_shot, final):
        return
    before, after = zero_shot and zero_shot["wer"], final["wer"]
    assert after is not None, "it is worse"
    against = f", worse than before training ({_percent(before)})" if before is not None and after > before else ""
    said = f"final {rate} is {_percent(after)}{against}: {_loops(final)}. "
    if window is not None and _explains(window, before):
        yield (
            f"{said}The cause: the model is not used to short input yet. {_found(window, rate)}. Train longer"
            f"{f': type {longer}' if longer else ''}; or train on the full window: type padding=max_length. Until then, use "
            "this model with input_length=window (job=evaluate, job=transcribe)"
        )
        return
    causes = ["optim.learning_rate is too high", "too few steps"]
    if is_short and window is None:
        causes.insert(0, "the model has not adapted to short input yet (train longer, or use padding=max_length)")
    if final["runaways"] > MANY_RUNAWAYS * final["utterances"]:
        causes.append(
            "looping transcripts (lower trainer.generation_max_tokens_per_sec to cut them off)" if is_short else "loops"
        )
    tried = f". It is not short input: {_found(window, rate, 'the same weights have')}" if window else ""
    yield f"{said}Likely causes: {'; '.join(causes)}{tried}"


def _explains(window: OtherInput, before: float | None) -> bool:
    """Whether most of the harm is gone on the full window."""
    own = window["own_wer"]
    middle = (own + before) / 2 if before is not None and before < own else own / 2
    return window["wer"] <= middle


def _found(other: OtherInput, rate: str, who: str = "The same weights have") -> str:
    there, here = ("the full window", "short input") if other["input"] == "window" else ("short input", "the full window")
    return (
        f"{who} {_percent(other['wer'])} {rate} on {there} and {_percent(other['own_wer'])} on {here} "
        f"({other['utterances']} utterances)"
    )


_OTHER_WORDS = (
    "model.language is not the spoken language; model.task does not match the references; the references "
    "are in another script, or belong to other recordings"
)


def _loops(rates: Rates) -> str:
    share = rates["runaways"] / max(1, rates["utterances"])
    return f"{rates['runaways']} of {rates['utterances']} transcripts loop endlessly ({_percent(share)})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
