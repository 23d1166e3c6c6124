import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import read_manifest
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
    assert first.extra is None and second.extra == {"extra": [1]}


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


def test_names_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("audio_path,transcript,speaker_id\na,hello,s\n", encoding="utf-8")
    assert read(path, text="transcript")[0].text == "hello"
