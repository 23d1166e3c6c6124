import json
import logging
from pathlib import Path
from typing import Any

import hydra
import pytest

from kidasr.corpus.sets import Sets
from kidasr.errors import KidasrError
from tests.conftest import composed


def load(tmp_path: Path, texts: list[str], *overrides: str, **columns: list[Any]) -> Sets:
    """The sets of a manifest with one speaker per transcript, all six years old."""
    rows = [
        {"audio_path": f"{n}.wav", "text": text, "speaker_id": f"s{n}", "age": 6, **{k: v[n] for k, v in columns.items()}}
        for n, text in enumerate(texts)
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    sets = hydra.utils.instantiate(composed("data=manifest", f"data.train={path}", *overrides).data).load()
    assert isinstance(sets, Sets)
    return sets


def test_speakers_are_held_out_where_nothing_else_is_said(tmp_path: Path) -> None:
    sets = load(tmp_path, list("abcdefghij"), "data.validation_fraction=0.3")
    assert {name: len(utterances) for name, utterances in sets.named().items()} == {"train": 7, "validation": 3}


def test_a_manifests_own_division_is_kept_unless_it_is_of_one_name(tmp_path: Path) -> None:
    divided = load(tmp_path, list("abcd"), split=["train", "train", "dev", "test"])
    assert {name: len(utterances) for name, utterances in divided.named().items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    assert len(load(tmp_path, list("abcd"), split=["train"] * 4).validation) == 1


@pytest.mark.parametrize(
    ("texts", "text_case", "lower"),
    [
        (["TWO CATS", "I'M"], "auto", True),
        (["TWO CATS", "I am"], "auto", False),
        (["TWO CATS", "I'M"], "as_is", False),
        (["Two cats", "I am"], "lower", True),
    ],
)
def test_texts_in_capitals_are_trained_on_in_lower_case_and_it_is_said(
    tmp_path: Path, texts: list[str], text_case: str, lower: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sets = load(tmp_path, texts * 2, f"data.text_case={text_case}")
    assert sets.lower_case == lower
    assert ("all in capitals" in caplog.text) == (lower and text_case == "auto")
    assert sets.train[0].text in texts, "references stay as they are"


def test_a_limit_is_for_the_evaluations_alone_if_the_end_is_to_hear_all_and_the_same_for_every_seed(tmp_path: Path) -> None:
    texts, overrides = list("abcdefghijklmnop"), ("data.validation_fraction=0.5", "data.limit_validation=3")
    limited = load(tmp_path, texts, *overrides)
    assert limited.validation == limited.evaluation and len(limited.evaluation) == 3
    whole = load(tmp_path, texts, *overrides, "data.full_validation_at_end=true", "seed=2")
    assert len(whole.validation) == 8 and whole.evaluation == limited.evaluation
    other = load(tmp_path, texts, *overrides, "data.split_seed=2")
    assert other.evaluation != limited.evaluation


def test_without_speakers_each_utterance_is_its_own_and_what_that_means_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sets = load(tmp_path, list("abcd"), "data.speakers=unknown")
    assert all(one.speaker_id == one.utterance_id for one in sets.train + sets.validation)
    assert "data: train: 3 utterances of unknown speakers" in caplog.text
    assert (
        "intervals are too narrow, and utterances are held out for validation, so the same child may be in both"
        in caplog.text
    )
    assert "the field 'speaker_id' of the manifests is not used" in caplog.text
    assert sets.train[0].extra is not None and sets.train[0].extra["speaker_id"].startswith("s"), "nothing is lost"


def test_without_speakers_a_recording_in_two_sets_is_refused(tmp_path: Path) -> None:
    rows = [{"audio_path": f"{name}.wav", "text": name, "utterance_id": f"train-{name}"} for name in "abc"]
    (tmp_path / "sub").mkdir()
    again = [{"audio_path": "../c.wav", "text": "c", "utterance_id": "1"}, {"audio_path": "d.wav", "text": "d"}]
    for path, lines in ((tmp_path / "t.jsonl", rows), (tmp_path / "sub" / "v.jsonl", again)):
        path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    data = ("data=manifest", f"data.train={tmp_path / 't.jsonl'}", f"data.validation={tmp_path / 'sub' / 'v.jsonl'}")
    corpus = hydra.utils.instantiate(composed(*data, "data.speakers=unknown").data)
    with pytest.raises(
        KidasrError, match=r"^data\.validation: 1 utterance\(s\) are in data\.train too: the first at \S+v\.jsonl:1;"
    ):
        corpus.load()


def test_speakers_in_another_spelling_and_the_manifest_of_another_set_are_warnings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def manifest(name: str, *speakers: object) -> str:
        rows = [{"audio_path": f"{name}{n}", "text": "a", "speaker_id": s, "split": "test"} for n, s in enumerate(speakers)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return str(tmp_path / name)

    train, validation = manifest("t.jsonl", 7, "S-01", "x"), manifest("v.jsonl", "7.0", "s_1", "y")
    hydra.utils.instantiate(composed("data=manifest", f"data.train={train}", f"data.validation={validation}").data).load()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "data.train: its split field says test; used all the same: is it the right manifest?",
        "data.validation: its split field says test; used all the same: is it the right manifest?",
        "data.validation: 2 speaker(s) differ from those of data.train only in spelling, e.g. '7' and '7.0': the same "
        "child?",
    ]
    validation = manifest("v.jsonl", " x ")
    with pytest.raises(KidasrError, match=r"^data\.validation: 1 speaker\(s\) are in data\.train too: x"):
        hydra.utils.instantiate(
            composed("data=manifest", f"data.train={train}", f"data.validation={validation}").data
        ).load()


def test_ages_that_children_do_not_have_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path, list("abcd"), age=[78, 6, 90, 84])
    (line,) = [one for one in caplog.messages if "an age over 20 years" in one]
    assert line.endswith("data.age_unit=months") and " of 3 utterances" in line
    caplog.clear()
    sets = load(tmp_path, list("abcd"), "data.age_unit=months", age=[78, 60, 90, 84])
    assert sorted(one.age for one in sets.train + sets.validation if one.age) == [5, 6.5, 7, 7.5]
    assert {one.age_bucket for one in sets.train + sets.validation} == {"5-6", "7-8"}
    assert "over 20 years" not in caplog.text


@pytest.mark.parametrize(
    ("override", "buckets", "said"),
    [
        ("data.age_order=[K,1st,2]", ["K", "1st", "2", "unknown"], "K, 1st, 2 are the buckets, youngest first"),
        ("data.age_years={K:5.5,1st:6.5,2:7.5}", ["5-6", "5-6", "7-8", "unknown"], "K is 5.5 years, 1st is 6.5 years, 2"),
    ],
)
def test_grades_are_buckets_or_years_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, override: str, buckets: list[str], said: str
) -> None:
    caplog.set_level(logging.INFO)
    sets = load(tmp_path, list("abcd"), override, age=["K", "1st", 2, None], split=["train"] * 3 + ["dev"])
    found = sorted(sets.train + sets.validation, key=lambda one: one.text)
    assert [one.age_bucket for one in found] == buckets
    assert f"data: ages: {said}" in caplog.text


def test_markup_in_small_letters_does_not_hide_that_texts_are_in_capitals(tmp_path: Path) -> None:
    assert load(tmp_path, ["TWO [laughs] CATS", "<unk> I'M"] * 2).lower_case


def test_several_test_sets_each_limited_and_without_speakers_of_train_or_validation(tmp_path: Path) -> None:
    def manifest(name: str, *speakers: str) -> str:
        rows = [{"audio_path": f"{name}{n}.wav", "text": "a", "speaker_id": one} for n, one in enumerate(speakers)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return str(tmp_path / name)

    adults, kids = manifest("a.jsonl", "x", "y", "z"), manifest("k.jsonl", "x", "v")
    texts, named = list("abcd"), f"data.tests={{kids: {kids}, adults: {adults}}}"
    sets = load(tmp_path, texts, named, f"data.test={adults}", "data.limit_test=2")
    assert {name: len(utterances) for name, utterances in sets.tests.items()} == {"test": 2, "kids": 2, "adults": 2}
    assert sets.test == sets.tests["test"] == sets.tests["adults"], "test sets may share speakers"
    assert list(sets.scored()) == ["validation", "test", "kids", "adults"]
    assert load(tmp_path, texts, named, "data.tests.kids=null").tests.keys() == {"adults"}
    assert not load(tmp_path, texts, "data.tests={}").tests
    manifest("s.jsonl", "s0")
    with pytest.raises(KidasrError, match=r"^data\.tests\.seen: 1 speaker\(s\) are in data\.\w+ too: s0; expected: each in"):
        load(tmp_path, texts, f"data.tests.seen={tmp_path / 's.jsonl'}")
    with pytest.raises(KidasrError, match=r"^data\.tests\.test: the split field of data\.train names a set 'test' already;"):
        load(tmp_path, texts, f"data.tests.test={kids}", split=["train", "train", "dev", "test"])


def test_scoring_alone_holds_out_the_speakers_of_a_training_and_reads_no_more_than_it_needs() -> None:
    held_out = composed("data.validation=null").data
    training, scoring = (hydra.utils.instantiate(held_out).load(trains=trains) for trains in (True, False))
    assert scoring.validation == training.validation and scoring.tests == training.tests
    assert scoring.train == [] and list(scoring.named()) == list(scoring.scored()) == ["validation", "adults"]
    unread = hydra.utils.instantiate(composed("data.train=nowhere.jsonl").data)
    assert list(unread.load(trains=False).scored()) == ["validation", "adults"]
    with pytest.raises(KidasrError, match=r"nowhere\.jsonl"):
        unread.load()
