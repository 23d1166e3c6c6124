"""Model cards: written by a run with the micro model, read by the hub's library, their commands run."""

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from kidasr.evidence.rates import describe
from kidasr.evidence.runs import read_run
from kidasr.recognition.score import Prediction
from kidasr.report.model_card import _private
from kidasr.report.tables import interval, percent
from kidasr.runs.record import elapsed_sec, record
from kidasr.training.full_window import sample_of, sample_size
from tests.conftest import MICRO, read_json, read_jsonl, run_here

CORPUS = MICRO.parent / "corpus"
SHORT = (
    "padding=longest",
    "padding.trailing_silence_sec=0.3",
    "trainer.max_steps=4",
    "trainer.train_batch_size=4",
    "data.limit_train=24",
    "data.limit_validation=12",
    "data.limit_test=6",
    "checkpoint.eval_steps=4",
    "schedule.warmup_steps=0",
    "report.html=false",
)
STATED = ("report.card.license=cc-by-4.0", "report.card.datasets=[somebody/kids]", "report.card.citation='Somebody, 2026'")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        where = f"hydra.run.dir={folder}"
        assert run_here(monkeypatch, *SHORT, *STATED, "report.card.full_window_utterances=6", where) == 0
    return folder


@pytest.fixture(scope="module")
def card(run: Path) -> Any:
    return ModelCard.load(run / "model" / "README.md")


def test_the_metadata_are_the_hubs_and_their_numbers_those_of_the_run(run: Path, card: Any) -> None:
    metrics, data = read_json(run / "metrics.json"), card.data
    assert (data.language, data.license, data.datasets) == ("en", "cc-by-4.0", ["somebody/kids"])
    assert (data.pipeline_tag, data.library_name, data.base_model) == ("automatic-speech-recognition", "transformers", None)
    found = {(one.dataset_config, one.metric_type): one.metric_value for one in data.eval_results}
    expected = {
        (f"{name}, {'all ages' if age == 'all' else f'age {age}'}", kind): round(100 * rates[kind], 2)
        for name, final in {"validation": metrics["final"], "adults": metrics["tests"]["adults"]["final"]}.items()
        for age, rates in {"all": final, **final["by_age"]}.items()
        for kind in ("wer", "cer")
    }
    assert found == expected and len(expected) > 8


def test_the_text_has_what_was_measured_and_says_what_was_not(run: Path, card: Any) -> None:
    metrics, described, text = read_json(run / "metrics.json"), describe(read_run(run)), card.text
    for one in (described, *described["by_age"].values()):
        assert percent(one["wer"]) in text and interval(one["ci95"]) in text
    train = metrics["sets"]["train"]
    assert (train["utterances"], train["speakers"]) == (24, 24) and 0 < train["hours"] < 0.02
    assert f"| train      |           24 |         24 |    {train['hours']:.2f} |" in text
    assert "Few speakers: 3-4 (1), 5-6 (3)" in text and "No other age was tested" in text
    assert re.search(r"\*\*hours\*\*: 0\.0\d\n", text)
    assert f"95% of them up to {read_json(run / 'model' / 'kidasr.json')['trained_sec']['p95']:.1f} s" in text
    assert "0.3 s of silence" in text and "Somebody, 2026" in text and "not recorded here" not in text
    assert str(run) not in text and str(CORPUS) not in text, "nothing about this machine's folders"
    assert "\n\n\n" not in text


def test_padding_is_measured_on_a_sample_and_is_in_the_card(run: Path, card: Any) -> None:
    found = read_json(run / "metrics.json")["full_window"]
    rows = {row["utterance_id"]: row for row in read_jsonl(run / "predictions.jsonl")}
    chosen = [Prediction(**rows[name]) for name in sorted(rows)]
    sample: Any = sample_of(chosen, 6)  # type: ignore[arg-type]
    assert found["utterances"] == 6 and found["words"] == sum(one.words for one in sample)
    assert found["wer_short"] == sum(one.errors for one in sample) / found["words"]
    assert found["change"]["delta_wer"] == pytest.approx(found["wer"] - found["wer_short"])
    assert f"{percent(found['wer'])} WER instead of {percent(found['wer_short'])} on short input" in card.text


def test_its_commands_transcribe(run: Path, card: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run / "model", tmp_path / "model")  # as a colleague has it
    row = read_jsonl(run / "predictions.jsonl")[0]
    recording = str(CORPUS / row["audio_path"]) if not Path(row["audio_path"]).is_absolute() else row["audio_path"]
    blocks = dict(re.findall(r"```(bash|python)\n(.*?)```", card.text, re.DOTALL))
    shell = blocks["bash"].strip().replace("THIS_FOLDER", str(tmp_path / "model")).replace("RECORDINGS", recording)
    program, script, *arguments = shell.split()
    assert (program, script) == ("python", "run.py")
    assert run_here(monkeypatch, *arguments, f"hydra.run.dir={tmp_path / 'out'}") == 0
    (heard,) = read_jsonl(tmp_path / "out" / "transcripts.jsonl")
    assert heard["text"] == row["hypothesis"], "on input as in the run"
    code = blocks["python"].replace("THIS_FOLDER", str(tmp_path / "model")).replace("recording.wav", recording)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue().strip(), "a transcript"


def test_the_sample_is_as_large_as_the_run_can_pay() -> None:
    assert [sample_size(None, trained) for trained in (100, 3199, 3200, 6400, 10**6)] == [0, 0, 16, 32, 64]
    assert sample_size(None, 0) == 64, "a soup, which trains nothing"
    assert (sample_size(0, 10**6), sample_size(5, 10)) == (0, 5)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("data.train=/home/me/corpora/t.jsonl", "data.train=.../t.jsonl"),
        ("data.tests={kids: ../k/K.jsonl, adults: ~/a/A.jsonl}", "data.tests={kids: .../K.jsonl, adults: .../A.jsonl}"),
        ("model.name_or_path=openai/whisper-small", "model.name_or_path=openai/whisper-small"),
        ("optim.learning_rate=1e-5", "optim.learning_rate=1e-5"),
    ],
)
def test_overrides_are_shown_without_folders_of_the_machine(typed: str, shown: str) -> None:
    assert _private(typed) == shown


def test_the_time_of_a_run_counts_all_attempts_and_says_if_one_was_killed(tmp_path: Path) -> None:
    assert elapsed_sec(tmp_path) is None
    record(tmp_path, "started")
    record(tmp_path, "stopped")
    record(tmp_path, "started")
    elapsed = elapsed_sec(tmp_path)
    assert elapsed is not None and elapsed[1] and 0 <= elapsed[0] < 60
    record(tmp_path, "started")  # the one before was killed
    elapsed = elapsed_sec(tmp_path)
    assert elapsed is not None and not elapsed[1]
