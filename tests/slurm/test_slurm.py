"""Sweeps on a real SLURM of one node: jobs that are requeued, signalled, out of time, distributed, or fail."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kidasr.runs.identity import words_of
from kidasr.runs.record import read_attempts, read_progress
from tests.conftest import MICRO, ROOT, job, read_json, run_here
from tests.jobs.test_train import same, weights
from tests.slurm.cluster import Cluster, missing

reason = missing()
pytestmark = [pytest.mark.skipif(reason is not None, reason=str(reason)), pytest.mark.slurm]

#: A run of some seconds, with an evaluation and a checkpoint in the middle.
RUN = (
    "augment=specaugment",
    "trainer.max_steps=120",
    "trainer.train_batch_size=2",
    "trainer.logging_steps=20",
    "checkpoint.eval_steps=60",
    "checkpoint.save_steps=60",
    "data.limit_train=40",
    "data.limit_validation=8",
    "trainer.zero_shot=false",
)
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=0.5", "hydra.launcher.poll_sec=2")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    (tmp_path / "slurm").mkdir()
    for folder in (tmp_path, *tmp_path.parents):  # munge's user has to get in
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    cluster = Cluster(tmp_path / "slurm")
    yield cluster
    cluster.stop()


def started(sweep: Path, *arguments: str) -> subprocess.Popen[str]:
    """``python run.py --multirun`` in the background."""
    command = [sys.executable, str(ROOT / "run.py"), "--multirun", *arguments, *SLURM, f"hydra.sweep.dir={sweep}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    return subprocess.Popen(
        command,
        cwd=sweep.parent,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # tests in the background ignore it, and pass that on
    )


def until(holds: Callable[[], Any], sweep: subprocess.Popen[str] | None = None) -> Any:
    """What holds, once it does."""
    deadline = time.monotonic() + 180
    while not (found := holds()):
        assert sweep is None or sweep.poll() is None, sweep.communicate()[0]
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)
    return found


def folder_of(sweep: Path, *words: str) -> Path | None:
    """The folder of the run that has these words in its name."""
    return next((path for path in sweep.glob("*-????????") if {*words} <= {*words_of(path.name).split("+")}), None)


def trains(run_dir: Path | None, step: int = 10) -> bool:
    return run_dir is not None and (read_progress(run_dir).get("step") or 0) >= step


def events(run_dir: Path, *kinds: str) -> list[dict[str, Any]]:
    return [row for row in read_attempts(run_dir) if row["event"] in kinds]


def stopped_again(run_dir: Path, count: int) -> bool:
    return len(events(run_dir, "stopped")) > count


def assert_undisturbed(run_dir: Path, reference: Path) -> None:
    assert same(weights(run_dir), weights(reference))
    assert read_json(run_dir / "metrics.json") == read_json(reference / "metrics.json")


def wandb_ids(run_dir: Path) -> list[str]:
    """Of each attempt."""
    return [path.name.rpartition("-")[2] for path in run_dir.glob("wandb/offline-run-*")]


def test_a_sweep_with_requeues_preemptions_and_a_dead_daemon_ends_as_if_nothing_had_been(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    freq, times = "augment.freq_mask_param=5", ["augment.time_mask_param=10", "augment.time_mask_param=20"]
    swept = ["augment.freq_mask_param=5,9", "augment.time_mask_param=10,20"]
    out = tmp_path / "sweep"
    sweep = started(out, *RUN, *swept, "logger=wandb", "hydra.launcher.array_parallelism=2")

    def begun(*words: str) -> Path:
        folder: Path = until(lambda: folder_of(out, *words), sweep)
        return folder

    first, second = (begun(freq, mask) for mask in times)
    until(lambda: trains(first) and trains(second), sweep)

    job_ids = [events(one, "submitted")[0]["job"] for one in (first, second)]
    assert "freq_mask_param=5" in cluster.run("squeue", "--noheader", "--format=%j", f"--jobs={job_ids[0]}")
    assert run_here(monkeypatch, "job=status", f"sweep={out}") == 0
    status = capfd.readouterr().out
    assert "2 queued, 2 running" in status, "no more at a time than array_parallelism says"
    assert "/120" in status
    cluster.run("scontrol", "requeue", job_ids[0])
    cluster.run("scancel", "--signal=USR2", job_ids[1])
    until(
        lambda: events(second, "stopped"), sweep
    )  # a signal that slurmd has not confirmed is sent again to the next attempt
    cluster.restart_slurmd()
    while len(stops := events(second, "stopped")) < 4 and stops[-1]["by"] != "SIGTERM":
        count, left_at = len(stops), read_progress(second)["step"]
        until(partial(trains, second, left_at + 1), sweep)
        cluster.run("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
        until(partial(stopped_again, second, count), sweep)
    for name, mask in zip("ab", times, strict=True):
        job(tmp_path / name, *RUN, freq, mask).run()

    said, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, said
    assert {row["by"] for row in events(first, "stopped")} == {"SIGTERM"}
    by = [row["by"] for row in events(second, "stopped")]
    assert by[0] == "SIGUSR2" and "SIGTERM" in by, (
        "a signal, and a job of a higher priority; SLURM may send the signal again"
    )
    for run_dir, reference in ((first, tmp_path / "a"), (second, tmp_path / "b")):
        assert len(events(run_dir, "started")) >= 2, "scancel signals more than once where SLURM is slow to answer"
        assert_undisturbed(run_dir, reference)
        assert len(wandb_ids(run_dir)) >= 2 and len(set(wandb_ids(run_dir))) == 1, "one run of wandb, in parts"
    comparison = read_json(out / "comparison.json")
    assert len(comparison["runs"]) == 4 and comparison["failed"] == []

    assert run_here(monkeypatch, "--multirun", *RUN, *swept, *SLURM, f"hydra.sweep.dir={out}") == 0
    assert "0 submitted of 4" in "".join(capfd.readouterr())
    assert run_here(monkeypatch, "job=status", f"sweep={out}") == 0
    status = capfd.readouterr().out
    assert "4 finished" in status and status.count("once") + status.count("times") == 2, "preempted"


def test_a_job_out_of_time_is_requeued_and_ends_as_one_with_time_enough(cluster: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    limits = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=5", "hydra.launcher.mem_per_cpu=500M")
    sweep = started(out, *RUN, *limits)
    run_dir = until(lambda: folder_of(out, "augment=specaugment"), sweep)
    until(lambda: trains(run_dir), sweep)
    pid = events(run_dir, "started")[0]["pid"]
    os.kill(pid, signal.SIGSTOP)  # a run that takes longer than its minute, but no processor; SLURM wakes it with its signal
    until(lambda: events(run_dir, "stopped"), sweep)
    job(tmp_path / "whole", *RUN).run()
    said, _ = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, said
    assert {row["by"] for row in events(run_dir, "stopped")} == {"SIGUSR2"} and len(events(run_dir, "started")) >= 2
    assert "timed-out" in "".join(path.read_text() for path in out.glob(".submitit/*/*.err"))
    assert_undisturbed(run_dir, tmp_path / "whole")


def test_a_distributed_job_trains_as_one_process_and_a_failing_one_fails_alone_with_nobody_waiting(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    good = MICRO.parent / "corpus" / "validation.jsonl"
    lonely = tmp_path / "lonely.jsonl"
    lonely.write_text('{"audio_path": "gone.wav", "text": "two cats", "speaker_id": "x"}\n', encoding="utf-8")
    out = tmp_path / "sweep"
    short = (*RUN, "trainer.max_steps=20", "schedule.warmup_steps=2", "checkpoint.eval_steps=20", "checkpoint.save_steps=20")
    sets = f"data.validation={good},{lonely}"
    sweep = started(out, *short, sets, "trainer.num_processes=2", "curriculum=none,age", "hydra.launcher.wait=false")
    said, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 0 and "4 submitted of 4" in said, said
    job(tmp_path / "one", *short).run()

    report = until(lambda: (out / "report.html").exists() and out / "report.html")
    comparison = read_json(out / "comparison.json")
    assert len(comparison["runs"]) == 2 and len(comparison["failed"]) == 2
    assert all("gone.wav" in row["reason"] for row in comparison["failed"]) and "gone.wav" in report.read_text("utf-8")
    assert run_here(monkeypatch, "job=status", f"sweep={out}") == 0
    status = capfd.readouterr().out
    assert "2 failed, 2 finished" in status and "gone.wav" in status
    (run_dir,) = (path for path in out.glob("*/metrics.json") if "curriculum=age" not in path.parent.name)
    of_one, of_two = read_json(tmp_path / "one" / "metrics.json"), read_json(run_dir)
    assert of_one["final"] == of_two["final"] and read_json(run_dir.parent / "environment.json")
    log = (run_dir.parent / "run.log").read_text(encoding="utf-8")
    assert log.count("run length: 20 optimizer steps of 2 utterances") == 1, "of two processes, one each, that are told once"


def test_an_ablation_adds_seeds_as_jobs_until_its_last_look(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two configurations, two seeds, then a third; the command that waited is killed and typed again."""
    out = tmp_path / "ablation"
    short = ("trainer.max_steps=4", "trainer.zero_shot=false", "step_scale=0.004", "data.limit_train=16", "report=none")
    rule = ("ablation.until=decided", "ablation.max_runs=6", "ablation.looks=2")
    typed = ("ablation=one_at_a_time", "hypotheses=[h4]", *rule, *short, "data.limit_validation=8")
    sweep = started(out, *typed)
    until(lambda: len(list(out.glob("*-????????"))) == 4, sweep)
    sweep.kill()
    sweep.communicate()
    assert run_here(monkeypatch, *typed, *SLURM, f"hydra.sweep.dir={out}") == 0
    runs = list(out.glob("*-????????"))
    assert len(runs) == 6 and all((run / "metrics.json").is_file() for run in runs)
    assert all(len(events(run, "submitted")) == 1 for run in runs), "the jobs of the killed command went on"
    assert read_json(out / "until.json")["seeds"] == [2, 3] and (out / "comparison.json").is_file()
    assert read_json(out / "comparison.json")["level"] == pytest.approx(read_json(out / "until.json")["levels"][-1])
    said = capfd.readouterr()
    assert "2 seeds: " in said.out + said.err and "3 seeds: " in said.out + said.err


def test_a_job_that_slurm_will_never_start_is_told_with_the_key_to_change(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, late = tmp_path / "wide", tmp_path / "late"
    sweep = started(out, *RUN, "trainer.train_batch_size=9", "trainer.num_processes=9", "seed=1,2")  # of four processors
    until(lambda: cluster.run("squeue", "--noheader", "--array", "--format=%r").count("PartitionConfig") == 2, sweep)
    time.sleep(5)  # the command asks every two seconds
    sweep.send_signal(signal.SIGINT)
    said, _ = sweep.communicate(timeout=60)
    assert said.count("SLURM does not start 2 of 2 runs: PartitionConfig; expected: fewer hydra.launcher.cpus_per_task") == 1
    limits = ("hydra.launcher.partition=short", "hydra.launcher.timeout_min=5", "hydra.launcher.wait=false")
    said, _ = started(late, *RUN, *limits).communicate(timeout=60)
    until(lambda: "PartitionTimeLimit" in cluster.run("squeue", "--noheader", "--format=%r"))
    capfd.readouterr()
    for folder, reason, key in (
        (out, "PartitionConfig", "cpus_per_task"),
        (late, "PartitionTimeLimit", "a lower hydra.launcher.timeout_min (scancel "),
    ):
        assert run_here(monkeypatch, "job=status", f"sweep={folder}") == 0
        status = capfd.readouterr().out
        assert f"queued ({reason})" in status and key in status, status
    cluster.run("scancel", "--user=root")
