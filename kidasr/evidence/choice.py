"""The luck in a checkpoint's choice: the lowest of several measured WERs is lower than it would be on other utterances."""

from dataclasses import dataclass

import numpy as np

from kidasr.evidence.runs import Run
from kidasr.evidence.speakers import speaker_sums
from kidasr.seeding import generator_for

REPLICATES = 2000


@dataclass(frozen=True)
class Choice:
    """How a run's checkpoint was chosen, estimated with Efron's bootstrap over speakers (1983, "Estimating the error rate of
    a prediction rule: improvement on cross-validation")."""

    #: Evaluations among which one was chosen, and the utterances of each.
    evaluations: int
    utterances: int
    #: The WER at the kept step on those utterances, as a fraction.
    wer: float
    #: By how much that WER is expected to be too low: on other utterances it would be that much higher.
    optimism: float
    #: Standard deviation of the WER of the kept checkpoint, if other children had chosen it.
    spread: float


def choice_of(run: Run) -> Choice | None:
    """How the checkpoint of a run was chosen; None if the run recorded no evaluations, or only one checkpoint."""
    if run.evaluations is None or run.metrics.get("best_step") is None:
        return None
    steps = sorted(step for step in run.evaluations.errors if step in run.saved_steps)
    place = {name: number for number, name in enumerate(run.validation_ids)}
    known = [name in place for name in run.evaluations.utterance_ids]
    if len(steps) < 2 or not all(known):
        return None
    chosen = [place[name] for name in run.evaluations.utterance_ids]
    errors = np.array([run.evaluations.errors[step] for step in steps])
    sums = speaker_sums(run.validation_speakers[chosen], run.validation_words[chosen], *errors)
    words, by_step = sums[0], sums[1:]
    total = by_step.sum(axis=1) / words.sum()
    rng = generator_for("choice of a checkpoint", len(words))
    times = rng.multinomial(len(words), np.full(len(words), 1 / len(words)), size=REPLICATES)
    drawn_words = times @ words
    times, drawn_words = times[drawn_words > 0], drawn_words[drawn_words > 0]
    drawn = (times @ by_step.T) / drawn_words[:, None]
    picked = drawn.argmin(axis=1)
    rows = np.arange(len(drawn))
    # The mean over all steps takes out how hard the drawn children are.
    optimism = (total[picked] - drawn[rows, picked]) - (total[None, :] - drawn).mean(axis=1)
    kept = run.metrics["best_step"]
    wer = total[steps.index(kept)] if kept in steps else total.min()
    return Choice(len(steps), len(chosen), float(wer), float(optimism.mean()), float(total[picked].std()))
