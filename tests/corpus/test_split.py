from collections.abc import Callable
from dataclasses import replace

import pytest

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.split import check_speakers_disjoint, create_train_val_split, divide_by_field, limit_utterances
from kidasr.errors import KidasrError


@pytest.fixture
def children(utterance: Callable[..., Utterance]) -> list[Utterance]:
    """Twenty speakers in each of two buckets, five utterances each."""
    one = utterance(duration_sec=0.1)
    return [
        Utterance(
            f"{bucket}_{speaker}_{n}", f"{bucket}_{speaker}", one.audio_path, "a", bucket, None, None, None, None, "m:1"
        )
        for bucket in ("3-4", "9-10")
        for speaker in range(20)
        for n in range(5)
    ]


def test_whole_speakers_of_every_bucket_are_held_out_by_seed(children: list[Utterance], buckets: AgeBuckets) -> None:
    train, validation = create_train_val_split(children, 0.1, buckets, seed=1)
    assert sorted(one.utterance_id for one in train + validation) == sorted(one.utterance_id for one in children)
    check_speakers_disjoint(train, validation, "train", "validation")
    for bucket in ("3-4", "9-10"):
        assert len({one.speaker_id for one in validation if one.age_bucket == bucket}) == 2
    assert create_train_val_split(children, 0.1, buckets, seed=1) == (train, validation)
    assert create_train_val_split(children, 0.1, buckets, seed=2) != (train, validation)
    assert create_train_val_split(children[::-1], 0.1, buckets, seed=1)[1] == validation[::-1]


def test_a_bucket_of_two_speakers_gives_one_and_of_one_none(children: list[Utterance], buckets: AgeBuckets) -> None:
    few = [one for one in children if one.speaker_id in ("3-4_0", "3-4_1", "9-10_0")]
    train, validation = create_train_val_split(few, 0.1, buckets, seed=1)
    assert {one.age_bucket for one in validation} == {"3-4"}
    assert len({one.speaker_id for one in train}) == 2


def test_one_speaker_in_all_can_not_be_split(children: list[Utterance], buckets: AgeBuckets) -> None:
    with pytest.raises(KidasrError, match=r"data\.validation=null: no speakers can be held out"):
        create_train_val_split(children[:5], 0.1, buckets, seed=1)


def test_a_speaker_in_two_sets_is_named(children: list[Utterance]) -> None:
    with pytest.raises(KidasrError, match=r"data\.validation: 1 speaker\(s\) are in data\.train too: 3-4_0;"):
        check_speakers_disjoint(children, children[:3], "train", "validation")


def test_a_limit_hears_as_many_speakers_as_it_can(children: list[Utterance]) -> None:
    kept = limit_utterances(children, 40, seed=1)
    assert len({one.speaker_id for one in kept}) == 40
    assert kept == limit_utterances(children, 40, seed=1) != limit_utterances(children, 40, seed=2)
    assert limit_utterances(children, None, seed=1) == limit_utterances(children, 1000, seed=1) == children


def test_a_manifest_that_names_its_sets_is_divided_by_them(children: list[Utterance]) -> None:
    names = ["train", "dev", "test"]
    named = [replace(one, split=names[int(one.speaker_id[-1]) % 3]) for one in children]
    divided = divide_by_field(named)
    assert {name: {one.split for one in set_} for name, set_ in divided.items()} == {
        "train": {"train"},
        "validation": {"dev"},
        "test": {"test"},
    }
    assert divide_by_field(named[:1]) == {"train": named[:1]}, "one name divides nothing"
    with pytest.raises(KidasrError, match="m:1: split='mine'; expected: train, training, validation, valid, val, dev"):
        divide_by_field([*named, replace(children[0], split="mine")])
