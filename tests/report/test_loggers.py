"""Loggers without mocks: wandb offline, TensorBoard event files."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kidasr.report.loggers import WandbLogger
from kidasr.report.wandb_callback import WandbRunCallback
from tests.conftest import job, run_here, sweep_runs

SMOKE = ("experiment=all", "debug=smoke")


def test_each_job_of_a_multirun_is_a_wandb_run_of_its_own_with_the_resolved_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "sweep"
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    options = ("logger=wandb", "logger.group=pair", "seed=1,2", *SMOKE)
    assert run_here(monkeypatch, "--multirun", *options, f"hydra.sweep.dir={sweep}") == 0
    ids = set()
    for folder, seed in zip(sweep_runs(sweep), (1, 2), strict=True):
        (run,) = (folder / "wandb").glob("offline-run-*")
        ids.add(run.name)
        records = _wandb_records(next(run.glob("*.wandb")))
        updates = [item for record in records for part in (record.run.config, record.config) for item in part.update]
        config = {item.key: json.loads(item.value_json) for item in updates}
        assert config["seed"] == seed
        assert config["checkpoint"]["eval_steps"] == 1, "resolved"
        assert config["optim"]["learning_rate"] == 5e-4
        history = [
            {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            for record in records
            if record.HasField("history")
        ]
        logged = set().union(*history)
        assert {"train/loss", "train/learning_rate", "eval/wer"} <= logged
        assert any(name.startswith("eval/wer_") for name in logged), "by age"
        assert any("predictions" in name for name in logged)
    assert len(ids) == 2
    for path in sweep.rglob("*"):
        assert path.is_dir() or b"0123456789abcdef01234567" not in path.read_bytes(), f"a secret in {path}"


def _wandb_records(path: Path) -> list[Any]:
    """The records of an offline run, read from its file: LevelDB's log format (blocks of 32 KiB) with protobuf records."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    content, position, parts, records = path.read_bytes(), 7, b"", []  # a header of seven bytes
    while position + 7 <= len(content):
        left_in_block = 32_768 - position % 32_768
        if left_in_block < 7:
            position += left_in_block
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)  # after a checksum
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


@pytest.mark.parametrize("folder", ["tensorboard", "/elsewhere"])
def test_tensorboard_has_losses_rates_and_the_result_in_the_folder_asked_for(tmp_path: Path, folder: str) -> None:
    absolute = tmp_path / "elsewhere"
    given = str(absolute) if folder.startswith("/") else folder
    job(tmp_path / "run", "logger=tensorboard", f"logger.logging_dir={given}", *SMOKE).run()
    events = EventAccumulator(str(absolute if folder.startswith("/") else tmp_path / "run" / folder))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"train/loss", "train/learning_rate", "eval/wer", "final/wer", "zero_shot/wer", "tests/adults/final/wer"} <= names
    assert any(name.startswith("eval/wer_") for name in names)


def test_a_run_goes_on_where_wandb_dies_before_the_first_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def setup(*_: object, **__: object) -> None:
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr("transformers.integrations.WandbCallback.setup", setup)
    callback = WandbRunCallback(WandbLogger("p", None, None, [], 1), {})
    callback.setup(None, None, None)
    callback.setup(None, None, None)
    assert [record.getMessage() for record in caplog.records] == [
        "wandb has stopped, the run continues without it: ConnectionResetError: Connection lost"
    ]
