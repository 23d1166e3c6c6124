"""Real Whisper weights and real children's recordings."""

import shutil
from pathlib import Path

import pytest

import kidasr
from tests.conftest import ADULTS, KIDS, TINY_EN, job, read_json, real_data, run_py

pytestmark = [real_data, pytest.mark.real_data]

REAL = (
    "data=manifest",
    f"data.train={KIDS / 'train.jsonl'}",
    f"data.validation={KIDS / 'dev.jsonl'}",
    "model=whisper",
    f"model.name_or_path={TINY_EN}",
)


@pytest.mark.minutes
def test_a_short_run_from_the_command_line_improves_wer_on_unseen_children(tmp_path: Path) -> None:
    done = run_py(
        *REAL,
        "padding=longest",  # a step of a tenth of the time
        "trainer.max_steps=16",
        "trainer.train_batch_size=8",
        "data.limit_validation=24",
        "optim.learning_rate=5e-5",
        "schedule.warmup_steps=4",
        "checkpoint.eval_steps=16",
        f"hydra.run.dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["zero_shot"]["utterances"] == 24
    assert metrics["final"]["wer"] < metrics["zero_shot"]["wer"]


def test_all_hypotheses_together_start_and_finish(tmp_path: Path) -> None:
    """Each by itself does so with the embedded model."""
    short = ("debug=smoke", "trainer.train_batch_size=1", "data.limit_validation=1")
    job(tmp_path, *REAL, "experiment=all", *short).run()
    metrics = read_json(tmp_path / "metrics.json")
    assert (metrics["steps"], metrics["final"]["utterances"]) == (3, 1)
    shutil.rmtree(tmp_path)  # half a gigabyte a checkpoint


@pytest.mark.parametrize(
    "idea",
    ["objective=label_smoothing", "objective=pif", "objective=kl", "objective=l2_sp", "curriculum=loss"],
)
def test_each_idea_trains_a_few_steps_in_the_default_precision(tmp_path: Path, idea: str) -> None:
    short = (*REAL, "debug=smoke", "padding=longest", "data.limit_validation=1", "trainer.zero_shot=false", "report=none")
    job(tmp_path, *short, idea, *(["augment=specaugment"] if "pif" in idea else [])).run()
    history = read_json(tmp_path / "checkpoints" / "checkpoint-3" / "trainer_state.json")["log_history"]
    logged = [entry["loss"] for entry in history if "loss" in entry]
    assert logged and all(0 < loss < 20 for loss in logged)
    shutil.rmtree(tmp_path)  # half a gigabyte a checkpoint


def test_what_adapting_to_children_costs_on_adults_is_in_each_run_and_in_a_comparison(tmp_path: Path) -> None:
    sets = (f"data.tests.adults={ADULTS / 'test.jsonl'}", "data.limit_test=6")
    short = (*REAL, "debug=smoke", "padding=longest", "data.limit_validation=2", *sets)
    for seed in (1, 2):
        job(tmp_path / str(seed), *short, f"optim.learning_rate={seed}e-5").run()
        shutil.rmtree(tmp_path / str(seed) / "checkpoints")  # half a gigabyte each
        shutil.rmtree(tmp_path / str(seed) / "model")
        tests = read_json(tmp_path / str(seed) / "metrics.json")["tests"]
        scores = [tests["adults"][when] for when in ("zero_shot", "final")]
        assert [one["utterances"] for one in scores] == [6, 6] and 0 < scores[0]["wer"] < 1
    found = kidasr.compare([tmp_path / "1", tmp_path / "2"], tmp_path / "comparison")
    assert found["set"] == "validation" and [other["set"] for other in found["other_sets"]] == ["adults"]
    on_adults = kidasr.compare([tmp_path / "1", tmp_path / "2"], tmp_path / "on_adults", on="adults")
    (pair,), (other,) = on_adults["pairs"], found["other_sets"][0]["pairs"]
    assert pair["delta_wer"] == other["delta_wer"] and on_adults["runs"][0]["utterances"] == 6
