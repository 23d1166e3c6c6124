"""Whether a schedule suits the length of the run, in optimizer steps."""

from collections.abc import Iterator


def run_length_contradictions(steps: int, warmup_steps: int, patience: int, eval_steps: int) -> Iterator[str]:
    """What can't work in a run of this many optimizer steps."""
    if warmup_steps > steps:
        yield f"schedule.warmup_steps={warmup_steps}: longer than the run; should be at most its {steps} steps"
    if patience and eval_steps > steps:
        yield (
            f"early_stopping.patience={patience}: the run's {steps} steps end before the first evaluation; "
            f"expected: checkpoint.eval_steps (now {eval_steps}) of at most {steps}, or early_stopping=none"
        )


def run_length_warnings(
    steps: int, patience: int, eval_steps: int, save_steps: int, freeze_encoder_steps: int
) -> Iterator[str]:
    """What is probably unintended in a run of this many optimizer steps."""
    if freeze_encoder_steps >= steps:
        yield (
            f"freeze.freeze_encoder_steps={freeze_encoder_steps}: the run ends after {steps} steps, so the encoder never "
            "trains (freeze=encoder_all says so on purpose)"
        )
    if eval_steps > steps:
        yield (
            f"checkpoint.eval_steps={eval_steps}: the run has {steps} steps and so one evaluation, at the end: the last "
            "model is kept, best or not"
        )
    elif save_steps > steps:
        yield (
            f"checkpoint.save_steps={save_steps}: the run has {steps} steps and so one checkpoint, at the end: the last "
            "model is kept, best or not, and an interrupted run starts over"
        )
    elif patience and steps // eval_steps <= patience:
        yield (
            f"early_stopping.patience={patience}: the run has only {steps // eval_steps} evaluations, so it can't stop early"
        )
