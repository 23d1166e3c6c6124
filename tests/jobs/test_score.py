"""Other recognisers' files become runs: the same numbers as kidasr's own, and what is refused."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kidasr.errors import KidasrError
from kidasr.jobs.compare import Compare
from kidasr.report.options import ReportOptions
from tests.conftest import ROOT, job, read_json, read_jsonl

#: Word errors: 1 of 3 words, none of 2, 2 of 2 (one is missing, one is inserted), of three children.
SAID = {
    "kim-1": ("kim", 4, "Two red cats.", "two red hats"),
    "kim-2": ("kim", 4, "a colour", "A color"),
    "lee-1": ("lee", 9, "big dog", "dog the dog"),
    "sam-1": ("sam", None, "no", "no"),
}


def manifest(folder: Path, **fields: Any) -> Path:
    path = folder / "V.jsonl"
    rows = [
        {"audio_path": f"wav/{name}.wav", "utterance_id": name, "speaker_id": speaker, "age": age, "text": text, **fields}
        for name, (speaker, age, text, _) in SAID.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ctm(rows: Mapping[str, str]) -> str:
    """Each word lasts a second; the last line comes first."""
    lines = [
        f"{name} 1 {place}.00 0.50 {word} 0.9" for name, text in rows.items() for place, word in enumerate(text.split())
    ]
    return "\n".join([";; by a recogniser", *reversed(lines)])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    import io

    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([columns, *rows])
    return file.getvalue()


HEARD = {name: heard for name, (_, _, _, heard) in SAID.items()}
FILES = {
    "h.trn": "".join(f"{text} ({name})\n" for name, text in HEARD.items()),
    "h.ctm": ctm(HEARD),
    "h.txt": "".join(f"{name} {text}\n" for name, text in HEARD.items()),
    "h.csv": table(["utt_id", "hyp"], [*HEARD.items()]),
    "nemo.json": "".join(
        json.dumps({"audio_filepath": f"/data/{name}.wav", "text": SAID[name][2], "pred_text": text}) + "\n"
        for name, text in HEARD.items()
    ),
    "h.tsv": table(["path", "sentence"], [[f"other/{name}.mp3", text] for name, text in HEARD.items()], "\t"),
}


def scored(folder: Path, *overrides: str) -> Any:
    job(folder, "job=score", *overrides).run()
    return read_json(folder / "metrics.json")


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_scored_against_a_manifest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    metrics = scored(tmp_path / "run", f"transcripts={tmp_path / name}", f"data.validation={manifest(tmp_path)}")
    final = metrics["final"]
    assert (final["words"], final["wer"], final["empty_references"]) == (8, 3 / 8, 0)
    assert {age: one["wer"] for age, one in final["by_age"].items()} == {"3-4": 1 / 5, "9-10": 1.0, "unknown": 0.0}
    assert (metrics["name"], metrics["rate"], metrics["speakers"]) == (Path(name).stem, "WER", "known")
    assert [one["utterance_id"] for one in read_jsonl(tmp_path / "run" / "predictions.jsonl")] == [*SAID]
    assert (tmp_path / "run" / "report.html").is_file() and not (tmp_path / "run" / "learning_curve.png").exists()


def test_references_speakers_and_ages_may_be_in_the_file_itself_or_in_another(tmp_path: Path) -> None:
    rows = [[name, *map(str, one)] for name, one in SAID.items()]
    (tmp_path / "all.csv").write_text(table(["id", "child", "age", "ref", "prediction"], rows), encoding="utf-8")
    (tmp_path / "h.trn").write_text(FILES["h.trn"], encoding="utf-8")
    (tmp_path / "r.trn").write_text("".join(f"{one[2]} ({name})\n" for name, one in SAID.items()), encoding="utf-8")
    whole = scored(tmp_path / "a", f"transcripts={tmp_path / 'all.csv'}", "data.fields.speaker_id=child")
    assert (whole["final"]["wer"], whole["speakers"], len(whole["final"]["by_age"])) == (3 / 8, "known", 3)
    predictions = read_jsonl(tmp_path / "a" / "predictions.jsonl")
    assert [one["extra"] for one in predictions] == [None] * 4 and predictions[0]["speaker_id"] == "kim"
    alone = scored(tmp_path / "b", f"transcripts={tmp_path / 'h.trn'}", f"references={tmp_path / 'r.trn'}", "name=vendor")
    assert (alone["final"]["wer"], alone["speakers"], [*alone["final"]["by_age"]]) == (3 / 8, "unknown", ["unknown"])
    again = scored(tmp_path / "c", f"transcripts={tmp_path / 'h.trn'}", f"references={tmp_path / 'b'}", "report=none")
    assert (again["final"], again["speakers"]) == (alone["final"], "unknown")
    page = (tmp_path / "b" / "report.html").read_text(encoding="utf-8")
    assert "kidasr: vendor" in page and "speakers are unknown" in page and "before training" not in page


def test_words_of_a_ctm_go_to_the_part_of_the_recording_that_they_are_in(tmp_path: Path) -> None:
    parts = [("a", 0, 2, "two cats"), ("b", 2, 2.9, "red"), ("c", 10, None, "dog")]
    rows = [
        {"audio_path": "long.wav", "utterance_id": name, "speaker_id": name, "start": start, "end": end, "text": text}
        for name, start, end, text in parts
    ]
    (tmp_path / "V.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = [(0, "two"), (1, "cats"), (1.9, "red"), (5, "noise"), (12, "dog")]
    (tmp_path / "h.ctm").write_text("".join(f"long A {start} 0.4 {word}\n" for start, word in words), encoding="utf-8")
    final = scored(tmp_path / "run", f"transcripts={tmp_path / 'h.ctm'}", f"data.validation={tmp_path / 'V.jsonl'}")["final"]
    assert (final["wer"], final["words"]) == (0, 4), "the middle of red is at 2.1 s; noise is at no part"


def test_characters_are_counted_where_a_run_counts_them(tmp_path: Path) -> None:
    rows = [{"id": "a", "ref": "我们去公园", "hyp": "我们去公司", "speaker_id": "s"}]
    (tmp_path / "h.jsonl").write_text(json.dumps(rows[0]), encoding="utf-8")
    metrics = scored(tmp_path / "run", f"transcripts={tmp_path / 'h.jsonl'}", "language=zh")
    assert (metrics["rate"], metrics["final"]["wer"]) == ("CER", 1 / 5)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of kidasr with two sets."""
    folder = tmp_path_factory.mktemp("own")
    job(folder, "debug=smoke", "report=none").run()
    return folder


def test_kidasrs_own_transcripts_have_the_runs_rates_to_the_last_digit_and_compare_as_equal(
    own: Path, tmp_path: Path
) -> None:
    ran = read_json(own / "metrics.json")
    given = "{validation: %s, adults: %s}" % (own / "predictions.jsonl", own / "predictions_adults.jsonl")  # noqa: UP031
    whole = scored(tmp_path / "whole", f"transcripts={given}")
    rows = [[one["utterance_id"], one["hypothesis"]] for one in read_jsonl(own / "predictions.jsonl")]
    (tmp_path / "other.csv").write_text(table(["id", "hypothesis"], rows), encoding="utf-8")
    ids_alone = scored(tmp_path / "ids", f"transcripts={tmp_path / 'other.csv'}", f"references={own}")
    assert whole["final"] == ids_alone["final"] == ran["final"]
    assert whole["tests"]["adults"]["final"] == ran["tests"]["adults"]["final"]
    ours, theirs = (read_jsonl(folder / "predictions.jsonl") for folder in (own, tmp_path / "whole"))
    assert ours == theirs
    runs = [str(own), str(tmp_path / "ids"), str(tmp_path / "whole")]
    Compare(str(tmp_path / "comparison"), runs, None, None, ReportOptions(True, 10, 0)).run()
    found = read_json(tmp_path / "comparison" / "comparison.json")
    assert {pair["run"]: (pair["delta_wer"], pair["question"]) for pair in found["pairs"]} == {
        "other": (0, "training and system"),
        "predictions": (0, "training and system"),
    }
    Compare(str(tmp_path / "systems"), runs[1:], None, None, ReportOptions(True, 10, 0)).run()
    (pair,) = read_json(tmp_path / "systems" / "comparison.json")["pairs"]
    assert (pair["baseline"], pair["question"], pair["verdict"], pair["ci95"]) == ("other", "systems", "undecided", [0, 0])


def test_another_system_on_a_runs_set_gets_an_honest_verdict(own: Path, tmp_path: Path) -> None:
    """Two files, of which one is right everywhere: these two systems differ, whatever a second seed would do."""
    sure = {one["utterance_id"]: one["reference"] for one in read_jsonl(own / "predictions.jsonl")}
    for name, wrong in (("right", 0), ("wrong", 1)):
        text = "".join(f"{text} {'oh' * wrong} ({key})\n" for key, text in sure.items())
        (tmp_path / f"{name}.trn").write_text(text, encoding="utf-8")
        scored(tmp_path / name, f"transcripts={tmp_path / name}.trn", f"references={own}")
    Compare(
        str(tmp_path / "c"), [str(tmp_path / "right"), str(tmp_path / "wrong")], None, None, ReportOptions(True, 10, 0)
    ).run()
    (pair,) = read_json(tmp_path / "c" / "comparison.json")["pairs"]
    assert (pair["question"], pair["verdict"], pair["spread"]) == ("systems", "worse", None)
    page = (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    for said in ("these two systems, for other speakers: +", "not which way of training is better", "worse (these systems)"):
        assert said in page, said


def test_missing_transcripts_are_refused_or_counted(tmp_path: Path) -> None:
    (tmp_path / "h.trn").write_text("two red cats (kim-1)\nno (sam-1)\n", encoding="utf-8")
    keys = (f"transcripts={tmp_path / 'h.trn'}", f"data.validation={manifest(tmp_path)}")
    with pytest.raises(
        KidasrError, match=r"h\.trn: no transcript of 2 of 4 utterances of set validation: 'kim-2', 'lee-1'; "
    ):
        scored(tmp_path / "a", *keys)
    metrics = scored(tmp_path / "b", *keys, "missing=empty")
    assert (metrics["transcripts"]["validation"]["missing"], metrics["final"]["deletions"], metrics["final"]["wer"]) == (
        2,
        4,
        0.5,
    )
    assert "2 of set validation" in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")


#: A file's name, its content, and what is said; FILE is its path.
REFUSED = {
    "repeated": ("h.trn", b"a (kim-1)\nb (kim-1)\n", "FILE:2: 'kim-1' is already at FILE:1; expected: each utterance once"),
    "unknown": (
        "h.trn",
        b"a (kim-1)\nb (kim-9)\n",
        "FILE:2: 1 of 2 transcripts are of no utterance of set validation: 'kim-9'; expected: ids such as 'kim-1', 'kim-2'",
    ),
    "empty": ("h.trn", b"\n;; nothing\n", "FILE: no transcripts"),
    "Latin-1": ("h.trn", b"ok (kim-1)\nna\xefve (kim-2)\n", "FILE:2: not UTF-8: invalid continuation byte"),
    "UTF-16": ("h.csv", "id,hyp\nkim-1,a\n".encode("utf-16"), "FILE:1: UTF-16; expected: UTF-8"),
    "no id": (
        "h.trn",
        b"two red cats\n",
        "FILE:1: no utterance id at the end: 'two red cats'; expected: the words (utterance-id)",
    ),
    "alternatives": (
        "h.trn",
        b"{ uh / um } a (kim-1)\n",
        "FILE:1: alternatives { a / b } are not scored; expected: one of them",
    ),
    "ctm": (
        "h.ctm",
        b"kim-1 1 0.0 two\n",
        "FILE:1: 4 columns; expected: recording channel start duration word [confidence]",
    ),
    "ctm times": ("h.ctm", b"kim-1 1 -1 x two\n", "FILE:1: start -1, duration x; expected: seconds, from 0 up"),
    "two channels": (
        "h.ctm",
        b"kim-1 A 0 1 two\nkim-1 B 0 1 two\n",
        "FILE:2: channel B of kim-1, which has channel A at FILE:1; expected: one channel of each recording",
    ),
    "no column": (
        "h.csv",
        b"id,words\nkim-1,two\n",
        "FILE:2: no hypothesis; this line has: id, words (fields.hypothesis=NAME says which column it is)",
    ),
    "null": ("h.jsonl", b'{"id": "kim-1", "hyp": null}', 'FILE:1: hyp=None; expected: a text ("" for no words)'),
    "type": (
        "h.docx",
        b"",
        "FILE: unknown file type; expected: a file ending in .jsonl, .csv, .tsv, .trn, .ctm or .txt (Kaldi's text)",
    ),
    "gone": (
        "h.trn",
        None,
        "FILE: no such file; expected: a file ending in .jsonl, .csv, .tsv, .trn, .ctm or .txt (Kaldi's text)",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_can_not_be_scored_is_one_line(tmp_path: Path, what: str) -> None:
    name, content, line = REFUSED[what]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KidasrError) as error:
        scored(tmp_path / "run", f"transcripts={path}", f"data.validation={manifest(tmp_path)}")
    assert str(error.value) == line.replace("FILE", str(path))
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ("transcripts=FILE",),
            "FILE: no references; expected: a column reference, data.validation=MANIFEST, or",
        ),
        (
            ("transcripts=FILE", "references=FILE", "data.test=T.csv"),
            "references=FILE: not with data.test; expected: one of them",
        ),
        (
            ("transcripts=FILE", "references=FILE", "language=klingon"),
            "language=klingon: Whisper does not know this language",
        ),
        (
            ("transcripts={adults: FILE}", "references=FILE"),
            "transcripts.adults: references has no such set; expected: validation",
        ),
        (
            ("transcripts=FILE", "references={a: FILE, b: FILE}"),
            "transcripts=FILE: of which set? references has a, b; expected: ",
        ),
        (
            ("transcripts={train: FILE}", "references=FILE"),
            "transcripts.train: not the name of a scored set; expected: validation",
        ),
    ],
)
def test_what_is_not_clear_is_one_line(tmp_path: Path, overrides: Sequence[str], line: str) -> None:
    path = tmp_path / "h.trn"
    path.write_text("a (u)\n", encoding="utf-8")
    with pytest.raises(KidasrError) as error:
        scored(tmp_path / "run", *(one.replace("FILE", str(path)) for one in overrides))
    assert str(error.value).startswith(line.replace("FILE", str(path))) and "\n" not in str(error.value)


def test_from_the_command_line_without_torch(tmp_path: Path) -> None:
    """Several files are compared; the same command again scores again, since a file may have changed."""
    for name, text in (("a", FILES["h.trn"]), ("b", FILES["h.trn"].replace("hats", "cats"))):
        (tmp_path / f"{name}.trn").write_text(text, encoding="utf-8")
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['run.py', '--multirun', 'job=score', 'transcripts={tmp_path}/a.trn,{tmp_path}/b.trn',"
        f" 'data.validation={manifest(tmp_path)}', 'hydra.sweep.dir={tmp_path}/sweep']\n"
        f"runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (pair,) = read_json(tmp_path / "sweep" / "comparison.json")["pairs"]
    assert (pair["baseline"], pair["run"], pair["delta_wer"]) == ("a", "b", pytest.approx(-1 / 8))
