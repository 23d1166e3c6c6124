"""The benchmarks of speed still run, in a small form: nothing else calls them."""

import sys
from pathlib import Path

import pytest

from tests.benchmarks import ablation, backends, parts
from tests.benchmarks.speed import (
    BF16,
    EMBEDDED,
    decoding,
    plain_training,
    ratios,
    recordings,
    training,
    write_training_manifest,
)
from tests.conftest import read_json


@pytest.mark.parametrize("overrides", [(), (BF16, "freeze=encoder_all")])
def test_a_training_step_is_timed(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    manifest = write_training_manifest(tmp_path, 1, EMBEDDED)
    found = training(manifest, 1, *overrides, material=EMBEDDED)
    assert found["sec"] > 0
    assert 0 < found["waiting_share"] < 1


def test_a_step_of_the_plain_recipe_is_timed(tmp_path: Path) -> None:
    manifest = write_training_manifest(tmp_path, 1, EMBEDDED)
    assert plain_training(manifest, False, 1, EMBEDDED.model)["sec"] > 0


def test_decoding_is_timed() -> None:
    found = decoding(EMBEDDED.model, 4, BF16, material=EMBEDDED)
    assert found["utterances_per_sec"] > 0
    assert found["wer"] >= 0


def test_engines_are_compared() -> None:
    engines = {name: backends.ENGINES[name] for name in ("torch, float32", "ctranslate2, float32")}
    found = backends.compare_engines(EMBEDDED.model, recordings(4, EMBEDDED), engines, 1)
    assert list(found) == list(engines)
    assert all(one["per_cpu_sec"] > 0 and one["same"] == 4 and 0 <= one["wer"] < 1 for one in found.values())


def test_the_ratios_compare_each_precision_with_the_plain_recipe_in_float32() -> None:
    step = {"step_gb": 1.0, "training_gb": 1.0, "process_gb": 1.0}
    results: dict[str, dict[str, float]] = {
        "step, plain recipe": {**step, "sec": 6.0},
        "step, kidasr": {**step, "sec": 0.6},
        "step, kidasr, encoder frozen": {"sec": 0.3},
        "step, kidasr, bf16": {"sec": 0.4},
        "step, kidasr, bf16, encoder frozen": {"sec": 0.2},
        "arithmetic needed, full": {"gflop": 80.0},
        "arithmetic needed, encoder frozen": {"gflop": 40.0},
        "matrix-multiply peak": {"gflop_per_sec": 200.0},
        "matrix-multiply peak, bf16": {"gflop_per_sec": 400.0},
        **{
            f"decoding, {name}": {"utterances_per_sec": rate}
            for name, rate in {"transformers, padded": 3, "faster-whisper int8": 2, "kidasr": 24, "kidasr, bf16": 36}.items()
        },
    }
    found = ratios(results)
    assert found["full step, bf16, times faster"] == pytest.approx(15)
    assert found["frozen step, bf16, times faster than the plain full step"] == pytest.approx(30)
    assert found["full step, bf16, share of the matrix-multiply peak"] == pytest.approx(0.5)
    assert found["decoding, bf16, times faster than padded generate"] == pytest.approx(12)


@pytest.mark.minutes
@pytest.mark.slow
def test_an_ablation_is_timed_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = ("--steps=4", "--plain-steps=1", "--plain-clips=4", "--variant=one:", f"--output={tmp_path / 'speed.json'}")
    fewer = ("data.limit_train=32", "data.limit_validation=8", "checkpoint.eval_steps=2", "checkpoint.save_steps=2")
    monkeypatch.setattr(sys, "argv", ["ablation", "--embedded", *size, "--overrides", *fewer])
    ablation.main()
    found = read_json(tmp_path / "speed.json")
    one, plain = found["variants"]["one"], found["plain"]
    assert [(run["configuration"], run["seed"]) for run in one["runs"]] == [("baseline", 1), ("h4", 1)]
    assert one["never_called"] == []
    assert all(sec > 0 for run in one["runs"] for sec in run["parts"].values())
    assert sum(run["sec"] for run in one["runs"]) + sum(one["after"].values()) == pytest.approx(one["wall_sec"])
    assert plain["work"] == {"steps": 4, "evaluations": 2, "evaluated_utterances": 8, "scored_utterances": 192}
    assert one["times_plain"] == pytest.approx(sum(plain["parts"].values()) / one["sec_per_run"])


def test_a_function_that_is_gone_is_named() -> None:
    with pytest.raises(SystemExit, match=r"FineTune\.walk, which is gone"):
        parts.wrap("kidasr.training.fine_tune:FineTune.walk", lambda _: None)
