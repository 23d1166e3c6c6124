"""The preparation job: split, filters, paths, published sizes, and what a later run says of a filtered set."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest

from kidasr.config import check_config
from kidasr.corpus.recipes.recipe import Found, SetName
from kidasr.corpus.segment import DOUBTFUL, Piece, Segmenter, Span, divide
from tests.conftest import ROOT, composed, job, read_json, read_jsonl, run_here
from tests.corpus.recipes.corpora import data_folder, noise, speechocean762, text
from tests.corpus.recipes.test_recipes import prepared

EMBEDDED = ROOT / "kidasr" / "embedded" / "corpus"


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """A Kaldi folder of ten children, of whom the last is in two sets if its split is taken."""
    for name, speakers in (("train", range(8)), ("test", range(8, 10))):
        rows = {}
        for speaker in speakers:
            for number, words in enumerate(("one", "two red cats", "<noise> yes")):
                wav = str(noise(tmp_path / "ten" / "wav" / f"{speaker}-{number}.wav", 0.2 + 0.4 * number))
                rows[f"{speaker}-{number}"] = {"wav": wav, "text": words, "speaker": f"s{speaker}", "age": 5 + speaker % 2}
        data_folder(tmp_path / "ten" / name, rows)
    return tmp_path / "ten"


def test_filters_leave_the_test_set_alone_unless_it_is_named(tmp_path: Path, ten: Path) -> None:
    filters = ("filters.min_words=2", "filters.max_sec=0.9")
    sets = prepared(tmp_path / "out", "kaldi", ten, *filters)
    assert {row["text"] for row in sets["train"]} == {"two red cats"}, "markup is no word, and the noise is too long"
    assert len(sets["test"]) == 6 and not any("filtered" in row for row in sets["test"])
    assert all("filtered" in row for row in sets["train"]), "a run may hold a validation set out of it"
    summary = read_json(tmp_path / "out" / "summary.json")
    assert summary["left_out"] == {"fewer than 2 words": 8, "longer than 0.9 s": 8}
    assert summary["left_out_by_set"] == {"train": {"fewer than 2 words": 8, "longer than 0.9 s": 8}}
    assert summary["sets"]["train"]["filtered"] and not summary["sets"]["test"]["filtered"]

    sets = prepared(tmp_path / "both", "kaldi", ten, *filters, "filters.on=[train,test]")
    mark = "min_words=2, max_sec=0.9: 4 of 6 utterances left out"
    assert [row["filtered"] for row in sets["test"]] == [mark, mark]
    assert f"the test set is filtered: {mark}" in (tmp_path / "both" / "README.md").read_text(encoding="utf-8")


def test_utterances_that_a_reference_gets_wrong_are_left_out(tmp_path: Path, ten: Path) -> None:
    said = {"0": "One!", "1": "two red hats", "2": "no"}
    rows = [{"utterance_id": f"{speaker}-{number}", "hypothesis": said[number]} for speaker in range(8) for number in said]
    predictions = text(tmp_path / "predictions.jsonl", *map(json.dumps, rows))
    wrong = ("filters.reference_wer_over=0.5", f"filters.reference_predictions={predictions}")
    sets = prepared(tmp_path / "out", "kaldi", ten, *wrong)
    assert [len(sets["train"]), len(sets["test"])] == [16, 6]
    assert read_json(tmp_path / "out" / "summary.json")["left_out"] == {"reference WER over 0.5": 8}
    with pytest.raises(Exception, match="6 utterances of train, test are not in it, the first 8-0"):
        prepared(tmp_path / "all", "kaldi", ten, *wrong, "filters.on=[train,test]")


def test_each_run_on_a_filtered_test_set_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(EMBEDDED / "audio", tmp_path / "audio")
    rows = [
        {**row, "filtered": "min_words=3: 4 of 96 utterances left out"}
        for row in read_jsonl(EMBEDDED / "validation.jsonl")[:2]
    ]
    test = text(tmp_path / "test.jsonl", *(json.dumps({**row, "speaker_id": "other"}) for row in rows))
    job(tmp_path / "run", "debug=smoke", "trainer.max_steps=1", f"data.test={test}").run()
    line = "the test set was filtered: min_words=3: 4 of 96 utterances left out"
    assert line in caplog.text
    assert line in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_the_same_corpus_gives_the_same_bytes_and_a_set_that_is_gone_leaves_no_file(tmp_path: Path, ten: Path) -> None:
    own = ("split=speakers", "validation_fraction=0.2", "test_fraction=0.2")
    sets = prepared(tmp_path / "out", "kaldi", ten, *own)
    assert {name: len({row["speaker_id"] for row in rows}) for name, rows in sets.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    assert [{row["age"] for row in sets[name]} for name in ("validation", "test")] == [{5, 6}, {5, 6}], "of each age"
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert prepared(tmp_path / "out", "kaldi", ten, *own) == sets
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert prepared(tmp_path / "out", "kaldi", ten, *own, "split_seed=2") != sets
    assert set(prepared(tmp_path / "out", "kaldi", ten, "split=speakers", "validation_fraction=0")) == {"train", "test"}


def test_files_of_somebody_else_are_not_replaced(tmp_path: Path, ten: Path) -> None:
    mine = text(tmp_path / "mine" / "test.jsonl", "my own")
    with pytest.raises(
        Exception, match=r"^hydra.run.dir=.*mine: it has files that would be replaced: test.jsonl; expected: a"
    ):
        prepared(tmp_path / "mine", "kaldi", ten)
    assert mine.read_text(encoding="utf-8") == "my own\n"
    assert prepared(tmp_path / "out", "kaldi", ten)
    (tmp_path / "out" / "summary.json").unlink()  # as if it had been interrupted
    assert prepared(tmp_path / "out", "kaldi", ten)


def test_a_published_split_is_taken_from_lists(tmp_path: Path, ten: Path) -> None:
    text(tmp_path / "lists" / "train.list", "0-1", "1-0")
    text(tmp_path / "lists" / "dev.list", "s2")
    text(tmp_path / "lists" / "test.list", "s9 more")
    sets = prepared(tmp_path / "out", "kaldi", ten, f"split_lists={tmp_path / 'lists'}")
    assert {name: [row["utterance_id"] for row in rows] for name, rows in sets.items()} == {
        "train": ["0-1", "1-0"],
        "validation": ["2-0", "2-1", "2-2"],
        "test": ["9-0", "9-1", "9-2"],
    }
    assert read_json(tmp_path / "out" / "summary.json")["left_out"] == {"in none of split_lists": 22}


def test_too_few_speakers_to_hold_out_are_refused(tmp_path: Path, ten: Path) -> None:
    two = ("split=speakers", "ages=[5,5]", "test_fraction=0.9")
    with pytest.raises(Exception, match=r"^validation_fraction=0\.05: no speakers can be held out of 1, .*fraction=0, "):
        prepared(tmp_path / "out", "kaldi", ten, *two, "validation_fraction=0.05")
    assert set(prepared(tmp_path / "out", "kaldi", ten, *two, "validation_fraction=0")) == {"train", "test"}


def test_a_split_with_a_speaker_in_two_sets_is_refused(tmp_path: Path, ten: Path) -> None:
    (ten / "test" / "utt2spk").write_text("".join(f"{one}-{n} s1\n" for one in (8, 9) for n in range(3)), encoding="utf-8")
    with pytest.raises(Exception, match=r"1 speaker\(s\) are in both train and test, the first s1; expected: split="):
        prepared(tmp_path / "out", "kaldi", ten)
    assert len(prepared(tmp_path / "out", "kaldi", ten, "split=speakers")) == 3


def test_paths_are_relative_where_the_manifests_would_be_moved_with_the_corpus(tmp_path: Path) -> None:
    root = speechocean762(tmp_path / "corpora" / "so")

    def path_of(output_dir: Path, *overrides: str) -> str:
        return str(prepared(output_dir, "speechocean762", root, *overrides)["train"][0]["audio_path"])

    wave = "WAVE/SPEAKER0001/000100011.WAV"
    assert path_of(root / "manifests") == f"../{wave}"
    assert path_of(tmp_path / "corpora" / "out") == f"../so/{wave}"
    assert path_of(tmp_path) == f"corpora/so/{wave}"
    assert path_of(tmp_path / "elsewhere" / "out") == str(root / wave)
    assert path_of(tmp_path / "elsewhere" / "out", "paths=relative") == f"../../corpora/so/{wave}"
    assert path_of(root / "manifests", "paths=absolute") == str(root / wave)


def test_the_summary_says_whether_the_sizes_are_as_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = speechocean762(tmp_path / "so")
    caplog.set_level("INFO")
    prepared(tmp_path / "out", "speechocean762", root)
    assert (
        "sizes: not as published (the paper): train: 6 utterances instead of 2,500, train: 3 speakers instead of"
        in caplog.text
    )
    sizes = "+corpus.about.published.here={sets: {train: {utterances: 6, speakers: 3}, all: {speakers: 5}}}"
    prepared(tmp_path / "out", "speechocean762", root, sizes)
    assert "sizes: as published (here)" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    prepared(tmp_path / "out", "speechocean762", root, sizes, "ages=[0,15]")
    assert "as published" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8"), "adults are left out"


def test_the_command_line_prepares_into_a_folder_named_after_the_corpus_and_says_how_to_train_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = speechocean762(tmp_path / "so")
    monkeypatch.chdir(tmp_path)
    command = ("job=prepare", "corpus=speechocean762", f"corpus.root={root}", "ages=[0,15]")
    assert run_here(monkeypatch, *command) == 0
    said = capfd.readouterr().out
    assert (tmp_path / "outputs" / "corpora" / "speechocean762" / "train.jsonl").is_file()
    assert re.search(r"train +4 +2 ", said) and "2 age outside 0 to 15" in said and "licence: CC BY 4.0" in said
    assert run_here(monkeypatch, *command) == 0, "again"
    assert run_here(monkeypatch, *command[:-1]) == 2, "another config would replace manifests that runs have used"
    capfd.readouterr()
    for wrong, line in {
        "job=prepare": "error: corpus: which one?; expected: corpus=NAME corpus.root=DIR",
        "job=prepare corpus=myst": "error: corpus.root is missing; expected: corpus.root=...",
        f"job=prepare corpus=myst corpus.root={root}": f"error: corpus.root={root}: has no data/train; expected: MyST",
    }.items():
        assert run_here(monkeypatch, *wrong.split(), f"hydra.run.dir={tmp_path / 'wrong'}") == 2
        complained = capfd.readouterr().err
        assert complained.startswith(line) and complained.count("\n") == 1, complained
    assert run_here(monkeypatch, "job=prepare", "--help") == 0
    assert "corpus: cmu_kids, common_voice, cslu_kids, huggingface, kaldi, manifest, myst, none" in capfd.readouterr().out
    typed = said.partition("train on it: ")[2].splitlines()[0]
    run = composed(*shlex.split(typed)[2:])
    check_config(run)
    assert [len(utterances) for utterances in hydra.utils.instantiate(run.data).load().named().values()] == [2, 2, 4]


HEARD = {
    "long-1": ["two red cats", "no three dogs"],
    "long-2": ["a cat", "a hat"],
    "long-3": ["two red cats", "know free dogs"],
}


class Pauses(Segmenter):
    """Cuts every recording in its middle, with what was heard given."""

    def __init__(self, on: list[SetName], max_sec: float):
        self.on, self.max_sec = on, max_sec

    def described(self) -> str:
        return "segment=vad"

    def pieces(self, utterances: Sequence[Found]) -> Iterator[list[Piece]]:
        for one in utterances:
            words = one.text.split()
            first, second = Span(0.0, 0.5), Span(0.5, one.duration_sec or 0)
            (place,), (margin,) = divide(words, HEARD[one.utterance_id])
            doubt = "" if margin > 2 else DOUBTFUL
            texts = (" ".join(words[:place]), " ".join(words[place:]))
            yield [Piece(first, texts[0], doubt), Piece(second, texts[1], doubt)]


def test_long_recordings_of_the_named_sets_are_cut_and_all_runs_on_a_scored_set_say_so(tmp_path: Path) -> None:
    rows = []
    for number, split in enumerate(("train", "train", "test", "test"), start=1):
        row = {"speaker_id": f"s{number}", "split": split, "text": "two red cats no three dogs", "age": 7}
        noise(tmp_path / "m" / f"long-{number}.wav", 1.2)
        rows.append({**row, "utterance_id": f"long-{number}", "audio_path": f"long-{number}.wav"})
    rows[0] |= {"start": 0.1}
    rows[3] |= {"end": 0.4}
    root = text(tmp_path / "m" / "all.jsonl", *map(json.dumps, rows))

    def prepared_with(*on: SetName) -> dict[str, list[dict[str, Any]]]:
        cfg = composed("job=prepare", "corpus=manifest", f"corpus.root={root}")
        cfg.job.output_dir = str(tmp_path / "_".join(on))
        one = hydra.utils.instantiate(cfg.job)
        one.options["segmenter"] = Pauses(list(on), 1.0)
        one.run()
        return {name: read_jsonl(tmp_path / "_".join(on) / f"{name}.jsonl") for name in ("train", "test")}

    sets = prepared_with("train")
    fields = ("utterance_id", "start", "end", "duration_sec", "text", "segment_of")
    assert [[row[field] for field in fields] for row in sets["train"]] == [
        ["long-1-001", 0.1, 0.6, 0.5, "two red cats", "long-1"],
        ["long-1-002", 0.6, 1.2, 0.6, "no three dogs", "long-1"],
    ]
    told = "segment=vad: 2 recordings cut into 4 pieces, 2 of them (1.2 s) left out"
    assert {row["filtered"] for row in sets["train"]} == {told}
    assert [row["utterance_id"] for row in sets["test"]] == ["long-3", "long-4"] and "filtered" not in sets["test"][0]
    left_out = read_jsonl(tmp_path / "train" / "left_out.jsonl")
    assert [(row["utterance_id"], row["reason"], row["set"]) for row in left_out] == [
        ("long-2-001", DOUBTFUL, "train"),
        ("long-2-002", DOUBTFUL, "train"),
    ]
    assert f"the train set is filtered: {told}" in (tmp_path / "train" / "README.md").read_text(encoding="utf-8")
    assert read_json(tmp_path / "train" / "summary.json")["segmented"]["train"]["left_out_sec"] == 1.2

    sets = prepared_with("test")
    assert [row["utterance_id"] for row in sets["test"]] == ["long-3-001", "long-3-002", "long-4"]
    assert sets["test"][0]["filtered"] == "segment=vad: 1 recordings cut into 2 pieces, 0 of them (0 s) left out"


def test_a_cut_of_a_scored_set_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    command = ("job=prepare", "corpus=kaldi", "corpus.root=DIR", "segment=vad", "segment.on=[train,test]")
    check_config(composed(*command))
    assert "segment.on: the test set will be cut too, so its error rates can't be compared" in caplog.text


MINE = """
from kidasr.corpus.recipes.recipe import Found, Recipe


class Mine(Recipe):
    layout = "a folder with *.wav, each of a child of its own"
    marks = ("index",)

    def __init__(self, root, about, words: int):
        super().__init__(root, about)
        self.words = words

    def utterances(self, output_dir):
        for path in sorted(self.folder().glob("*.wav")):
            yield Found(path.stem, path.stem, path, "cat " * self.words, "train")
"""


def test_a_corpus_of_one_s_own_is_a_yaml_and_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about: dict[str, Any] = dict.fromkeys(("name", "obtain", "licence", "citation", "ages", "transcripts"), "mine")
    keys = {"_target_": "mine_corpus.Mine", "root": "???", "words": 2, "about": {**about, "published": {}}}
    text(tmp_path / "mine" / "corpus" / "mine.yaml", json.dumps(keys))
    text(tmp_path / "mine" / "mine_corpus.py", MINE)
    text(tmp_path / "wav" / "index")
    noise(tmp_path / "wav" / "a.wav")
    options = (f"--config-dir={tmp_path / 'mine'}", f"hydra.run.dir={tmp_path / 'out'}", "job=prepare", "corpus=mine")
    assert run_here(monkeypatch, *options, f"corpus.root={tmp_path / 'wav'}", "corpus.words=3") == 0
    (row,) = read_jsonl(tmp_path / "out" / "train.jsonl")
    assert (row["text"], row["audio_path"]) == ("cat cat cat ", "../wav/a.wav")
