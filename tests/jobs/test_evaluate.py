"""job=evaluate: any checkpoint, scored as the model of a run is."""

import json
import logging
import shutil
from pathlib import Path

import pytest

import kidasr
from kidasr.errors import KidasrError, Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.recognition.score import Prediction
from kidasr.runs.sweeps import read_sweep
from kidasr.training.scorer import ModelScorer
from tests.conftest import ADULTS, KIDS, MICRO, ROOT, TINY_EN, job, read_json, read_jsonl, real_data, run_here

CORPUS = ROOT / "kidasr" / "embedded" / "corpus"
FEW = ("data.limit_validation=12", "data.limit_test=6")
TESTS = f"data.tests={{kids: {CORPUS / 'validation.jsonl'}, adults: {CORPUS / 'adults.jsonl'}}}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    job(folder, "debug=smoke", *FEW, "trainer.zero_shot=false", "report=none").run()
    return folder


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    job(folder, "job=evaluate", f"model.name_or_path={MICRO}", *FEW).run()
    return folder


def test_a_model_is_scored_as_in_its_run_and_compared_with_the_stock_one(trained: Path, stock: Path, tmp_path: Path) -> None:
    metrics = kidasr.evaluate(trained / "model", *FEW, run_dir=tmp_path / "tuned")
    of_run = read_json(trained / "metrics.json")
    files = ("predictions.jsonl", "predictions_adults.jsonl")
    of_both = [(read_jsonl(tmp_path / "tuned" / name), read_jsonl(trained / name)) for name in files]
    pairs = [pair for both in of_both for pair in zip(*both, strict=True)]
    # Weights that are read from a file lie elsewhere in memory than trained ones. Some processors then round differently,
    # which may turn a word that is nearly as likely as another.
    assert len(pairs) == 18 and sum(ours != theirs for ours, theirs in pairs) <= 1
    if all(ours == theirs for ours, theirs in pairs):
        assert (metrics["final"], metrics["tests"]) == (of_run["final"], of_run["tests"])
    assert metrics["evaluated"] == {"model": str(trained / "model"), "input": "window"}
    page = (tmp_path / "tuned" / "report.html").read_text(encoding="utf-8")
    assert "before training" not in page.lower() and "as it is, on its full window" in page
    assert "<h2>Training</h2>" not in page
    assert {path.name for path in stock.iterdir()} >= {"config.json", "environment.json", "report.html", "metrics.json"}
    assert not list(stock.glob(".*predictions*")), "those of an unfinished evaluation"

    both = kidasr.compare([stock, tmp_path / "tuned"], tmp_path / "models")
    (pair,) = both["pairs"]
    assert pair["delta_wer"] == pytest.approx(metrics["final"]["wer"] - read_json(stock / "metrics.json")["final"]["wer"])
    assert pair["verdict"] in ("better", "worse", "undecided") and pair["ci95"], "models have no seeds: speakers are enough"
    assert [other["set"] for other in both["other_sets"]] == ["adults"]
    beside = kidasr.compare([stock, trained], tmp_path / "beside")
    assert beside["pairs"][0]["verdict"] == "one seed", "of the training"
    assert "before training" not in (tmp_path / "models" / "comparison.md").read_text(encoding="utf-8")


def test_without_a_validation_set_the_first_test_set_is_the_main_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    only = ("job=evaluate", "data=manifest", TESTS, "data.limit_test=6")
    with caplog.at_level(logging.INFO):
        for beams in (1, 2):
            typed = (f"model.name_or_path={MICRO}", f"trainer.generation_num_beams={beams}")
            wer = job(tmp_path / str(beams), *only, *typed).run()
            metrics = read_json(tmp_path / str(beams) / "metrics.json")
            assert metrics["set"] == "kids" and metrics["final"] == metrics["tests"]["kids"]["final"]
            assert wer == metrics["final"]["wer"] and not (tmp_path / str(beams) / "predictions.jsonl").exists()
    assert "there is no validation set: the first test set, kids, is the main one" in caplog.messages
    assert "data: train" not in caplog.text
    found = kidasr.compare([tmp_path / "1", tmp_path / "2"], tmp_path / "comparison")
    assert found["set"] == "adults" and found["other_sets"][0]["set"] == "kids"


def test_it_goes_on_with_the_sets_that_are_left_unless_the_model_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(MICRO, tmp_path / "model")
    typed = ("job=evaluate", f"model.name_or_path={model}", *FEW, "report=none")
    asked: list[int] = []
    transcribe = ModelScorer.transcribe

    def killed_in_the_second(self: ModelScorer, dataset: ChildSpeechDataset) -> list[Prediction]:
        asked.append(len(dataset))
        if len(asked) == 2:
            raise Stopped("SIGTERM")
        return transcribe(self, dataset)

    monkeypatch.setattr(ModelScorer, "transcribe", killed_in_the_second)
    with pytest.raises(Stopped):
        job(tmp_path / "run", *typed).run()
    assert not (tmp_path / "run" / "metrics.json").exists()
    shutil.copytree(tmp_path / "run", tmp_path / "changed")
    job(tmp_path / "run", *typed).run()
    assert asked == [12, 6, 6], "the second set alone"
    (model / "README.md").write_text("another model")
    job(tmp_path / "changed", *typed).run()
    assert asked == [12, 6, 6, 12, 6], "both sets"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ([], "model.name_or_path is missing; expected: model.name_or_path="),
        (["model.name_or_path=x", "optim.learning_rate=1e-5"], "not used by job=evaluate; expected: no optim.learning_rate"),
        (["model.name_or_path=x", "augment=specaugment"], "augment: not a group of job=evaluate"),
        (["model.name_or_path=x", "padding=max_length"], "expected: input_length=window"),
        (["model.name_or_path=x", "data=manifest"], "data: no set to score; expected: data.validation=V.jsonl"),
        (["model.name_or_path=./nowhere"], "no such folder; expected: a folder with a Whisper checkpoint"),
    ],
)
def test_mistakes_are_one_line(
    typed: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_here(monkeypatch, "job=evaluate", *typed) == 2
    said = capfd.readouterr()
    assert line in said.err + said.out


def test_what_is_no_model_is_told(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(KidasrError, match=r"the folder of a run; expected: its model, \S+/model$"):
        job(tmp_path / "a", "job=evaluate", f"model.name_or_path={trained}", *FEW).run()
    with pytest.raises(KidasrError, match=r"^data\.train=null: should be a manifest"):
        job(tmp_path / "b", "data=manifest", "data.train=null", "data.validation=V.jsonl")


def test_a_multirun_of_models_ends_with_their_comparison(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = f"model.name_or_path={MICRO},{trained / 'model'}"
    typed = ("--multirun", "job=evaluate", models, *FEW, "report=none", f"hydra.sweep.dir={tmp_path}")
    assert run_here(monkeypatch, *typed) == 0
    comparison = read_json(tmp_path / "comparison.json")
    assert [one["configuration"] for one in comparison["configurations"]] == [
        f"model.name_or_path={model}" for model in (MICRO, trained / "model")
    ]
    assert len(read_sweep(tmp_path)) == 2
    before = [path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.json")]
    assert run_here(monkeypatch, *typed) == 0
    assert [path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.json")] == before, "finished"


@real_data
@pytest.mark.real_data
@pytest.mark.minutes
def test_the_stock_model_and_the_tuned_one_on_real_children(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sets = (f"data.validation={KIDS / 'dev.jsonl'}", f"data.tests.adults={ADULTS / 'test.jsonl'}")
    few = ("data=manifest", *sets, "data.limit_validation=40", "data.limit_test=20")
    short = ("trainer.max_steps=24", "trainer.train_batch_size=8", "optim.learning_rate=5e-5", "schedule.warmup_steps=4")
    train = (f"data.train={KIDS / 'train.jsonl'}", "model=whisper", f"model.name_or_path={TINY_EN}", "report=none")
    job(tmp_path / "run", *few, *train, *short, "checkpoint.eval_steps=24", "trainer.zero_shot=false").run()
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # half a gigabyte
    tuned = kidasr.evaluate(tmp_path / "run" / "model", *few, run_dir=tmp_path / "tuned")
    stock = kidasr.evaluate(TINY_EN, *few, run_dir=tmp_path / "stock")
    shutil.rmtree(tmp_path / "run" / "model")
    assert (tuned["evaluated"]["input"], stock["evaluated"]["input"]) == ("short", "window")
    assert tuned["final"] == read_json(tmp_path / "run" / "metrics.json")["final"]
    found = kidasr.compare([tmp_path / "stock", tmp_path / "tuned"], tmp_path / "comparison")
    assert found["pairs"][0]["delta_wer"] == pytest.approx(tuned["final"]["wer"] - stock["final"]["wer"])
    assert found["pairs"][0]["delta_wer"] < 0.02 and stock["final"]["wer"] < 0.5
    wrong = kidasr.evaluate(TINY_EN, *few, "data.tests=null", "input_length=short", run_dir=tmp_path / "wrong")
    assert "nothing says that this model was trained on short input" in caplog.text
    (doubt,) = wrong["doubts"]
    assert "The cause: this model wants its full window." in doubt and doubt.endswith("Type input_length=window")


@real_data
@pytest.mark.real_data
def test_a_model_that_is_not_used_to_short_input_is_found_out(tmp_path: Path) -> None:
    few = ("data=manifest", f"data.train={KIDS / 'train.jsonl'}", f"data.validation={KIDS / 'dev.jsonl'}")
    short = ("debug=smoke", "trainer.max_steps=1", "schedule.warmup_steps=0", "optim.learning_rate=1e-12")
    job(tmp_path, *few, "model=whisper", f"model.name_or_path={TINY_EN}", *short, "data.limit_validation=20").run()
    shutil.rmtree(tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "model")
    metrics = read_json(tmp_path / "metrics.json")
    (doubt,) = metrics["doubts"]
    assert "The cause: the model is not used to short input yet." in doubt
    assert "type trainer.max_steps=200, without optim.learning_rate=1e-12" in doubt and "type padding=max_length" in doubt
    other = metrics["other_input"]
    assert other["wer"] == pytest.approx(metrics["zero_shot"]["wer"], abs=0.02) and other["own_wer"] > 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Warning: final WER is" in page and "not used to short input yet" in json.dumps(page)
