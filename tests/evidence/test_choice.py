"""The luck in a checkpoint's choice, estimated and simulated."""

from dataclasses import replace

import numpy as np
import pytest

from kidasr.evidence.choice import choice_of
from kidasr.evidence.runs import Evaluations, Run
from tests.evidence.experiments import World, a_run

SPEAKERS, STEPS = 40, range(20, 201, 20)


def chosen(errors: np.ndarray, words: np.ndarray, best: int, **config: int) -> Run:
    run = a_run(errors[:, -1], words, 1, metrics={"best_step": best, "steps": 200}, config={"checkpoint": config})
    evaluations = Evaluations(run.utterance_ids, {step: list(errors[:, place]) for place, step in enumerate(STEPS)})
    speakers = run.speakers
    return replace(
        run, evaluations=evaluations, validation_ids=run.utterance_ids, validation_speakers=speakers, validation_words=words
    )


@pytest.mark.parametrize("slope", [0.0, 0.003])
def test_the_optimism_is_what_other_children_show(slope: float) -> None:
    """Ten evaluations of 40 children, alike or falling: the lowest is measured again on other children."""
    rng, trials, expected, found = np.random.default_rng(1), 200, [], []
    change = [-slope * min(place, 6) for place in range(len(STEPS))]
    for _ in range(trials):
        world = World(speakers=2 * SPEAKERS, words_per_speaker=30, seeds=0.002, children=0.0, both=0.02)
        errors, words = world.errors(rng, range(len(STEPS)), change)
        here, there = slice(0, SPEAKERS), slice(SPEAKERS, None)
        wer, other = (errors[one].sum(axis=0) / words[one].sum() for one in (here, there))
        best = int(wer.argmin())
        expected.append(other[best] - wer[best] - (other - wer).mean())
        choice = choice_of(chosen(errors[here], words[here], STEPS[best]))
        assert choice is not None and choice.wer == pytest.approx(wer[best]) and choice.evaluations == len(STEPS)
        found.append(choice.optimism)
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=4 * np.std(expected) / np.sqrt(trials) + 0.0005)
    assert np.mean(found) > 0.002


def test_only_evaluations_with_a_checkpoint_could_be_chosen() -> None:
    errors, words = World(speakers=SPEAKERS).errors(np.random.default_rng(1), range(len(STEPS)))
    choice = choice_of(chosen(errors, words, 40, save_steps=40))
    assert choice is not None and choice.evaluations == len(STEPS) // 2
    assert choice_of(chosen(errors, words, 200, save_steps=200)) is None
    assert choice_of(a_run(errors[:, 0], words, 1)) is None
