"""Checks a schedule against the length of the run, in optimizer steps."""

from collections.abc import Iterator


def run_length_contradictions(steps: int, warmup_steps: int, patience: int, eval_steps: int) -> Iterator[str]:
    """Settings that can't work in a run of this many optimizer steps."""
    if warmup_steps > steps:
        yield f"schedule.warmup_steps={warmup_steps}: longer than the run; expected: at most its {steps} steps"
    if patience and eval_steps > steps:
        yield (
            f"early_stopping.patience={patience}: the run's {steps} steps end before the first evaluation; "
            f"expected: checkpoint.eval_steps (now {eval_steps}) of at most {steps}, or early_stopping=none"
        )


def run_length_warnings(
    steps: int, patience: int, eval_steps: int, save_steps: int, freeze_encoder_steps: int
) -> Iterator[str]:
    """Settings that are probably unintended in a run of this many optimizer steps."""
    if freeze_encoder_steps >= steps:
        yield (
            f"freeze.freeze_encoder_steps={freeze_encoder_steps}: the run ends after {steps} steps, so the encoder is never "
            "trained (if that is intended, use freeze=encoder_all)"
        )
    if eval_steps > steps:
        yield (
            f"checkpoint.eval_steps={eval_steps}: the run has only {steps} steps, so it is evaluated once, at the end: the "
            "last model is kept, best or not"
        )
    elif save_steps > steps:
        yield (
            f"checkpoint.save_steps={save_steps}: the run has only {steps} steps, so it is saved once, at the end: the last "
            "model is kept, best or not, and a killed run starts over"
        )
    elif patience and steps // eval_steps <= patience:
        yield (
            f"early_stopping.patience={patience}: the run has only {steps // eval_steps} evaluations, so it can't stop early"
        )
