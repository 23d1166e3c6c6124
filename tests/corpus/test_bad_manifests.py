"""Each kind of bad manifest or age gives its message, and each odd but valid one is read; nothing else can happen."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.corpus import Corpus
from kidasr.corpus.formats import formats
from kidasr.corpus.manifest import ManifestError, Utterance, read_manifest
from kidasr.errors import KidasrError
from tests.bad_input import Row, assert_line
from tests.conftest import as_nobody, composed

DATA: dict[str, Any] = {
    **OmegaConf.to_container(composed("data=manifest", "data.train=x").data, resolve=True),  # type: ignore[dict-item]
}
del DATA["_target_"]
FIELDS = DATA["fields"]
ROW = {"audio_path": "a.flac", "text": "hello", "speaker_id": "s1"}
COLUMNS = "audio_path,text,speaker_id"
EXPECTED = f"expected: {'; '.join(one.expected for one in formats() if one.expected)}"
AGE_BUCKETS = "3-4, 5-6, 7-8, 9-10, 11-12, 13+, unknown (data.age_buckets=[...] sets the buckets)"


def line(**changed: Any) -> str:
    """A line of JSONL; a key whose value is ... is left out."""
    return json.dumps({key: value for key, value in {**ROW, **changed}.items() if value is not ...}) + "\n"


def with_manifests(folder: Path) -> None:
    folder.mkdir()
    for name in ("t.jsonl", "dev.csv", "README.md"):
        (folder / name).touch()


#: File name, and content (text, bytes, or a function of its path); if it works, the fields that are read.
MANIFESTS = {
    "no such file": Row(("gone.jsonl", None), f"FILE: no such file or folder; {EXPECTED}"),
    "an empty folder": Row(("m.jsonl", Path.mkdir), f"FILE: a folder in no known format; {EXPECTED}"),
    "a folder of manifests": Row(
        ("m", with_manifests), "FILE: a folder; expected: a manifest in it: FILE/dev.csv, FILE/t.jsonl"
    ),
    "CSV without a header": Row(
        ("m.csv", "a.flac,yes,s\nb.flac,no,s\n"),
        "FILE:2: field 'audio_path' is missing; this line has: a.flac, yes, s (is the first line a header?...",
    ),
    "a pipe": Row(("m.jsonl", os.mkfifo), f"FILE: neither a file nor a folder; {EXPECTED}"),
    "a name of 300 characters": Row(("m" * 300, None), "FILE: can't be read: File name too long"),
    "another extension": Row(("m.txt", "x"), f"FILE: unknown file type; {EXPECTED}"),
    "no bytes": Row(("m.jsonl", ""), "FILE: no utterances"),
    "empty lines only": Row(("m.jsonl", "\n \n"), "FILE: no utterances"),
    "CSV, a header only": Row(("m.csv", COLUMNS), "FILE: no utterances"),
    "malformed JSON": Row(
        ("m.jsonl", line() + "{oops"),
        "FILE:2: not JSON: Expecting property name enclosed in double quotes at column 2",
    ),
    "JSON cut short": Row(
        ("m.jsonl", line() + '{"audio_path": "a'), "FILE:2: not JSON: Unterminated string starting at at column 16"
    ),
    "a JSON key twice": Row(("m.jsonl", line()[:-2] + ', "text": "two"}'), "FILE:1: 'text' occurs twice; expected: once"),
    "a JSON list": Row(("m.jsonl", "[1]"), "FILE:1: list; expected: a JSON object, {...}, on each line"),
    "a whole JSON file, over several lines": Row(
        ("m.jsonl", json.dumps([ROW], indent=1)), "FILE:1: not JSON: Expecting value at column 1"
    ),
    "deeply nested brackets": Row(("m.jsonl", "[" * 100_000), "FILE:1: unreadable JSON: maximum recursion depth..."),
    "a number of 5000 digits": Row(
        ("m.jsonl", '{"age": ' + "9" * 5000 + "}"), "FILE:1: unreadable JSON: Exceeds the limit (4300 digits)..."
    ),
    "invalid UTF-8": Row(
        ("m.jsonl", "".join(line(utterance_id=n) for n in range(3000)).encode() + b'{"text": "\xff"}\n'),
        "FILE:3001: not UTF-8: invalid start byte",
    ),
    "UTF-16": Row(("m.jsonl", line().encode("utf-16")), "FILE:1: UTF-16; expected: UTF-8"),
    "half a surrogate pair": Row(
        ("m.jsonl", line(text="\ud83d!")), "FILE:1: '\\ud83d' is half a surrogate pair; expected: text"
    ),
    "audio_path missing": Row(
        ("m.jsonl", line(audio_path=...)),
        "FILE:1: field 'audio_path' is missing; this line has: text, speaker_id (data.fields.audio_path=NAME takes another)",
    ),
    "text missing": Row(("m.jsonl", line(text=...)), "FILE:1: field 'text' is missing; this line has: audio_path, ..."),
    "text null": Row(("m.jsonl", line(text=None)), "FILE:1: text=None; expected: a string"),
    "text a number": Row(("m.jsonl", line(text=3)), "FILE:1: text=3; expected: a string"),
    "speaker_id missing": Row(
        ("m.jsonl", line(speaker_id=...)),
        "FILE:1: field 'speaker_id' is missing; this line has: audio_path, text "
        "(data.fields.speaker_id=NAME takes another, data.speakers=unknown does without speakers)",
    ),
    "speaker_id missing in some lines": Row(
        ("m.jsonl", line() + line(audio_path="b.flac", speaker_id=None)),
        "FILE:2: field 'speaker_id' is missing or empty, but earlier lines have it; expected: a speaker in each line, or in "
        "none (with data.speakers=unknown)",
    ),
    "speaker_id a list": Row(("m.jsonl", line(speaker_id=[1])), "FILE:1: speaker_id=[1]; expected: a string"),
    "duration_sec in words": Row(
        ("m.jsonl", line(duration_sec="long")), "FILE:1: duration_sec='long'; expected: a number from 0 up, or null"
    ),
    "a value of 10 MB in the wrong field": Row(
        ("m.jsonl", line(duration_sec="x" * 10_000_000)),
        "FILE:1: duration_sec='xxx... [... 9999502 characters ...] ...xxx'; expected: a number from 0 up, or null",
    ),
    "an id twice": Row(
        ("m.jsonl", line(utterance_id="u") * 2),
        "FILE:2: utterance_id 'u' is already used at FILE:1; expected: unique ids",
    ),
    "a recording twice, without ids": Row(
        ("m.jsonl", line() * 2), "FILE:2: utterance_id 'a.flac' is already used at FILE:1; expected: unique ids"
    ),
    "CSV, a column missing": Row(
        ("m.csv", "audio_path,words,speaker_id\na,hello,s\n"),
        "FILE:2: field 'text' is missing; this line has: audio_path, words, speaker_id (data.fields.text=...",
    ),
    "CSV, a column twice": Row(
        ("m.csv", f"{COLUMNS},text\na,b,c,d\n"), "FILE:1: column 'text' occurs twice; expected: once"
    ),
    "CSV, too few columns in a line": Row(("m.csv", f"{COLUMNS}\na,b\n"), "FILE:2: 2 columns; expected: the header's 3"),
    "CSV, too many columns in a line": Row(
        ("m.csv", f"{COLUMNS}\na,yes, two,s\n"), "FILE:2: 4 columns; expected: the header's 3"
    ),
    "CSV, an unclosed quote": Row(
        ("m.csv", f'{COLUMNS}\na,b,c\nd,"e,f\ng,h,i\n'),
        "FILE:3: not CSV: unexpected end of data; the record starts here",
    ),
    "CSV, text after a quote": Row(
        ("m.csv", f'{COLUMNS}\na,"b"x,c\n'), "FILE:2: not CSV: ',' expected after '\"'; the record starts here"
    ),
    "two columns that could be the recording": Row(
        ("m.jsonl", line(audio_path=..., path="a", file="b")),
        "FILE:1: audio_path could be the column path, file; expected: data.fields.audio_path=path or ...=file",
    ),
    "a speaker called NA": Row(
        ("m.jsonl", line(speaker_id="NA")), "FILE:1: speaker_id='NA', which means none; expected: a value"
    ),
    "a part that ends before it starts": Row(
        ("m.jsonl", line(start=2, end=1)), "FILE:1: end=1 with a start of 2 s; expected: an end after the start"
    ),
    "a part of no length": Row(
        ("m.jsonl", line(offset=2, duration=0)), "FILE:1: duration=0 with a start of 2 s; expected: an end after the start"
    ),
    "a part that starts before its recording": Row(
        ("m.jsonl", line(start=-1, end=1)),
        "FILE:1: start=-1; expected: seconds, a number from 0 up, or null (data.fields.start=none if it is no time)",
    ),
    "start and offset": Row(
        ("m.jsonl", line(start=1, offset=1, duration=1)),
        "FILE:1: start=1 and offset=1; expected: one of them, in seconds from the start of the recording",
    ),
    "an end and a duration that contradict each other": Row(
        ("m.jsonl", line(start=1, end=2, duration=3)),
        "FILE:1: end - start=1 and duration=3 contradict each other; expected: the same length of the utterance, in seconds",
    ),
    "the same part twice, without ids": Row(
        ("m.jsonl", line(start=1, end=2) * 2),
        "FILE:2: utterance_id 'a.flac-1.0-2.0' is already used at FILE:1; expected: unique ids",
    ),
    # odd but valid
    "CSV with semicolons, tabs or |": Row(
        ("m.csv", "audio_path;text;speaker_id\na;yes, two|three;c\n", {"text": "yes, two|three", "speaker_id": "c"}),
        note="the delimiter that fits the header",
    ),
    "TSV with quotes in a text": Row(
        ("m.tsv", 'audio_path\ttext\tspeaker_id\na\t"Yes," she said, "two\tc\n', {"text": '"Yes," she said, "two'})
    ),
    "CSV with spaces after its commas": Row(
        ("m.csv", "audio_path, text, speaker_id\na, b, c\n", {"text": "b", "speaker_id": "c"}), note="without the spaces"
    ),
    '"NA" in a text': Row(("m.csv", f"{COLUMNS}\na,NA,c\n", {"text": "NA"}), note="a word"),
    '"nan", "null", "None", "NA" in other columns': Row(
        (
            "m.csv",
            f"{COLUMNS},gender,duration_sec,split,start\na,b,c,nan,NA,None,null\n",
            {"gender": None, "duration_sec": None, "split": None, "start_sec": None},
        ),
        note="none",
    ),
    "other tools' names: path, sentence, client_id": Row(
        ("m.csv", "client_id,path,sentence\na,b,c\n", {"speaker_id": "a", "audio_path": "FOLDER/b", "text": "c"}),
        note="used as is, and the log says so",
    ),
    "start and end": Row(
        (
            "m.jsonl",
            line(start=1, end=2.5),
            {"start_sec": 1, "end_sec": 2.5, "duration_sec": 1.5, "utterance_id": "a.flac-1.0-2.5"},
        ),
        note="a part of the recording",
    ),
    "offset and duration": Row(
        ("m.jsonl", line(offset=1, duration=1.5), {"start_sec": 1, "end_sec": 2.5, "duration_sec": 1.5}),
        note="a part of the recording",
    ),
    "a start alone": Row(
        ("m.jsonl", line(start=1, end=None), {"start_sec": 1, "end_sec": None, "duration_sec": None}), note="to the end"
    ),
    "a duration alone": Row(
        ("m.jsonl", line(duration=2), {"start_sec": None, "end_sec": None, "duration_sec": 2}),
        note="the length of the whole recording",
    ),
    "a byte order mark": Row(("m.jsonl", "\ufeff" + line(), {"text": "hello"}), note="ignored"),
    "Windows line ends": Row(("m.jsonl", line().replace("\n", "\r\n"), {"text": "hello"})),
    "CSV with a byte order mark and Windows line ends": Row(
        ("m.csv", f"\ufeff{COLUMNS}\r\na,b,c\r\n", {"text": "b", "speaker_id": "c"})
    ),
    "CSV with quotes, commas and line ends in a text": Row(
        ("m.csv", f'{COLUMNS}\na,"yes, ""two""\nlines",c\n', {"text": 'yes, "two"\nlines'})
    ),
    "CSV with a text of 10 MB": Row(("m.csv", f"{COLUMNS}\na,{'x' * 10_000_000},c\n", {"text": "x" * 10_000_000})),
    "empty lines in between": Row(("m.jsonl", f"\n{line()}\n", {"text": "hello"}), note="ignored"),
    "no newline at the end": Row(("m.jsonl", line().rstrip(), {"text": "hello"})),
    "unknown columns": Row(
        ("m.jsonl", line(session="s1", noise=[1]), {"extra": {"session": "s1", "noise": [1]}}),
        note="kept, under `extra` in `predictions.jsonl`",
    ),
    "unknown columns of 10 MB": Row(
        ("m.jsonl", line(more="x" * 10_000_000), {"extra": {"more": "x" * 10_000_000}}), note="kept too"
    ),
    "ids that are numbers": Row(
        ("m.jsonl", line(utterance_id=7, speaker_id=0), {"utterance_id": "7", "speaker_id": "0"}), note="taken as text"
    ),
    "an empty text": Row(("m.jsonl", line(text=""), {"text": ""}), note="an utterance without words"),
    "a path with .., or an absolute one": Row(
        ("m.jsonl", line(audio_path="../x/a.wav"), {"audio_path": "FOLDER/../x/a.wav"}), note="opened only as audio"
    ),
    "right-to-left text, emoji, combining accents": Row(
        ("m.jsonl", line(text="مرحبا 🎉 e\u0301"), {"text": "مرحبا 🎉 e\u0301"})
    ),
}

#: Age fields in the manifest, and the resulting bucket.
AGES = {
    "-1": Row({"age": -1}, "FILE:1: age=-1; expected: years from 0 to 120, or null"),
    "300": Row({"age": 300}, "FILE:1: age=300; expected: years from 0 to 120, or null (months? data.age_unit=months)"),
    '`"six"`': Row(
        {"age": "six"}, "FILE:1: age='six'; expected: years from 0 to 120, or null (data.age_order=[...] lists other labels)"
    ),
    '`"7 years"`': Row(
        {"age": "7 years"}, "FILE:1: age='7 years'; expected: years from 0 to 120, or null (a number without..."
    ),
    '`"5-6 yrs"`': Row({"age": "5-6 yrs"}, "FILE:1: age='5-6 yrs'; expected: years from 0 to 120, or null (data..."),
    "`true`": Row({"age": True}, "FILE:1: age=True; expected: years from 0 to 120, or null"),
    '`"1_0"`': Row({"age": "1_0"}, "FILE:1: age='1_0'; expected: years from 0 to 120, or null (data.age_order..."),
    "NaN": Row(({"age": float("nan")}, UNKNOWN), note="unknown"),
    '`"nan"`, `"null"`, `"None"`, `"NA"`': Row(({"age": "NA", "age_bucket": "nan"}, UNKNOWN), note="unknown"),
    "a number of 400 digits": Row(
        {"age": 10**400}, "FILE:1: age=1000...0; expected: years from 0 to 120, or null (months?..."
    ),
    "a bucket that is not one of the run's": Row(
        {"age_bucket": "5-7"}, f"FILE:1: age_bucket='5-7'; expected: {AGE_BUCKETS}"
    ),
    "a bucket that is not a string": Row({"age_bucket": ["3-4"]}, f"FILE:1: age_bucket=['3-4']; expected: {AGE_BUCKETS}"),
    "missing": Row(({}, UNKNOWN), note="unknown"),
    "null": Row(({"age": None}, UNKNOWN), note="unknown"),
    '`"unknown"`': Row(({"age": "unknown"}, UNKNOWN), note="unknown"),
    "empty": Row(({"age": "", "age_bucket": ""}, UNKNOWN), note="unknown"),
    "1, younger than every bucket": Row(({"age": 1}, UNKNOWN), note="unknown"),
    '`"6.9"`': Row(({"age": "6.9"}, "5-6"), note="5-6"),
    "6, and an unknown bucket": Row(({"age": 6, "age_bucket": "unknown"}, "5-6"), note="5-6"),
    "6, and a bucket that is not one of the run's": Row(({"age": 6, "age_bucket": "5-7"}, "5-6"), note="5-6"),
    "40": Row(({"age": 40}, "13+"), note="13+"),
}


#: The same with data.age_order=[K,1st,2nd].
LABELS = {
    "a label that is not listed": Row(
        {"age": "3rd"},
        "FILE:1: age='3rd'; expected: K, 1st, 2nd, or null (the labels of data.age_order or data.age_years)",
    ),
    "a label in small letters": Row({"age_bucket": "k"}, "FILE:1: age_bucket='k'; expected: K, 1st, 2nd, or null (the..."),
    "a number": Row({"age": 6.5}, "FILE:1: age=6.5; expected: K, 1st, 2nd, or null (the..."),
    "a list": Row({"age": ["K"]}, "FILE:1: age=['K']; expected: K, 1st, 2nd, or null (the..."),
    "a label as age": Row(({"age": "1st"}, "1st"), note="its bucket"),
    "a label as age_bucket, and a number as age": Row(({"age": 6.5, "age_bucket": "1st"}, "1st"), note="the label"),
    "null": Row(({"age": None}, UNKNOWN), note="unknown"),
}


def read(path: Path, order: list[str] | None = None) -> list[Utterance]:
    return read_manifest(path, FIELDS, AgeBuckets(order=order))


def write(folder: Path, row: Row) -> Path:
    name, content, *_ = row.given
    path = folder / name
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def split(table: dict[str, Row], works: bool) -> dict[str, Any]:
    """Arguments of ``parametrize`` for the rows that work, or for those that do not."""
    chosen = {what: row for what, row in table.items() if (row.line is None) == works}
    return {"argvalues": list(chosen.values()), "ids": list(chosen)}


@pytest.mark.parametrize("row", **split(MANIFESTS, works=False))
def test_a_bad_manifest_is_one_line(tmp_path: Path, row: Row) -> None:
    path = write(tmp_path, row)
    with pytest.raises(ManifestError) as caught:
        read(path)
    assert row.line is not None
    assert_line(str(caught.value), row.line, path)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("row", **split(MANIFESTS, works=True))
def test_an_odd_manifest_is_read(tmp_path: Path, row: Row) -> None:
    (utterance,) = read(write(tmp_path, row))
    for field, value in row.given[2].items():
        expected = value.replace("FOLDER", str(tmp_path)) if isinstance(value, str) else value
        assert getattr(utterance, field) == expected


@pytest.mark.parametrize("row", **split(AGES, works=False))
def test_a_bad_age_is_one_line(tmp_path: Path, row: Row) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line(**row.given), encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read(path)
    assert row.line is not None
    assert_line(str(caught.value), row.line, path)


@pytest.mark.parametrize("row", **split(AGES, works=True))
def test_an_age_gives_its_bucket(tmp_path: Path, row: Row) -> None:
    fields, bucket = row.given
    path = tmp_path / "m.jsonl"
    path.write_text(line(**fields), encoding="utf-8")
    assert read(path)[0].age_bucket == bucket


@pytest.mark.parametrize("row", LABELS.values(), ids=LABELS)
def test_a_label_is_a_bucket_or_one_line(tmp_path: Path, row: Row) -> None:
    path = tmp_path / "m.jsonl"
    fields, bucket = (row.given, "") if row.line else row.given
    path.write_text(line(**fields), encoding="utf-8")
    if row.line is None:
        assert read(path, ["K", "1st", "2nd"])[0].age_bucket == bucket
        return
    with pytest.raises(ManifestError) as caught:
        read(path, ["K", "1st", "2nd"])
    assert_line(str(caught.value), row.line, path)


def test_a_manifest_without_permission_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line(), encoding="utf-8")
    path.chmod(0)
    with as_nobody(), pytest.raises(ManifestError) as caught:
        read(path)
    assert_line(str(caught.value), "FILE: can't be read: Permission denied", path)


# Arbitrary input

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
likely = st.sampled_from(["a.wav", "5-6", "unknown", "", "train", 3, 7.5, -1, None, "\ud800", "a\nb", "\u2028"])
rows = st.dictionaries(st.sampled_from(list(FIELDS)) | st.text(max_size=5), likely | json_values, max_size=10)
whole_rows = st.builds(lambda row, rest: {**row, **rest}, st.fixed_dictionaries(dict.fromkeys(ROW, likely)), rows)
several = st.lists(whole_rows, min_size=2, max_size=6).map(
    lambda some: [{**row, "utterance_id": number, "text": "a", "audio_path": "b"} for number, row in enumerate(some)]
)
jsonl = (st.lists(rows | whole_rows, max_size=4) | several).map(
    lambda some: "\n".join(json.dumps(row) for row in some).encode()
)


@st.composite
def csv_files(draw: Callable[..., Any]) -> bytes:
    """Files as a spreadsheet writes them, possibly damaged."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])))
    cell = st.sampled_from(list(FIELDS)) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    for cells in draw(st.lists(st.lists(cell, max_size=6), max_size=4)):
        writer.writerow(cells)
    content = file.getvalue().encode()
    place = draw(st.integers(0, len(content)))
    return content[:place] + draw(st.binary(max_size=3)) + content[place:]


@pytest.mark.any_input
@given(ending=st.sampled_from(["jsonl", "csv"]), content=st.one_of(st.binary(max_size=200), jsonl, csv_files()))
def test_any_manifest_is_read_whole_or_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, ending: str, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{ending}"
    path.write_bytes(content)
    try:
        utterances = read(path)
    except KidasrError as error:
        assert str(error).startswith(str(path))
        assert len(str(error).splitlines()) == 1 and str(error).isprintable()
    else:
        if ending == "jsonl":
            assert len(utterances) == sum(bool(one.strip()) for one in content.decode("utf-8-sig").split("\n"))
        json.dumps([utterance.text for utterance in utterances], ensure_ascii=False).encode()
        try:
            sets = Corpus(**{**DATA, "train": str(path)}).load()
        except KidasrError as error:
            assert str(error).isprintable()
        else:
            assert sum(map(len, sets.named().values())) == len(utterances)
