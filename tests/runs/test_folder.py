"""Which folders a run may use, checked before anything is loaded."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from kidasr.errors import KidasrError
from kidasr.runs.folder import check_run_folder, lock_run_folder, prepare_run_folder, read_config
from kidasr.runs.record import record
from tests.bad_input import Row, assert_line
from tests.conftest import as_nobody, composed, run_here


def inside(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / name


def read_only(folder: Path) -> Path:
    folder.chmod(0o555)
    return folder / "run"


def a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


def in_a_file(folder: Path) -> Path:
    return a_file(folder) / "run" / "one"


def dangling(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


#: Each prepares a new folder and returns the run folder in it.
RUN_FOLDERS = {
    "in a read-only folder": Row(read_only, "hydra.run.dir=FILE: ... is not writable; expected: a writable folder"),
    "a file": Row(a_file, "hydra.run.dir=FILE: FILE is not a folder; expected: a new or existing folder"),
    "in a file": Row(in_a_file, "hydra.run.dir=FILE: ...file is not a folder; expected: a new or existing folder"),
    "a link to nowhere": Row(dangling, "hydra.run.dir=FILE: FILE is not a folder; expected: a new or existing folder"),
    "a name of 300 characters": Row(
        inside("x" * 300), "hydra.run.dir=FILE: the name of a folder is too long; expected: up to 255 bytes"
    ),
    "a new folder in new folders": Row(inside("a/b/c"), note="they are made"),
    "a path with spaces and Unicode": Row(inside("with spaces, né & 日本 🎉/it's")),
    "a path with a line end": Row(inside("a\nb")),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that users other than root can write to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.parametrize("row", RUN_FOLDERS.values(), ids=RUN_FOLDERS)
def test_a_run_folder_can_be_written_or_is_refused(folder: Path, row: Row) -> None:
    run_dir = row.given(folder)
    cfg = composed()
    with as_nobody():
        try:
            check_run_folder(run_dir, cfg)
            prepare_run_folder(run_dir, cfg)
        except KidasrError as error:
            assert row.line is not None, error
            assert_line(str(error), row.line, run_dir)
        else:
            assert row.line is None, "refused"
            assert (run_dir / "config.json").exists()
    assert os.geteuid() == os.getuid()


def test_a_job_that_is_requeued_begins_anew_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("resume=never", "overwrite=true")
    for restarts in ("0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        prepare_run_folder(tmp_path, cfg)
        assert (tmp_path / "checkpoints").exists() is (restarts == "1"), "what was there before goes, what it saved stays"
        (tmp_path / "checkpoints").mkdir(exist_ok=True)


def test_overwriting_deletes_what_a_run_leaves_and_nothing_else(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (run_dir / composed("logger=tensorboard").logger.logging_dir).mkdir()
    for name in ("metrics.json", "notes.txt"):
        (run_dir / name).write_text("{}", encoding="utf-8")
    prepare_run_folder(run_dir, composed("resume=never", "overwrite=true"))
    assert {path.name for path in run_dir.iterdir()} == {"config.json", "notes.txt"}


def test_a_comparison_does_not_go_into_the_folder_of_a_training_run(tmp_path: Path) -> None:
    prepare_run_folder(tmp_path, composed())
    compare = composed("job=compare", "runs=[a,b]")
    with pytest.raises(KidasrError, match="holds an unfinished run of another config"):
        check_run_folder(tmp_path, compare)
    (tmp_path / "metrics.json").write_text('{"final": {"wer": 0.25}}', encoding="utf-8")
    assert check_run_folder(tmp_path, composed("trainer.num_threads=8"))
    with pytest.raises(KidasrError, match="holds a finished run of another config"):
        check_run_folder(tmp_path, compare)


def test_a_run_that_failed_before_its_first_checkpoint_makes_room_for_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = composed("seed=2")
    prepare_run_folder(tmp_path, composed())
    record(tmp_path, "started")
    (tmp_path / "bad_audio.jsonl").touch()
    record(tmp_path, "failed", error="m.jsonl:1: no such file", mistake=True)
    check_run_folder(tmp_path, other)
    assert (tmp_path / "bad_audio.jsonl").exists(), "a look deletes nothing"
    lock_run_folder(tmp_path)
    with caplog.at_level("INFO"):
        prepare_run_folder(tmp_path, other)
    assert [line.getMessage() for line in caplog.records] == [
        f"{tmp_path}: deleted a run of another config, which failed before its first checkpoint"
    ]
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.json"}
    assert (read_config(tmp_path) or {})["seed"] == 2


def test_a_run_that_was_killed_makes_room_unless_it_has_scored_or_slurm_may_start_it_again(tmp_path: Path) -> None:
    other = composed("seed=2")

    def refused(folder: Path) -> bool:
        try:
            return check_run_folder(folder, other)
        except KidasrError as error:
            return "holds an unfinished run of another config" in str(error)

    for name, events in {"killed": [], "scored": [], "in_use": [], "queued": ["queued", "submitted"]}.items():
        prepare_run_folder(tmp_path / name, composed())
        for event in [*events, "started"]:
            record(tmp_path / name, event)  # type: ignore[arg-type]
    (tmp_path / "scored" / "zero_shot_adults.json").touch()
    with (tmp_path / "in_use" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [refused(tmp_path / name) for name in ("killed", "scored", "in_use", "queued")] == [False, True, True, True]
    assert not refused(tmp_path / "in_use")


@pytest.mark.parametrize(
    "kept", ["checkpoints/checkpoint-3", "checkpoints/stopped-2", "checkpoints/set_aside", "metrics.json"]
)
def test_a_failed_run_that_has_trained_is_protected(tmp_path: Path, kept: str) -> None:
    prepare_run_folder(tmp_path, composed())
    (tmp_path / kept).mkdir(parents=True)
    record(tmp_path, "failed", error="no space", mistake=True)
    with pytest.raises(KidasrError, match="run of another config; expected: another"):
        prepare_run_folder(tmp_path, composed("seed=2"))
    assert (tmp_path / kept).exists()


def test_a_failed_run_that_another_process_has_begun_again_is_protected(tmp_path: Path) -> None:
    prepare_run_folder(tmp_path, composed())
    record(tmp_path, "failed", error="no such file", mistake=True)
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(KidasrError, match="holds an unfinished run of another config"):
            check_run_folder(tmp_path, composed("seed=2"))
    check_run_folder(tmp_path, composed("seed=2"))


def test_two_jobs_that_begin_in_the_same_second_have_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
            return cls(2026, 12, 1, 6, 3, 18, tzinfo=tz)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hydra.core.utils.datetime", StoppedClock)
    for effect in ("effect=1.0", "effect=2.0"):
        assert run_here(monkeypatch, "job=plan", effect) == 0
    # A folder that is named after the day may be meant to resume.
    for _ in range(2):
        assert run_here(monkeypatch, "job=plan", "hydra.run.dir=outputs/${now:%Y-%m-%d}/mine") == 0
    names = sorted(path.name for path in Path("outputs/2026-12-01").iterdir())
    assert names == ["06-03-18", "06-03-18-2", "mine"]
