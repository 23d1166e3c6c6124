"""Short runs: step counts that fit them, and log entries in any case."""

import shutil
from pathlib import Path

import pytest

from kidasr.cli.step_scale import describe_step_scale
from kidasr.config.checks import ConfigError
from kidasr.runs.folder import check_run_folder
from kidasr.runs.identity import resolved
from tests.config.test_compose import values
from tests.conftest import composed, job, read_json
from tests.jobs.test_train import SHORT, same, weights

COUNTS = (
    "checkpoint.eval_steps",
    "checkpoint.save_steps",
    "schedule.warmup_steps",
    "freeze.freeze_encoder_steps",
    "trainer.logging_steps",
)


@pytest.mark.parametrize(
    ("length", "counts"),
    [
        ((), [30, 60, 30, 60, 15]),  # 480 utterances, 20 epochs of 15 steps
        (("data.limit_train=100", "trainer.num_train_epochs=2.5"), [1, 2, 1, 2, 1]),  # 10 steps
        (("data.limit_train=100", "trainer.num_train_epochs=25"), [10, 20, 10, 20, 5]),
        (("trainer.gradient_accumulation_steps=2",), [16, 32, 16, 32, 8]),  # 20 epochs of 8
        (("trainer.max_steps=200",), [20, 40, 20, 40, 10]),
        (("trainer.max_steps=1",), [1, 2, 1, 2, 1]),
        (("trainer.max_steps=90000",), [500, 1000, 500, 1000, 250]),
        (("trainer.max_steps=200", "checkpoint.eval_steps=7", "checkpoint.save_steps=14"), [7, 14, 20, 40, 10]),
    ],
)
def test_an_automatic_scale_fits_the_step_counts_to_the_run(length: tuple[str, ...], counts: list[int]) -> None:
    found = values("step_scale=auto", "checkpoint=legacy", "freeze=encoder_1000", *length)
    assert [found[key] for key in COUNTS] == counts


def test_an_automatic_scale_counts_the_utterances_that_are_trained_on(tmp_path: Path) -> None:
    train = values()["data.train"]
    lines = Path(train).read_text(encoding="utf-8").replace('"audio/', f'"{Path(train).parent}/audio/')
    mine = tmp_path / "mine.jsonl"
    mine.write_text(lines, encoding="utf-8")
    options = ("data=manifest", f"data.train={mine}", "data.validation_fraction=0.5", "trainer.num_train_epochs=10")
    cfg = composed(*options, "trainer.train_batch_size=16", "step_scale=auto", "data.on_bad_audio=skip")
    line = describe_step_scale(cfg)
    assert line == (
        "step_scale=auto: 0.03 for 150 steps: evaluation every 15, checkpoint every 15, log entry every 8, warm-up 15"
    ), "half of the speakers are held out"
    before = resolved(cfg)
    mine.write_text("".join(lines.splitlines(keepends=True)[:240]), encoding="utf-8")
    assert (
        resolved(composed(*options, "trainer.train_batch_size=16", "step_scale=auto"))["checkpoint"] != before["checkpoint"]
    )


def test_a_run_that_is_too_short_for_a_warm_up_is_told_of_the_scale() -> None:
    with pytest.raises(ConfigError, match="at most its 20 steps, or step_scale=auto"):
        job(Path(), "data=manifest", "data.train=T.jsonl", "trainer.max_steps=20")


def test_a_run_shorter_than_its_log_interval_has_ten_entries_also_when_it_is_resumed(tmp_path: Path) -> None:
    options = (*SHORT, "trainer.logging_steps=50", "trainer.zero_shot=false", "step_scale=auto")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    job(whole, *options).run()
    shutil.copytree(whole, resumed)
    for path in (resumed / "metrics.json", resumed / "model", resumed / "checkpoints" / "checkpoint-8"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not check_run_folder(resumed, composed(*options))
    job(resumed, *options).run()
    history = read_json(whole / "metrics.json")["history"]
    assert [entry["step"] for entry in history if "loss" in entry] == list(range(1, 9))
    assert read_json(resumed / "metrics.json") == read_json(whole / "metrics.json") and same(
        weights(resumed), weights(whole)
    )
