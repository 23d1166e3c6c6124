"""Joined utterances: who is joined, how long that is, what the batches know of it, and what the model is given."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from kidasr.batching.batches import EpochBatches
from kidasr.batching.curriculum import AgeCurriculum, Curriculum
from kidasr.batching.difficulty import DurationCurriculum
from kidasr.batching.staged import StagedAgeCurriculum
from kidasr.batching.training_set import TrainingSet
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.features.augment import Augmentations
from kidasr.features.augmentations.concat import Concat
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.joining import Joining
from kidasr.features.padding import Padding
from kidasr.model.pretrained import PretrainedWhisper
from tests.conftest import MICRO

SHORT = Padding("longest", 0.5, mask=False, group_by_length=True)


def concat(
    max_sec: float = 15, most: int = 4, speaker: Any = "same_first", pause_sec: float = 0.2, p: float = 0.5
) -> Concat:
    return Concat(max_sec, most, speaker, pause_sec, p)


@pytest.fixture
def children(utterance: Callable[..., Utterance]) -> list[Utterance]:
    """400 utterances of 1 to 9 s, of 41 speakers, one of whom has only one."""
    rng, one = np.random.default_rng(1), utterance(duration_sec=0.1)
    found = [
        replace(one, utterance_id=str(n), speaker_id=str(n % 40), duration_sec=rng.uniform(1, 9), text=f"word{n}")
        for n in range(399)
    ]
    return [*found, replace(found[0], utterance_id="399", speaker_id="lonely")]


@pytest.mark.parametrize("speaker", ["same", "same_first", "any"])
def test_utterances_are_joined_up_to_the_limit_by_the_same_speaker_if_asked(children: list[Utterance], speaker: str) -> None:
    joining = Joining(concat(speaker=speaker), children, seed=1, window_sec=30)
    joined = 0
    for epoch in range(3):
        planned_sec = joining.planned_sec(epoch)
        for place, one in enumerate(children):
            partners = joining.partners(place, epoch)
            joined += bool(partners)
            assert len({place, *partners}) == 1 + len(partners) <= 4, "none twice"
            added_sec = sum(children[other].known_duration_sec + 0.2 for other in partners)
            assert planned_sec[place] == pytest.approx(one.known_duration_sec + added_sec)
            assert not partners or planned_sec[place] <= 15
            if speaker == "same":
                assert all(children[other].speaker_id == one.speaker_id for other in partners)
        assert speaker != "same" or not joining.partners(399, epoch)
    assert joined / 1200 == pytest.approx(0.5, abs=0.06)
    mixed = [
        children[other].speaker_id != one.speaker_id for p, one in enumerate(children) for other in joining.partners(p, 0)
    ]
    assert {"same": 0, "same_first": 0.2, "any": 1}[speaker] >= np.mean(mixed) >= {"any": 0.9}.get(speaker, 0)


def test_a_plan_is_a_pure_function_of_seed_and_epoch(children: list[Utterance]) -> None:
    def plan(seed: int, epoch: int, look_before: int | None = None) -> list[list[int]]:
        joining = Joining(concat(), children, seed, 30)
        if look_before is not None:
            joining.planned_sec(look_before)
        return [joining.partners(place, epoch) for place in range(len(children))]

    assert plan(1, 3) == plan(1, 3, look_before=2)
    assert plan(1, 3) != plan(1, 2) and plan(1, 3) != plan(2, 3)
    assert not any(Joining(concat(p=0), children, 1, 30).partners(place, 0) for place in range(400))


def test_what_would_exceed_the_window_is_not_joined(children: list[Utterance]) -> None:
    joining = Joining(concat(p=1.0), children, 1, window_sec=10)
    recorded_sec = np.array([one.known_duration_sec for one in children])
    assert 9.5 < joining.planned_sec(0).max() <= 10 and joining.longest_sec.max() <= 10
    assert (joining.planned_sec(0) >= recorded_sec).all()


def test_batches_are_planned_with_the_new_lengths(children: list[Utterance]) -> None:
    joining = Joining(concat(), children, 1, 30)
    training_set = TrainingSet(children, AgeBuckets())
    batches = EpochBatches(training_set, Curriculum(), 1, SHORT, 30.0, 8, 40.0, max_length_factor=1.1, joining=joining)
    padded_sec = []
    for epoch in range(3):
        planned_sec = joining.planned_sec(epoch)
        drawn = batches.batches(epoch)
        assert len(drawn) == len(batches) and sorted(np.concatenate(drawn)) == list(range(400))
        padded_sec += [len(one) * (1.1 * planned_sec[one].max() + 0.5) for one in drawn]
    assert max(padded_sec) <= 40
    whole = EpochBatches(training_set, Curriculum(), 1, SHORT, 30.0, 8, joining=joining)
    assert np.mean([np.ptp(joining.planned_sec(0)[one]) for one in whole.batches(0)]) < 1, "seconds within a batch"


AGES = ("3-4", "5-6", "7-8", "9-10")
STAGED = StagedAgeCurriculum("oldest_first", "linear", 0.2, 2)
CURRICULA = [AgeCurriculum("youngest_first"), DurationCurriculum(5, 1), STAGED]


@pytest.mark.parametrize("curriculum", CURRICULA, ids=lambda one: type(one).__name__)
def test_joining_keeps_to_the_order_of_a_curriculum(children: list[Utterance], curriculum: Curriculum) -> None:
    """Nobody is heard behind an utterance whose own turn comes earlier, or in an epoch that leaves them out."""
    aged = TrainingSet([replace(one, age_bucket=AGES[place % 4]) for place, one in enumerate(children)], AgeBuckets())
    stages = partial(curriculum.stages, aged)
    joining = Joining(concat(speaker="any", p=1.0), children, 1, 30, stages)
    followed = 0
    for epoch in range(3):
        first_turn = {place: turn for turn, place in reversed(list(enumerate(curriculum.order(aged, 1, epoch).tolist())))}
        for place in first_turn:
            partners = joining.partners(place, epoch)
            assert set(partners) <= first_turn.keys()
            assert all(stages(epoch)[other] <= stages(epoch)[place] for other in partners)
            followed += bool(partners)
    assert followed > 300
    free = Joining(concat(speaker="any", p=1.0), children, 1, 30)
    as_free = [joining.partners(place, 2) == free.partners(place, 2) for place in range(400)]
    assert all(as_free) == (type(curriculum) is not AgeCurriculum), "the others have no order in the third epoch"


def test_only_those_of_one_group_are_joined(children: list[Utterance]) -> None:
    groups = np.arange(400) % 3 - 1
    joining = Joining(concat(speaker="any", p=1.0), children, 1, 30, groups=groups)
    followed = [(place, other) for place in range(400) for other in joining.partners(place, 0)]
    assert len(followed) > 100 and all(groups[place] == groups[other] for place, other in followed)


def test_the_model_is_given_audio_and_text_of_all_and_of_no_more_than_it_can_take(
    utterance: Callable[..., Utterance],
) -> None:
    whisper = PretrainedWhisper(str(MICRO), "en", "transcribe").load()
    words = [utterance(name, text=f"{name} cats", duration_sec=0.8) for name in ("one", "two", "three", "four")]

    def example(one: Concat, of: list[Utterance] = words) -> tuple[float, str]:
        found = ChildSpeechDataset(of, whisper, Augmentations({"concat": one}), seed=1, padding=SHORT)[(0, 0)]
        return found["duration_sec"], whisper.processor.tokenizer.decode(found["labels"], skip_special_tokens=True)

    duration_sec, text = example(concat(most=3, p=1.0))
    assert duration_sec == pytest.approx(3 * 0.8 + 2 * 0.2) and text.startswith("one cats ")
    assert len(text.split()) == 6 and len(set(text.split())) == 4
    assert example(concat(most=4, p=1.0))[0] == pytest.approx(2.8), "a fourth would exceed the window of 3 s"
    long = [replace(one, text=one.text + " and" * 20) for one in words]  # of 128 tokens
    assert example(concat(most=3, p=1.0), long) == (pytest.approx(0.8), long[0].text)
    plain = ChildSpeechDataset(words, whisper, padding=SHORT)[0]
    off = ChildSpeechDataset(words, whisper, Augmentations({"concat": concat(p=0)}), seed=1, padding=SHORT)[(0, 0)]
    assert (off["input_features"] == plain["input_features"]).all() and off["labels"] == plain["labels"]
