import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import ManifestError, read_manifest
from tests.conftest import composed

FIELDS = {str(name): str(name) for name in composed().data.fields}
ROW = {"audio_path": "a.flac", "text": "hello", "speaker_id": "s1"}


def read(path: Path, **fields: str) -> Any:
    return read_manifest(path, {**FIELDS, **fields}, AgeBuckets())


def test_jsonl_with_the_least_and_with_all_fields(tmp_path: Path) -> None:
    rich = {**ROW, "audio_path": "b.flac", "utterance_id": "u2", "age": 6.5, "duration_sec": 2, "gender": "f", "extra": [1]}
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n\n{json.dumps(rich)}\n", encoding="utf-8")
    first, second = read(path)
    assert (first.utterance_id, first.age_bucket, first.age, first.duration_sec) == ("a.flac", "unknown", None, None)
    assert first.audio_path == str(tmp_path / "a.flac")
    assert (second.utterance_id, second.age_bucket, second.duration_sec, second.gender) == ("u2", "5-6", 2.0, "f")
    assert second.source == f"{path}:3"


def test_csv_with_quotes_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes('\ufeffaudio_path,text,speaker_id,age\r\na.wav,"yes, ""two""",7,4\r\nb.wav,,7,\r\n'.encode())
    first, second = read(path)
    assert (first.text, first.speaker_id, first.age_bucket) == ('yes, "two"', "7", "3-4")
    assert (second.text, second.age_bucket) == ("", "unknown")


def test_the_pasketti_challenges_names_and_buckets(tmp_path: Path) -> None:
    data = composed("data=pasketti", "data.train=x").data
    row = {
        "utterance_id": "U_1",
        "child_id": "C_1",
        "session_id": "S",
        "audio_path": "audio/U_1.flac",
        "audio_duration_sec": 1.5,
        "age_bucket": "8-11",
        "orthographic_text": "a dog",
    }
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    fields = OmegaConf.to_container(data.fields)
    assert isinstance(fields, dict)
    (utterance,) = read_manifest(path, fields, AgeBuckets(data.age_buckets))  # type: ignore[arg-type]
    assert (utterance.speaker_id, utterance.text, utterance.age_bucket) == ("C_1", "a dog", "8-11")
    assert utterance.duration_sec == 1.5


BAD = {
    "not json": ("{oops", ":1: not JSON: "),
    "not an object": ("[1]", ":1: list; accepted: a JSON object"),
    "no audio": (json.dumps({"text": "a", "speaker_id": "s"}), ":1: field 'audio_path' is missing; this line has: text, sp"),
    "no text": (json.dumps({"audio_path": "a", "speaker_id": "s"}), ":1: field 'text' is missing"),
    "no speaker": (json.dumps({"audio_path": "a", "text": "s"}), ":1: field 'speaker_id' is missing"),
    "text a number": (json.dumps({**ROW, "text": 3}), ":1: text=3; accepted: a text"),
    "negative age": (json.dumps({**ROW, "age": -1}), ":1: age=-1; accepted: a number from 0 up, or null"),
    "age in words": (json.dumps({**ROW, "age": "six"}), ":1: age='six'; accepted: a number"),
    "bucket no text": (json.dumps({**ROW, "age_bucket": ["3-4"]}), ":1: age_bucket=['3-4']; accepted: 3-4, 5-6"),
    "age of 400 digits": (json.dumps({**ROW, "age": 10**400}), ":1: age=1000"),
    "unknown bucket": (json.dumps({**ROW, "age_bucket": "5-7"}), ":1: age_bucket='5-7'; accepted: 3-4, 5-6"),
    "same id twice": (f"{json.dumps(ROW)}\n{json.dumps(ROW)}", ":2: utterance_id 'a.flac' was used before, at "),
    "empty": ("\n", ": no utterance in it"),
    "not utf-8": (b"\xff\xfe{", ": not text in UTF-8"),
}


@pytest.mark.parametrize(("content", "line"), BAD.values(), ids=BAD)
def test_a_bad_manifest_is_one_line_with_file_and_line(tmp_path: Path, content: str | bytes, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ManifestError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line"), [("gone.jsonl", "no such file"), ("", "no such file"), ("m.txt", "not a manifest")]
)
def test_what_is_no_manifest_file(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "m.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ManifestError, match=line):
        read(tmp_path / name)


def test_a_csv_line_with_too_few_columns(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("audio_path,text,speaker_id\na,b\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"m\.csv:2: not as many columns as the header's 3"):
        read(path)


def test_unknown_ages_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    ages: list[dict[str, Any]] = [{}, {"age": None}, {"age": "unknown"}, {"age": 1}]
    rows = [{**ROW, "audio_path": str(number), **age} for number, age in enumerate(ages)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert {utterance.age_bucket for utterance in read(path)} == {"unknown"}


def test_a_csv_without_the_text_column_is_not_a_csv_of_empty_texts(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("audio_path,transcript,speaker_id\na,hello,s\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"m\.csv:2: field 'text' is missing; this line has: audio_path, transcript"):
        read(path)
    assert read(path, text="transcript")[0].text == "hello"


def test_a_numeric_age_wins_over_an_unknown_bucket(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({**ROW, "age": 6, "age_bucket": "unknown"}), encoding="utf-8")
    assert read(path)[0].age_bucket == "5-6"
