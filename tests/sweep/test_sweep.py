"""Sweeps on this machine: what is finished is not run again, several processes, a study that continues, nobody waiting."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf

from kidasr.errors import STOPPED, KidasrError
from kidasr.runs.folder import lock_run_folder, prepare_run_folder
from kidasr.runs.record import read_attempts, record, write_progress
from kidasr.runs.sweeps import PlannedRun, add_runs, labels_of
from kidasr.sweep.local import _run
from kidasr.sweep.pending import advice
from kidasr.sweep.plan import SweepRun
from kidasr.sweep.state import run_state
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import ROOT, composed, job, read_json, run_here, sweep_runs

SHORT = ("debug=smoke", "trainer.zero_shot=false", "report=none")


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file with the time it was written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def starts(run_dir: Path) -> int:
    return sum(row["event"] == "started" for row in read_attempts(run_dir))


def test_a_sweep_typed_again_runs_what_is_missing_and_more_seeds_extend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = ("--multirun", "curriculum=none,age", *SHORT, "trainer.max_steps=1")
    assert run_here(monkeypatch, *swept) == 0
    (sweep,) = (tmp_path / "outputs" / "multirun").iterdir()
    first = sweep_runs(sweep)
    (first[1] / "metrics.json").unlink()  # as where it was cut off at its very end
    finished = contents(first[0])
    assert run_here(monkeypatch, *swept, "seed=1,2", "logger=tensorboard", "trainer.num_threads=1") == 0
    assert contents(first[0]) == finished
    runs = sweep_runs(sweep)
    assert runs[:2] == first and len(runs) == 4 and len(list((tmp_path / "outputs" / "multirun").iterdir())) == 1
    assert [starts(run) for run in runs] == [1, 2, 1, 1]
    comparison = read_json(sweep / "comparison.json")
    assert len(comparison["runs"]) == 4 and [pair["seeds"] for pair in comparison["pairs"]] == [[2, 2]]
    assert run_here(monkeypatch, *swept, "resume=never", "overwrite=true") == 0
    assert (first[0] / "metrics.json").exists() and starts(first[0]) == 1, "begun anew, as it was asked for"


def test_processes_share_a_sweep_and_one_takes_over_what_another_does_not_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    swept = ("--multirun", "seed=1,2", *SHORT, "trainer.max_steps=1", f"hydra.sweep.dir={tmp_path}")
    assert run_here(monkeypatch, *swept) == 0
    first, second = sweep_runs(tmp_path)
    for run in (first, second):
        (run / "metrics.json").unlink()
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom kidasr.runs.folder import lock_run_folder\n"
        "lock_run_folder(Path(sys.argv[1]))\nprint('locked', flush=True)\n"
        "while not Path(sys.argv[2]).exists(): time.sleep(0.05)"
    )
    command = [sys.executable, "-c", code, str(first), str(second / "metrics.json")]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        capfd.readouterr()
        assert run_here(monkeypatch, *swept) == 0
    assert re.search(rf"process {other.pid} on \S+ does it", capfd.readouterr().out)
    assert [starts(run) for run in (first, second)] == [2, 2] and (first / "metrics.json").exists()
    last = [read_attempts(run)[-1]["time"] for run in (second, first)]
    assert last == sorted(last), "the other process's comes last"


@pytest.mark.processes
def test_two_processes_do_each_run_of_a_sweep_once_and_both_compare_all(tmp_path: Path) -> None:
    swept = ("--multirun", "seed=1,2,3", "augment=none,specaugment", "debug=smoke", "trainer.zero_shot=false")
    command = [sys.executable, str(ROOT / "run.py"), *swept, f"hydra.sweep.dir={tmp_path}"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    both = [subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [starts(run) for run in sweep_runs(tmp_path)] == [1] * 6 and not any("failed" in one for one in said)
    assert len(read_json(tmp_path / "comparison.json")["runs"]) == 6 and all("comparison:" in one for one in said)


def test_a_finished_run_of_a_sweep_returns_its_wer_untouched_and_one_of_another_config_fails(tmp_path: Path) -> None:
    prepare_run_folder(tmp_path, composed())
    (tmp_path / "metrics.json").write_text('{"final": {"wer": 0.25}}', encoding="utf-8")
    before = contents(tmp_path)
    of_this, of_another = (
        _run(None, SweepRun(tmp_path, "mine", [], [], cfg), 0)
        for cfg in (composed("logger=tensorboard"), composed("seed=2"))
    )
    assert of_this.return_value == 0.25 and contents(tmp_path) == before
    with pytest.raises(KidasrError, match="holds a finished run of another config"):
        _ = of_another.return_value


@pytest.mark.parametrize("error", [None, OSError(errno.ENOSPC, "No space left on device")], ids=["saved", "not saved"])
def test_a_sweep_that_is_told_to_stop_begins_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: OSError | None
) -> None:
    original = ChildSpeechTrainer.training_step

    def stopped(self: ChildSpeechTrainer, *arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments, **options)

    def unsaved(*_: object) -> None:
        assert error
        raise error

    monkeypatch.setattr(ChildSpeechTrainer, "training_step", stopped)
    if error:
        monkeypatch.setattr(ChildSpeechTrainer, "_write_checkpoint", unsaved)
    assert run_here(monkeypatch, "--multirun", *SHORT, "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}") == STOPPED
    events = [row["event"] for run_dir in sweep_runs(tmp_path / "sweep") for row in read_attempts(run_dir)]
    assert [one for one in events if one != "queued"] == ["started", "stopped"]
    said = "".join(capfd.readouterr())
    assert ("nothing is lost" in said) == (error is None) and ("No space left on device" in said) == (error is not None)


@pytest.mark.processes
def test_one_key_starts_two_processes_with_the_batch_of_one_also_in_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ("padding=longest", "trainer.train_batch_size=3", "trainer.num_processes=2")
    assert run_here(monkeypatch, "--multirun", *SHORT, *batch, "seed=1", f"hydra.sweep.dir={tmp_path / 'sweep'}") == 0
    (run_dir,) = sweep_runs(tmp_path / "sweep")
    assert read_json(run_dir / "checkpoints" / "checkpoint-3" / "loop_state.json")["processes"] == 2
    job(tmp_path / "one", *SHORT, *batch[:2]).run()
    one, two = (read_json(folder / "metrics.json") for folder in (tmp_path / "one", run_dir))
    assert one["final"] == two["final"]
    assert [row["loss"] for row in one["history"] if "loss" in row] == pytest.approx(
        [row["loss"] for row in two["history"] if "loss" in row], abs=1e-5
    )


@pytest.mark.processes
def test_two_processes_stop_by_a_signal_to_the_first_and_end_with_its_exit_code(tmp_path: Path) -> None:
    long = (*SHORT, "trainer.num_processes=2", "trainer.max_steps=2000", f"hydra.run.dir={tmp_path / 'run'}")
    command = [sys.executable, str(ROOT / "run.py"), *long]
    run = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("checkpoints/checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGUSR2)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == STOPPED, said
    assert "nothing is lost; the same command resumes" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["trainer.num_processes=3", "trainer.num_nodes=2"],
            "trainer.num_processes=3: should be a multiple of trainer.num_nodes=2",
        ),
        (
            ["trainer.num_processes=17", "trainer.train_batch_size=16"],
            "trainer.num_processes=17: more than the utterances",
        ),
        (
            ["trainer.num_processes=2", "trainer.num_nodes=2"],
            "trainer.num_nodes=2: this is one machine; expected: --",
        ),
        (
            ["--multirun", "seed=1", "hydra/launcher=slurm"],
            "hydra/launcher=slurm: there is no sbatch on this machine; ",
        ),
        (
            ["--multirun", "seed=1", "hydra/launcher=slurm", "hydra.launcher.partiton=a"],
            "hydra.launcher.partiton: no such key; did you mean hydra.launcher.partition?; expected in hydra.launcher: ",
        ),
        (
            ["seed=1", "--multirun", "hydra/launcher=slurm", "hydra.launcher.partition=3", "hydra.launcher.timeout_min=2h"],
            "hydra.launcher.timeout_min=2h: should be a valid integer",
        ),
        (["--multirun", "hydra/sweeper=optuna", "hydra.sweeper.n_jobs=0"], "hydra.sweeper.n_jobs=0: should be greater"),
        (["seed=1", "hydra/launcher=slurm"], "hydra/launcher=slurm: needs a multirun; expected: --multirun as well"),
        (
            ["--multirun", "seed=1,2", "curriculum=none,age", "hydra.sweep.subdir=${seed}", "hydra.sweep.dir=mine"],
            "hydra.sweep.subdir: two runs would share mine/1; ",
        ),
        (
            ["--multirun", "hydra/sweeper=optuna", "hydra.sweeper.storage=study.db"],
            "hydra.sweeper.storage=study.db: ...; expected: sqlite:///FILE",
        ),
        (
            ["--multirun", "hydra/sweeper=optuna", "augment.freq_mask_param=range(48,0)"],
            "hydra/sweeper=optuna: ",
        ),
        (["job=status"], "sweep=outputs/multirun: contains no sweep; expected: the folder of a multirun"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin/nothing")
    assert run_here(monkeypatch, *arguments) == 2
    said = capfd.readouterr().err
    begin, _, end = line.partition("...")  # between them the words of a library
    assert re.search(f"^error: {re.escape(begin)}.*{re.escape(end)}", said, re.MULTILINE) and "Traceback" not in said


def test_a_study_continues_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = ("--multirun", "hydra/sweeper=optuna", *SHORT, f"hydra.sweep.dir={tmp_path}")
    assert run_here(monkeypatch, *search, "hydra.sweeper.n_trials=2") == 0
    study = optuna.load_study(study_name="kidasr", storage=f"sqlite:///{tmp_path}/study.db")
    masks = {"augment.specaugment.freq_mask_param", "augment.specaugment.time_mask_param"}
    assert set(study.best_params) == {*masks, "freeze.freeze_encoder_steps", "optim.learning_rate"}
    assert [trial.value for trial in study.trials] == [
        read_json(run / "metrics.json")["final"]["wer"] for run in sweep_runs(tmp_path)
    ]
    cut_off = study.ask()  # as by a power failure: it stays running
    for name, distribution in study.trials[0].distributions.items():
        cut_off._suggest(name, distribution)
    assert run_here(monkeypatch, *search, "hydra.sweeper.n_trials=3") == 0
    study = optuna.load_study(study_name="kidasr", storage=f"sqlite:///{tmp_path}/study.db")
    states = [trial.state.name for trial in study.get_trials()]
    assert states == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[3].params == cut_off.params, "run again"
    assert OmegaConf.load(tmp_path / "optimization_results.yaml").best_value == study.best_value


@pytest.mark.processes
def test_runs_at_once_with_nobody_waiting_are_compared_by_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    launcher = ("hydra/launcher=submitit_local", "hydra.launcher.wait=false")
    swept = ("curriculum=none,age", "debug=smoke", "trainer.zero_shot=false", "resume=never", "overwrite=true")
    stale = sweep / "mine_1"
    stale.mkdir(parents=True)
    (stale / "metrics.json").write_text('{"final": {"wer": 9}}', encoding="utf-8")
    names = "hydra.sweep.subdir='mine_${hydra:job.num}'"
    assert run_here(monkeypatch, "--multirun", *swept, *launcher, names, f"hydra.sweep.dir={sweep}") == 0
    assert "2 submitted of 2" in "".join(capfd.readouterr())
    assert run_here(monkeypatch, "job=status", f"sweep={sweep}") == 0
    assert "mine_1" in capfd.readouterr().out
    deadline = time.monotonic() + 120
    while not (sweep / "report.html").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    runs = read_json(sweep / "comparison.json")["runs"]
    assert len(runs) == 2 and all(run["wer"] < 9 for run in runs), "begun anew, as it was asked for"


def test_a_runs_state_is_told_by_its_folder_and_the_queue(tmp_path: Path) -> None:
    def state(queue: dict[str, str] | None) -> tuple[Any, ...]:
        found = run_state(tmp_path, queue)
        return found.state, found.step, found.wer, found.preempted

    assert state({}) == ("not started", None, None, 0)
    record(tmp_path, "queued")
    record(tmp_path, "submitted", cluster="slurm", job="7_1", log=str(tmp_path / "err"))
    assert state({"7_1": "PENDING"})[0] == "queued"
    record(tmp_path, "started", job="7_1")
    write_progress(tmp_path, step=30, max_steps=90, wer=0.25)
    assert state({"7_1": "RUNNING"}) == ("running", 30, 0.25, 0)
    assert state({"7_1": "PENDING"}) == ("queued", 30, 0.25, 1), "its node has failed, SLURM runs it again"
    record(tmp_path, "stopped", by="SIGUSR2")
    assert state({"7_1": "PENDING"}) == ("queued", 30, 0.25, 1)
    record(tmp_path, "started", job="7_1")
    assert state({"7_1": "RUNNING"}) == state(None) == ("running", 30, 0.25, 1)
    (tmp_path / "err").write_text("loading\nslurmstepd: error: out of memory\n\n", encoding="utf-8")
    lost = run_state(tmp_path, {})
    assert lost.state == "failed" and "slurmstepd: error: out of memory" in (lost.error or "")
    record(tmp_path, "failed", error="ValueError: no", mistake=False)
    assert (run_state(tmp_path, {}).error, state({})[0]) == ("ValueError: no", "failed")


def test_status_names_runs_by_what_differs_and_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "/a/very/long/path/to/the/recordings/of/the/children/of/this/corpus"
    shared = (f"data.train={long}/train.jsonl", "augment.specaugment.max_time_mask_fraction=0.25")
    models = (f"{long}/checkpoints/tiny/model", f"{long}/checkpoints/base/model")
    runs = [
        PlannedRun(f"{'x' * 150}-0000000{number}", (*shared, f"model.name_or_path={model}", f"seed={seed}"))
        for number, (model, seed) in enumerate((model, seed) for model in models for seed in (1, 2))
    ]
    add_runs(tmp_path, runs)
    assert list(labels_of(runs).values()) == [
        f"name_or_path={model} seed={seed}" for model in ("tiny/model", "base/model") for seed in (1, 2)
    ]
    assert labels_of(runs[:1]) == {runs[0].name: "x" * 150}, "nothing differs"
    for width in (80, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        assert run_here(monkeypatch, "job=status", f"sweep={tmp_path}") == 0
        table = capsys.readouterr().out.partition("run ")[2].partition("\n\nRun the")[0]
        assert max(map(len, table.splitlines())) <= width and "…" not in table
        assert width < 80 or table.count("name_or_path=base/model") == table.count("seed=2") == 2, "else broken, but not cut"


@pytest.mark.parametrize(
    ("reason", "key"),
    [
        ("Resources", None),
        ("Priority", None),
        ("JobArrayTaskLimit", None),
        ("PartitionNodeLimit", "trainer.num_nodes"),
        ("QOSMaxCpuPerUserLimit", "hydra.launcher.cpus_per_task"),
        ("QOSMaxWallDurationPerJobLimit", "hydra.launcher.timeout_min"),
        ("QOSMaxMemoryPerJob", "hydra.launcher.mem_gb"),
        ("QOSMaxGRESPerUser", "hydra.launcher.gpus_per_node"),
        ("AssocMaxJobsLimit", "to wait for other jobs"),
        ("AssocGrpBillingMinutes", "hydra.launcher.account"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "hydra.launcher.constraint"),
        ("DependencyNeverSatisfied", "hydra.launcher.additional_parameters"),
        ("(JobHeldUser)", "scontrol release"),
    ],
)
def test_a_reason_of_slurm_that_does_not_pass_names_the_key_to_change(reason: str, key: str | None) -> None:
    assert (advice(reason) is None) if key is None else (key in (advice(reason) or ""))


def test_without_a_queue_a_run_is_running_while_its_folder_is_in_use(tmp_path: Path) -> None:
    lock_run_folder(tmp_path / "held")
    for name in ("held", "killed"):
        record(tmp_path / name, "started")
    assert [run_state(tmp_path / name, None).state for name in ("held", "killed")] == ["running", "stopped"]
