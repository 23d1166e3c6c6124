"""Each recipe on a small corpus in its layout: what is read, what is left out and why, and what is said of others."""

import json
from pathlib import Path
from typing import Any

import hydra
import pytest

from kidasr.config import check_config
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio import measured_sec
from kidasr.corpus.manifest import read_manifest
from kidasr.errors import KidasrError
from tests.conftest import KIDS, composed, read_json, read_jsonl, real_data
from tests.corpus.recipes.corpora import CORPORA, cmu_kids, cslu_kids, data_folder, kaldi, manifest, noise, pf_star, text

FIELDS = composed("data=manifest", "data.train=T.jsonl").data.fields


def prepared(output_dir: Path, corpus: str, root: Path, *overrides: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each manifest that ``job=prepare`` writes."""
    cfg = composed("job=prepare", f"corpus={corpus}", f"corpus.root={root}", *overrides)
    cfg.job.output_dir = str(output_dir)
    check_config(cfg)
    hydra.utils.instantiate(cfg.job).run()
    names = ("train", "validation", "test")
    return {name: read_jsonl(path) for name in names if (path := output_dir / f"{name}.jsonl").exists()}


#: Utterances and speakers of each set, and what is left out.
EXPECTED: dict[str, tuple[dict[str, tuple[int, int]], dict[str, int]]] = {
    "speechocean762": ({"train": (6, 3), "test": (4, 2)}, {}),
    "myst": (
        {"train": (4, 2), "validation": (4, 2), "test": (4, 2)},
        {"no transcript": 6, "transcript without a recording": 1, "not in the layout": 2},
    ),
    "cmu_kids": (
        {"train": (6, 3), "validation": (2, 1), "test": (4, 2)},
        {"recording is missing": 1, "not in speaker.tbl": 1, "not in transcrp.tbl": 1},
    ),
    "cslu_kids": (
        {"train": (3, 2), "test": (3, 2)},
        {"verified as 3 (corpus.leave_out_codes)": 2, "prompt not in docs/all.map": 1, "not in the layout": 1},
    ),
    "pf_star": (
        {"train": (2, 2), "validation": (1, 1), "test": (1, 1)},
        {"no transcript": 1, "not in the layout": 1},
    ),
    "pasketti": ({"train": (3, 2), "test": (3, 2)}, {"recording is missing": 1, "empty transcript": 1}),
    "common_voice": ({"train": (2, 2), "validation": (2, 2), "test": (2, 2)}, {}),
    "kaldi": (
        {"train": (2, 2), "validation": (1, 1), "test": (2, 1)},
        {"wav.scp has a command, not a file": 3, "segment is outside its recording": 1, "folder not in corpus.sets": 1},
    ),
    "huggingface": ({"train": (8, 4), "validation": (4, 2)}, {}),
    "manifest": ({"train": (4, 2), "validation": (2, 1)}, {"recording is missing": 2}),
}

#: Two speakers of an age are enough to hold out one.
SHARES = {
    "cmu_kids": ("validation_fraction=0.3", "test_fraction=0.3"),
    "cslu_kids": ("validation_fraction=0",),
    "pasketti": ("validation_fraction=0",),
    "huggingface": ("test_fraction=0", "corpus.columns.age=age"),
}


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_becomes_manifests_and_each_file_that_does_not_fit_is_counted_and_listed(tmp_path: Path, name: str) -> None:
    root = CORPORA[name](tmp_path / name)
    sets = prepared(tmp_path / "out", name, root, *SHARES.get(name, ()))
    sizes, left_out = EXPECTED[name]
    assert {one: (len(rows), len({row["speaker_id"] for row in rows})) for one, rows in sets.items()} == sizes
    summary = read_json(tmp_path / "out" / "summary.json")
    assert summary["left_out"] == left_out
    listed = [row["reason"] for row in read_jsonl(tmp_path / "out" / "left_out.jsonl")]
    assert {reason: listed.count(reason) for reason in listed} == left_out
    speakers = [{row["speaker_id"] for row in rows} for rows in sets.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)), "no speaker is in two sets"
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert summary["licence"] in readme and summary["citation"] in readme and all(reason in readme for reason in left_out)
    buckets = AgeBuckets(summary["age_buckets"] or ("3-4", "5-6", "7-8", "9-10", "11-12", "13+"))
    for set_name in sets:
        for utterance in read_manifest(tmp_path / "out" / f"{set_name}.jsonl", FIELDS, buckets):
            length_sec = measured_sec(utterance, 60)
            if not utterance.extra or "start" not in utterance.extra:
                assert utterance.duration_sec == round(length_sec, 3)


@pytest.mark.parametrize(
    ("name", "overrides", "expected"),
    [
        (
            "myst",
            (),
            {"speaker_id": "002001", "age": None, "text": "um the water <unk> goes to the (*) ro-", "split": "train"},
        ),
        ("cmu_kids", (), {"text": "The cats, they ran.", "spoken": "THE CATS THEY RAN", "age": 7, "gender": "f", "bin": 1}),
        ("cmu_kids", ("corpus.text=spoken",), {"text": "THE CATS THEY RAN", "prompt": "The cats, they ran.", "grade": "3"}),
        ("cslu_kids", (), {"text": "yes, please", "age": 5, "grade": 0, "verification": 1, "speaker_id": "ks001"}),
        (
            "cslu_kids",
            ("corpus.parts=[spontaneous]", "corpus.kindergarten_age=null"),
            {"text": "a b c <bn> my dog", "age": None, "grade": 0},
        ),
        ("pasketti", (), {"utterance_id": "U1", "speaker_id": "C0", "age": None, "age_bucket": "3-4", "session_id": "S1"}),
        ("common_voice", (), {"text": '"Two" cats, he said.', "age": 16, "age_given": "teens", "gender": "female_feminine"}),
        ("kaldi", (), {"utterance_id": "a-1", "speaker_id": "a", "text": "two cats", "age": None}),
        ("manifest", (), {"utterance_id": "a-1", "age": 7, "duration_sec": 2.0, "session": 1, "split": "train"}),
    ],
)
def test_texts_speakers_and_ages_are_the_corpus_s_own(
    tmp_path: Path, name: str, overrides: tuple[str, ...], expected: dict[str, Any]
) -> None:
    root = CORPORA[name](tmp_path / name)
    shares = ("validation_fraction=0", "test_fraction=0")
    first = prepared(tmp_path / "out", name, root, *shares, *overrides)["train"][0]
    assert {key: first[key] for key in expected} == expected


def test_pf_star_takes_ages_from_a_table(tmp_path: Path) -> None:
    root = pf_star(tmp_path / "pf")
    sets = prepared(tmp_path / "out", "pf_star", root, f"corpus.speakers={root / 'speakers.csv'}")
    found = {row["speaker_id"]: (row["age"], row["gender"]) for rows in sets.values() for row in rows}
    assert found == {"b01": (5, "f"), "b02": (None, "m"), "b03": (9, None), "b04": (14, "f")}


def test_segments_have_a_start_and_an_end(tmp_path: Path) -> None:
    rows = prepared(tmp_path / "out", "kaldi", kaldi(tmp_path / "kaldi"))["test"]
    found = [(row["utterance_id"], row["start"], row["end"], row["duration_sec"], row["text"]) for row in rows]
    assert found == [("e-1", 0.25, 1.5, 1.25, "one"), ("e-2", 1.5, 2.75, 1.25, "two cats")]


@pytest.mark.parametrize("name", CORPORA)
def test_another_folder_is_refused_in_one_line_that_says_what_is_expected(tmp_path: Path, name: str) -> None:
    if name == "huggingface":
        pytest.importorskip("datasets")
    text(tmp_path / "holiday" / "notes.txt", "no corpus")
    for root in (tmp_path / "holiday", tmp_path / "nowhere"):
        with pytest.raises(KidasrError) as caught:
            prepared(tmp_path / "out", name, root)
        place = (
            "corpus.columns.audio=audio: " if (name, root.name) == ("huggingface", "holiday") else f"corpus.root={root}: "
        )
        assert str(caught.value).startswith(place) and "; expected: " in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("spk2age", "e seven", "age 'seven'; expected: years, or unknown"),
        (
            "segments",
            "e-1 long 2 1",
            "test/segments:1: start=2, end=1; expected: seconds, an end after the start",
        ),
        ("text", "e-1 a\ne-1 b", "test/text:1; expected: each id once"),
    ],
)
def test_a_mistake_in_a_table_is_one_line_with_its_place(tmp_path: Path, table: str, line: str, message: str) -> None:
    root = kaldi(tmp_path / "kaldi")
    text(root / "test" / table, line)
    with pytest.raises(KidasrError, match=r"^[^\n]*$") as caught:
        prepared(tmp_path / "out", "kaldi", root)
    assert message in str(caught.value)


def test_cslu_prompts_are_those_of_the_utterance_and_not_of_the_grade(tmp_path: Path) -> None:
    rows = prepared(tmp_path / "out", "cslu_kids", cslu_kids(tmp_path / "c"), "validation_fraction=0", "test_fraction=0")[
        "train"
    ]
    assert {row["utterance_id"]: row["text"] for row in rows if row["speaker_id"] == "ksa01"} == {
        "ksa01000": "yes, please",
        "ksa010a0": "seven",
    }


@real_data
@pytest.mark.real_data
def test_speechocean762_in_its_public_layout_gives_the_shared_manifests_row_by_row(tmp_path: Path) -> None:
    import soundfile

    adults = KIDS.with_name("speechocean762-adults")
    given = {
        "train": [(KIDS, row) for row in read_jsonl(KIDS / "train.jsonl")],
        "test": [(KIDS, row) for row in read_jsonl(KIDS / "dev.jsonl")]
        + [(adults, row) for row in read_jsonl(adults / "test.jsonl")],
    }
    for name, rows in given.items():
        table = {}
        for folder, row in rows:
            path = f"WAVE/SPEAKER{row['speaker_id']}/{row['utterance_id']}.WAV"
            samples, rate_hz = soundfile.read(folder / row["audio_path"], dtype="int16")
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(tmp_path / path, samples, rate_hz, format="WAV")
            one = {
                "wav": path,
                "text": row["text"],
                "speaker": row["speaker_id"],
                "age": row["age"],
                "gender": row["gender"],
            }
            table[row["utterance_id"]] = one
        data_folder(tmp_path / name, table, separator="\t")
    sets = prepared(tmp_path / "out", "speechocean762", tmp_path, "ages=[0,15]")
    fields = ("utterance_id", "speaker_id", "age", "gender", "duration_sec", "text")
    for name, given_in in (("train", "train"), ("test", "dev")):
        expected = read_jsonl(KIDS / f"{given_in}.jsonl")
        assert [[row[field] for field in fields] for row in sets[name]] == [
            [row[field] for field in fields] for row in expected
        ]
    left_out = read_json(tmp_path / "out" / "summary.json")["left_out"]
    assert left_out == {"age outside 0 to 15": len(read_jsonl(adults / "test.jsonl"))}


def test_a_manifest_may_have_all_sets_and_buckets_and_parts(tmp_path: Path) -> None:
    rows = read_jsonl(manifest(tmp_path / "m") / "train.jsonl")[1:4]
    for row, split in zip(rows, ("training", "dev", "other"), strict=True):
        row |= {"split": split, "child": f"s{split}"}
        del row["speaker_id"]
    path = text(tmp_path / "m" / "one.jsonl", *map(json.dumps, rows))
    sets = prepared(tmp_path / "out", "manifest", path, "corpus.fields={speaker_id: child}")
    assert {name: [row["speaker_id"] for row in rows] for name, rows in sets.items()} == {
        "train": ["straining"],
        "validation": ["sdev"],
    }
    (row,) = sets["train"]
    assert (row["start"], row["end"], row["duration_sec"], row["age_bucket"]) == (0.5, 1.25, 0.75, "5-6")
    with pytest.raises(KidasrError, match=r"one\.jsonl:1: .*corpus\.fields\.speaker_id=NAME"):
        prepared(tmp_path / "wrong", "manifest", path)


def test_recordings_in_a_saved_data_set_stay_there(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    content = noise(tmp_path / "one.wav").read_bytes()
    for split, children in (("train", ["c0", "c1"]), ("test", ["c2"])):
        audio = [{"bytes": content, "path": "x.wav"}] * len(children)
        rows = pyarrow.table({"sound": audio, "text": ["two cats"] * len(children), "child": children})
        (tmp_path / "saved" / split).mkdir(parents=True)
        with pyarrow.ipc.new_stream(str(tmp_path / "saved" / split / "data.arrow"), rows.schema) as writer:
            writer.write_table(rows)
        text(tmp_path / "saved" / split / "state.json", '{"_data_files": [{"filename": "data.arrow"}]}')
    text(tmp_path / "saved" / "dataset_dict.json", '{"splits": ["train", "test"]}')
    columns = ("corpus.columns.audio=sound", "corpus.columns.speaker_id=child")
    sets = prepared(tmp_path / "out", "huggingface", tmp_path / "saved", *columns)
    assert {name: [row["speaker_id"] for row in rows] for name, rows in sets.items()} == {
        "train": ["c0", "c1"],
        "test": ["c2"],
    }
    (utterance,) = read_manifest(tmp_path / "out" / "test.jsonl", FIELDS, AgeBuckets())
    assert measured_sec(utterance, 60) == 0.5 and not (tmp_path / "out" / "audio").exists()


def test_a_data_set_with_recordings_in_its_tables_gets_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    from pyarrow import parquet, table

    content = noise(tmp_path / "one.wav").read_bytes()
    for split, children in (("train", ["c0", "c1"]), ("test", ["c2", "c3"])):
        audio = [{"bytes": content, "path": "x.wav"}] * 2
        (tmp_path / "tables").mkdir(exist_ok=True)
        rows = table({"audio": audio, "sentence": ["two cats"] * 2, "child": children})
        parquet.write_table(rows, tmp_path / "tables" / f"{split}-00000-of-00001.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    columns = ("corpus.columns.text=sentence", "corpus.columns.speaker_id=child")
    sets = prepared(tmp_path / "out", "huggingface", tmp_path / "tables", *columns)
    assert {name: [row["speaker_id"] for row in rows] for name, rows in sets.items()} == {
        "train": ["c0", "c1"],
        "test": ["c2", "c3"],
    }
    assert (tmp_path / "out" / "audio" / "test-000001.wav").read_bytes() == content
    with pytest.raises(KidasrError, match=r"corpus\.columns\.speaker_id=speaker_id: no such column; expected: one of "):
        prepared(tmp_path / "other", "huggingface", tmp_path / "tables", "corpus.columns.text=sentence")


#: The fields that lhotse's recipes know too.
SAME = ("utterance_id", "speaker_id", "audio_path", "duration_sec", "text")


def by_id(sets: dict[str, list[dict[str, Any]]], *fields: str) -> dict[str, list[Any]]:
    return {row["utterance_id"]: [row[field] for field in fields] for rows in sets.values() for row in rows}


def test_lhotse_s_recipe_for_cmu_kids_gives_the_same_rows(tmp_path: Path) -> None:
    audio, recipes = pytest.importorskip("lhotse.audio"), pytest.importorskip("lhotse.recipes")
    root = cmu_kids(tmp_path / "cmu")
    shares = ("validation_fraction=0", "test_fraction=0", "paths=absolute")
    ours = by_id(prepared(tmp_path / "ours", "cmu_kids", root, *shares), *SAME, "age")
    table = root / "cmu_kids" / "tables" / "transcrp.tbl"
    lines = table.read_text(encoding="utf-8").splitlines()
    text(table, *(line for line in lines if line.split()[0] in ours))  # it stops at what is missing
    with audio.audio_backend("LibsndfileBackend"):  # without the program sph2pipe
        recipes.prepare_cmu_kids(root, tmp_path / "lhotse")
    assert by_id(prepared(tmp_path / "theirs", "manifest", tmp_path / "lhotse", *shares), *SAME, "age") == ours


def test_lhotse_s_recipe_for_cslu_kids_differs_in_the_scripted_texts_alone(tmp_path: Path) -> None:
    recipes = pytest.importorskip("lhotse.recipes")
    root = cslu_kids(tmp_path / "cslu")
    text(root / "docs" / "all.map", '00 "yes, please"', '0A "seven"', '0B ""', '10 "ten"')  # of each grade's number
    both = ("corpus.parts=[scripted,spontaneous]", "corpus.leave_out_codes=[]")
    shares = ("validation_fraction=0", "test_fraction=0", "paths=absolute")
    ours = by_id(prepared(tmp_path / "ours", "cslu_kids", root, *both, *shares), *SAME)
    recipes.prepare_cslu_kids(root, tmp_path / "lhotse", normalize_text=False)
    theirs = by_id(prepared(tmp_path / "theirs", "manifest", tmp_path / "lhotse", *shares), *SAME)
    assert theirs.keys() - ours.keys() == {"ks001zz0", "other"}, "a prompt that is not in the map, a name not in the layout"
    differ = {name for name in ours if ours[name][-1] != theirs[name][-1].rstrip()}  # a line end is a space in them
    assert {name: (ours[name][-1], theirs[name][-1]) for name in differ} == {
        **{f"ks0{number}0a0": ("seven", "yes, please") for number in ("01", "02")},
        **{f"ksa{number}000": ("yes, please", "ten") for number in ("01", "02")},
        **{f"ksa{number}0a0": ("seven", "ten") for number in ("01", "02")},
    }, "the prompt is taken from the folder of the grade"
    assert all(ours[name][:-1] == theirs[name][:-1] for name in ours)
