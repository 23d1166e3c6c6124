"""The luck in a checkpoint's choice: the lowest of several measured WERs is lower than it would be on other utterances."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kidasr.evidence.runs import Run
from kidasr.evidence.speakers import speaker_sums
from kidasr.seeding import generator_for

#: Bootstrap replicates of the spread; parts and repetitions of the cross-validation.
REPLICATES, PARTS, REPETITIONS = 2000, 10, 50


@dataclass(frozen=True)
class Choice:
    """How a run's checkpoint was chosen.

    The optimism is estimated by cross-validation over speakers: a step is chosen by nine tenths of them and measured on the
    last tenth. (A bootstrap, whose samples share speakers with the data, finds a third too little.)
    """

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
    complete = all(len(errors) == len(known) for errors in run.evaluations.errors.values())
    if len(steps) < 2 or not complete or not all(known):
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
    kept = run.metrics["best_step"]
    wer = total[steps.index(kept)] if kept in steps else total.min()
    return Choice(len(steps), len(chosen), float(wer), _optimism(by_step, words), float(total[picked].std()))


def _optimism(by_step: np.ndarray, words: np.ndarray) -> float:
    """How much lower the lowest WER is where it was chosen than elsewhere.

    Args:
        by_step: Errors, shape ``(steps, speakers)``.
        words: Words of each speaker.
    """
    speakers, steps = len(words), np.arange(len(by_step))
    parts = min(PARTS, speakers)
    if parts < 2:
        return 0.0
    rng = generator_for("parts of speakers", speakers)
    here = elsewhere = 0.0
    for _ in range(REPETITIONS):
        part = rng.permutation(speakers) % parts
        for left_out in range(parts):
            there = part == left_out
            if not words[there].any() or not words[~there].any():
                continue
            chosen_by, measured = (by_step[:, one].sum(axis=1) / words[one].sum() for one in (~there, there))
            step = steps[chosen_by.argmin()]
            # The mean of all steps takes out how hard the speakers of a part are.
            here += (chosen_by[step] - chosen_by.mean()) * words[there].sum()
            elsewhere += (measured[step] - measured.mean()) * words[there].sum()
    return float((elsewhere - here) / (words.sum() * REPETITIONS))


def recorded_choice(run: Run) -> dict[str, Any] | None:
    """What :func:`choice_of` finds, or what is published of it, as in ``comparison.json``."""
    if run.sums is not None:
        return None if run.sums.choice is None else dict(run.sums.choice)
    choice = choice_of(run)
    return None if choice is None else vars(choice)
