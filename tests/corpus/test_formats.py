"""The same ten utterances in every format are the same utterances, and train the same model to the bit."""

import csv
import gzip
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio import load_audio
from kidasr.corpus.corpus import Corpus
from kidasr.corpus.manifest import ManifestError, Utterance, read_manifest
from kidasr.corpus.sets import Sets
from tests.bad_input import Row, assert_line
from tests.conftest import MICRO, composed, job, read_jsonl
from tests.jobs.test_train import SHORT, same, weights

FIELDS = {str(name): str(name) for name in composed().data.fields}
CORPUS = MICRO.parent / "corpus"
RATE_HZ = 16_000


class Spoken(NamedTuple):
    """An utterance to write in some format."""

    id: str
    speaker: str
    age: int
    gender: str
    text: str
    samples: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def ten() -> list[Spoken]:
    """Ten utterances of five children in the embedded corpus."""
    rows = read_jsonl(CORPUS / "train.jsonl")
    chosen = [row for place in range(0, 400, 80) for row in rows[place : place + 2]]
    return [
        Spoken(
            row["utterance_id"],
            row["speaker_id"],
            row["age"],
            row["gender"],
            row["text"],
            soundfile.read(CORPUS / row["audio_path"], dtype="int16")[0],
        )
        for row in chosen
    ]


def lines(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def recordings(folder: Path, ten: Sequence[Spoken]) -> list[str]:
    """Writes a recording of each utterance; returns their paths in the folder."""
    (folder / "wav").mkdir(parents=True)
    for one in ten:
        soundfile.write(folder / "wav" / f"{one.id}.flac", one.samples, RATE_HZ)
    return [f"wav/{one.id}.flac" for one in ten]


def session(folder: Path, ten: Sequence[Spoken]) -> list[tuple[float, float]]:
    """Writes one recording of all utterances; returns where each starts and ends, in seconds."""
    folder.mkdir(parents=True)
    soundfile.write(folder / "session.flac", np.concatenate([one.samples for one in ten]), RATE_HZ)
    ends = np.cumsum([len(one.samples) for one in ten]).tolist()
    return [(start / RATE_HZ, end / RATE_HZ) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def kaldi_of(folder: Path, ten: Sequence[Spoken]) -> None:
    lines(folder / "text", [(one.id, one.text) for one in ten])
    lines(folder / "utt2spk", [(one.id, one.speaker) for one in ten])
    lines(folder / "spk2age", sorted({(one.speaker, one.age) for one in ten}))
    lines(folder / "spk2gender", sorted({(one.speaker, one.gender) for one in ten}))


def kaldi(folder: Path, ten: Sequence[Spoken]) -> str:
    lines(folder / "wav.scp", list(zip([one.id for one in ten], recordings(folder, ten), strict=True)))
    kaldi_of(folder, ten)
    return str(folder)


def kaldi_segments(folder: Path, ten: Sequence[Spoken]) -> str:
    times = session(folder, ten)
    lines(folder / "wav.scp", [("session", folder / "session.flac")])
    ends = [*(end for _, end in times[:-1]), -1]  # to the end of the recording
    lines(folder / "segments", [(one.id, "session", times[n][0], ends[n]) for n, one in enumerate(ten)])
    kaldi_of(folder, ten)
    return str(folder)


def rows_of(ten: Sequence[Spoken], paths: Sequence[str], **names: str) -> list[dict[str, Any]]:
    """The columns of a manifest, some under other names."""
    columns = {"utterance_id": "id", "speaker_id": "speaker", "age": "age", "gender": "gender", "text": "text"}
    return [
        {
            names.get("audio_path", "audio_path"): path,
            **{names.get(field, field): getattr(one, name) for field, name in columns.items()},
        }
        for one, path in zip(ten, paths, strict=True)
    ]


def delimited(path: Path, rows: Sequence[dict[str, Any]], delimiter: str) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def tsv(folder: Path, ten: Sequence[Spoken]) -> str:
    paths = recordings(folder, ten)
    return delimited(folder / "m.tsv", rows_of(ten, paths, audio_path="path", text="sentence", speaker_id="client_id"), "\t")


def tsv_gzipped(folder: Path, ten: Sequence[Spoken]) -> str:
    plain = Path(tsv(folder, ten))
    (folder / "m.tsv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return str(folder / "m.tsv.gz")


def audio_folder(folder: Path, ten: Sequence[Spoken]) -> str:
    delimited(folder / "metadata.csv", rows_of(ten, recordings(folder, ten), audio_path="file_name"), ",")
    return str(folder)


def audio_folder_of_sets(folder: Path, ten: Sequence[Spoken]) -> str:
    for name, part in (("train", ten[:6]), ("test", ten[6:])):
        rows = rows_of(part, recordings(folder / "data" / name, part), audio_path="file_name")
        path = folder / "data" / name / "metadata.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder)


def nemo(folder: Path, ten: Sequence[Spoken]) -> str:
    """One recording, with offset and duration."""
    times = session(folder, ten)
    rows = rows_of(ten, ["session.flac"] * len(ten), audio_path="audio_filepath", speaker_id="speaker")
    for row, (start, end) in zip(rows, times, strict=True):
        row |= {"offset": start, "duration": end - start}
    (folder / "manifest.json").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(folder / "manifest.json")


def gzipped(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def lhotse_recording(path: str, samples: int) -> dict[str, Any]:
    audio = {"type": "file", "channels": [0], "source": path}
    times = {"sampling_rate": RATE_HZ, "num_samples": samples, "duration": samples / RATE_HZ}
    return {"id": Path(path).stem, "sources": [audio], "channel_ids": [0], **times}


def lhotse_supervision(one: Spoken, recording: str, start: float, duration: float) -> dict[str, Any]:
    times = {"recording_id": recording, "start": start, "duration": duration, "channel": 0}
    return {
        "id": one.id,
        **times,
        "text": one.text,
        "speaker": one.speaker,
        "gender": one.gender,
        "custom": {"age": one.age},
    }


def lhotse_session(folder: Path, ten: Sequence[Spoken]) -> str:
    """One recording, with supervisions."""
    times = session(folder, ten)
    gzipped(folder / "recordings.jsonl.gz", [lhotse_recording("session.flac", sum(len(one.samples) for one in ten))])
    found = [lhotse_supervision(one, "session", start, end - start) for one, (start, end) in zip(ten, times, strict=True)]
    gzipped(folder / "supervisions.jsonl.gz", found)
    return str(folder)


def lhotse_cuts(folder: Path, ten: Sequence[Spoken]) -> str:
    rows = []
    for one, path in zip(ten, recordings(folder, ten), strict=True):
        lasts_sec, recording = len(one.samples) / RATE_HZ, lhotse_recording(path, len(one.samples))
        common = {"start": 0.0, "duration": lasts_sec, "channel": 0, "recording": recording, "type": "MonoCut"}
        rows.append({"id": f"{one.id}-0", **common, "supervisions": [lhotse_supervision(one, one.id, 0.0, lasts_sec)]})
    gzipped(folder / "cuts.jsonl.gz", rows)
    return str(folder / "cuts.jsonl.gz")


def saved(folder: Path, ten: Sequence[Spoken]) -> str:
    """Two splits as save_to_disk writes them, with the recordings in their Arrow files, and genders as class labels."""
    pyarrow = pytest.importorskip("pyarrow")
    genders = sorted({one.gender for one in ten})
    features = {"audio": {"_type": "Audio"}, "gender": {"names": genders, "_type": "ClassLabel"}}
    for name, part in (("train", ten[:6]), ("test", ten[6:])):
        rows = rows_of(part, recordings(folder / name / "from", part), audio_path="audio")
        for row in rows:
            path = folder / name / "from" / row["audio"]
            row |= {"audio": {"bytes": path.read_bytes(), "path": path.name}, "gender": genders.index(row["gender"])}
            path.unlink()
        table = pyarrow.Table.from_pylist(rows)
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = folder / name / "data-00000-of-00001.arrow"
        with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": name}
        (folder / name / "state.json").write_text(json.dumps(state), encoding="utf-8")
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}), encoding="utf-8")
    return str(folder)


WRITERS = (
    kaldi,
    kaldi_segments,
    tsv,
    tsv_gzipped,
    audio_folder,
    audio_folder_of_sets,
    nemo,
    lhotse_session,
    lhotse_cuts,
    saved,
)


def read(name: str, **fields: str) -> list[Utterance]:
    return read_manifest(name, {**FIELDS, **fields}, AgeBuckets())


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_has_the_same_utterances(tmp_path: Path, ten: list[Spoken], write: Callable[..., str]) -> None:
    utterances = read(write(tmp_path / "corpus", ten))
    found = [(one.utterance_id, one.speaker_id, one.age, one.gender, one.text) for one in utterances]
    assert found == [(one.id, one.speaker, one.age, one.gender, one.text) for one in ten]
    for one, utterance in zip(ten, utterances, strict=True):
        assert np.array_equal(load_audio(utterance), one.samples / np.float32(32768)), "to the sample"


@pytest.mark.parametrize("write", [audio_folder_of_sets, saved])
def test_folders_of_sets_are_the_sets(tmp_path: Path, ten: list[Spoken], write: Callable[..., str]) -> None:
    sets = loaded(write(tmp_path / "corpus", ten), "data.age_buckets=[3+]")
    named = {name: {one.speaker_id for one in utterances} for name, utterances in sets.named().items()}
    assert named["test"] == {one.speaker for one in ten[6:]} and named["validation"], "held out of the training set"
    assert named["train"] | named["validation"] == {one.speaker for one in ten[:6]}


def loaded(train: str, *overrides: str) -> Sets:
    data = composed("data=manifest", f"data.train={train}", *overrides).data
    return Corpus(**{key: value for key, value in data.items() if key != "_target_"}).load()


def test_any_format_trains_the_same_model_to_the_bit(tmp_path: Path, ten: list[Spoken]) -> None:
    for write in (kaldi_segments, tsv, audio_folder):
        train = write(tmp_path / write.__name__, ten)
        options = ("augment=specaugment", "curriculum=age", "trainer.zero_shot=false", "trainer.max_steps=4")
        job(tmp_path / "runs" / write.__name__, *SHORT, *options, f"data.train={train}").run()
    first, *others = (weights(run) for run in sorted((tmp_path / "runs").iterdir()))
    assert len(others) == 2 and all(same(first, other) for other in others)


def test_common_voice_as_unpacked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "a.mp3", np.zeros(16_000), 16_000)
    header = "client_id\tpath\tsentence\tup_votes\tage\tgender\n"
    rows = 's1\ta.mp3\t"Stop," she said.\t2\ttwenties\tfemale\ns2\tb.mp3\tNo\t2\tteens\t\ns3\tc.mp3\tYes\t2\t\t\n'
    (tmp_path / "train.tsv").write_text(header + rows, encoding="utf-8")
    with caplog.at_level(logging.INFO):
        utterances = read(str(tmp_path / "train.tsv"))
    assert [(one.speaker_id, one.text, one.age_bucket, one.gender) for one in utterances] == [
        ("s1", '"Stop," she said.', "13+", "female"),
        ("s2", "No", "unknown", None),
        ("s3", "Yes", "unknown", None),
    ]
    assert len(load_audio(utterances[0])) == pytest.approx(16_000, abs=2500)
    assert "teens, all under 20, are unknown (1 utterances)" in caplog.text


def test_what_is_renamed_and_what_is_not_used_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "m.csv"
    path.write_text("file_name,text,speaker_id,start_time,end_time\na,b,c,1,2\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        assert read(str(path))[0].start_sec is None
    assert caplog.messages == [
        f"data: {path}: audio_path is its column 'file_name' (data.fields maps others)",
        f"data: {path}: not used: start_time, end_time; if an utterance is only that part of its recording: "
        "data.fields.start=start_time data.fields.end=end_time (in seconds)",
    ]


def test_all_sets_of_a_corpus_are_trained_on_only_with_a_warning(
    tmp_path: Path, ten: list[Spoken], caplog: pytest.LogCaptureFixture
) -> None:
    train = audio_folder_of_sets(tmp_path / "corpus", ten)
    sets = loaded(train, f"data.validation={CORPUS / 'validation.jsonl'}")
    assert len(sets.train) == 10
    assert "data.train: all of its sets (test, train) are trained on, as data.validation is given" in caplog.messages


# Bad corpora

SOURCES = {"type": "file", "channels": [0], "source": "a.wav"}
RECORDING = {"id": "r", "sources": [SOURCES], "sampling_rate": 16_000, "num_samples": 16_000, "duration": 1.0}
SUPERVISION = {"id": "u", "recording_id": "r", "start": 0.0, "duration": 1.0, "channel": 0, "text": "a", "speaker": "s"}


def lhotse_files(recording: Any = (), supervision: Any = ()) -> dict[str, str]:
    return {
        "recordings.jsonl": json.dumps({**RECORDING, **dict(recording)}),
        "supervisions.jsonl": json.dumps({**SUPERVISION, **dict(supervision)}),
    }


def kaldi_files(**files: str) -> dict[str, str]:
    own = {"wav.scp": "r a.wav\n", "text": "r two cats\n", "utt2spk": "r s\n"}
    return {**own, **{name.replace("_", "."): text for name, text in files.items()}}


#: Files of a folder.
FORMATS = {
    "Kaldi: a command in `wav.scp`": Row(
        kaldi_files(wav_scp="r sph2pipe -f wav a.sph |\n"),
        "FILE/wav.scp:1: a command, 'sph2pipe -f wav a.sph |'; expected: the path of an audio file (ESPnet's ...",
    ),
    "Kaldi: an archive in `wav.scp`": Row(
        kaldi_files(wav_scp="r data/wav.ark:17\n"),
        "FILE/wav.scp:1: a place in an archive, 'data/wav.ark:17'; expected: the path of an audio file ...",
    ),
    "Kaldi: no `utt2spk`": Row(
        {name: text for name, text in kaldi_files().items() if name != "utt2spk"},
        "FILE: a Kaldi folder without utt2spk; expected: wav.scp, text, utt2spk",
    ),
    "Kaldi: a recording without text": Row(
        kaldi_files(wav_scp="r a.wav\nq b.wav\n"), "FILE/wav.scp:2: q has no line in text; expected: one"
    ),
    "Kaldi: a text without a recording": Row(
        kaldi_files(text="r two\nq cats\n"), "FILE/text:2: q is not in wav.scp; expected: an utterance of wav.scp ..."
    ),
    "Kaldi: an id twice": Row(
        kaldi_files(text="r two\nr cats\n"), "FILE/text:2: r is already at FILE/text:1; expected: each id once"
    ),
    "Kaldi: a segment of no recording": Row(
        kaldi_files(segments="r x 0 1\n"), "FILE/segments:1: recording x is not in wav.scp"
    ),
    "Kaldi: a segment without an end": Row(
        kaldi_files(segments="r r 0\n"), "FILE/segments:1: 3 columns; expected: UTTERANCE RECORDING START END"
    ),
    "Kaldi: a segment that ends before it starts": Row(
        kaldi_files(segments="r r 3 1\n"), "FILE/segments:1: end=1 with a start of 3 s; expected: an end after the start"
    ),
    "Kaldi: an age in words": Row(
        kaldi_files(spk2age="s six\n"), "FILE/wav.scp:1: age='six'; expected: years from 0 to 120, or null..."
    ),
    "lhotse: a command": Row(
        lhotse_files({"sources": [{**SOURCES, "type": "command"}]}),
        "FILE/supervisions.jsonl:1: audio of the type 'command'; expected: 'file'",
    ),
    "lhotse: a transform": Row(
        lhotse_files({"transforms": [{"name": "Speed"}]}),
        "FILE/supervisions.jsonl:1: a recording with transforms; expected: none (save_audios() writes the result)",
    ),
    "lhotse: one of two channels": Row(
        lhotse_files({"sources": [{**SOURCES, "channels": [0, 1]}]}),
        "FILE/supervisions.jsonl:1: channel 0 of a recording with 2; expected: all channels, or recordings of one ...",
    ),
    "lhotse: a supervision without a speaker": Row(
        lhotse_files((), {"speaker": None}),
        "FILE/supervisions.jsonl:1: a supervision without speaker; expected: one with text and speaker",
    ),
    "lhotse: a supervision of no recording": Row(
        lhotse_files((), {"recording_id": "x"}),
        "FILE/supervisions.jsonl:1: recording 'x' is not in FILE/recordings.jsonl",
    ),
    "lhotse: a mixture": Row(
        {"cuts.jsonl": '{"id": "c", "type": "MixedCut", "tracks": []}'},
        "FILE/cuts.jsonl:1: MixedCut; expected: MonoCut or MultiCut, with a recording",
    ),
    "lhotse: a cut with two supervisions": Row(
        {"cuts.jsonl": json.dumps({"start": 0, "duration": 1, "recording": RECORDING, "supervisions": [SUPERVISION] * 2})},
        "FILE/cuts.jsonl:1: a cut with 2 supervisions; expected: one (cuts.trim_to_supervisions() makes them)",
    ),
    "Hugging Face: a row without a file name": Row(
        {"metadata.csv": "file_name,text,speaker_id\n,a,s\n"},
        "FILE/metadata.csv:2: file_name=''; expected: the name of a recording",
    ),
    "Hugging Face: no speakers": Row(
        {"metadata.csv": "file_name,transcription,reader\na.wav,b,s\n"},
        "FILE/metadata.csv:2: field 'speaker_id' is missing; this line has: file_name, transcription, reader "
        "(data.fields.speaker_id=NAME takes another, data.speakers=unknown does without speakers)",
    ),
    "a saved data set whose list of files is damaged": Row(
        {"state.json": "{}"}, "FILE/state.json: no list '_data_files'; expected: as save_to_disk writes it"
    ),
}


@pytest.mark.parametrize("row", FORMATS.values(), ids=list(FORMATS))
def test_a_bad_corpus_is_one_line(tmp_path: Path, row: Row) -> None:
    for name, text in row.given.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read(str(tmp_path))
    assert row.line is not None
    assert_line(str(caught.value), row.line, tmp_path)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("datasets", "{}: no such file or folder; a data set of the Hugging Face hub takes: pip install 'kidasr[hub]'"),
        ("pyarrow", "{}: reading Arrow files takes: pip install 'kidasr[formats]'"),
    ],
)
def test_a_library_that_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, line: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "x.arrow"}]}', encoding="utf-8")
    name = "owner/name" if module == "datasets" else str(tmp_path)
    with pytest.raises(ManifestError) as caught:
        read(name)
    assert str(caught.value) == line.format(name)


def test_a_hub_that_can_not_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\n(offline)")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    line = "the Hugging Face hub gave no such data set: Couldn't reach 'owner/name' on the Hub (offline)"
    with pytest.raises(ManifestError) as caught:
        read("owner/name")
    assert str(caught.value) == f"owner/name: no such file or folder, and {line}"
