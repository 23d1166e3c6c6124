"""Shared by the tests: composing and running a config as the command line does, fixtures, and real data."""

import gc
import os

# Tests run in parallel. Two processes whose threads spin on the same cores take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from hypothesis import settings
from omegaconf import DictConfig

from kidasr.cli.shorthand import written_out
from kidasr.config import check_config
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.runs.folder import prepare_run_folder
from kidasr.runs.sweeps import read_sweep

# Property tests use the same examples every time. `--hypothesis-profile=thorough` tries more of them.
settings.register_profile("kidasr", deadline=None, max_examples=50, derandomize=True, database=None)
settings.register_profile("thorough", settings.get_profile("kidasr"), max_examples=400)
settings.load_profile("kidasr")

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("KIDASR_SHARED", ROOT.parent / "shared"))
TINY_EN = SHARED / "models" / "whisper-tiny.en"
KIDS = SHARED / "data" / "speechocean762-kids"
ADULTS = SHARED / "data" / "speechocean762-adults"
MICRO = ROOT / "kidasr" / "embedded" / "micro_whisper"

#: Skipped without real weights and recordings. Slow tests with them are also in the group ``real_data``.
real_data = pytest.mark.skipif(
    not all(folder.is_dir() for folder in (TINY_EN, KIDS, ADULTS)),
    reason="real weights and recordings are not here: ../shared/models/whisper-tiny.en, ../shared/data/speechocean762-*",
)


def composed(*overrides: str) -> DictConfig:
    """The config that ``python run.py OVERRIDES`` composes."""
    return deepcopy(_composed(*overrides))


@cache
def _composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", written_out(overrides, [ROOT / "conf"]))


def job(run_dir: Path, *overrides: str) -> Any:
    """The job that ``python run.py OVERRIDES hydra.run.dir=RUN_DIR`` instantiates."""
    cfg = composed(*overrides)
    cfg.job.run_dir = str(run_dir)
    check_config(cfg)
    prepare_run_folder(run_dir, cfg)
    return hydra.utils.instantiate(cfg.job)


def run_py(*arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python run.py ARGUMENTS`` in a new process."""
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=600)


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``python run.py ARGUMENTS`` in this process, which saves the time to import; returns the exit code."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    try:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    except SystemExit as end:
        assert isinstance(end.code, int | None)
        return end.code or 0
    return 0


@contextmanager
def as_nobody() -> Iterator[None]:
    """Drop root's permission to read and write everything, if the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def sweep_runs(sweep: Path) -> list[Path]:
    """The folders of a sweep's runs, in the order of the command line."""
    return [sweep / run.name for run in read_sweep(sweep)]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each of pytest's processes start with its share of the long tests."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("minutes")]
    short = [item for item in items if not item.get_closest_marker("minutes")]
    share = -(-len(short) // processes)
    items[:] = [item for n in range(processes) for item in [*long[n::processes], *short[n * share : (n + 1) * share]]]


def pytest_collection_finish() -> None:
    """Freeze imported objects: training collects garbage at its end, which then takes a twentieth of the time."""
    if "torch" in sys.modules:
        import kidasr.report.report
        import kidasr.training.fine_tune  # noqa: F401  with the report, everything that a run imports
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures only in tests that check them: they take a quarter of a short run."""
    if "kidasr.report.report" in sys.modules and not request.node.get_closest_marker("figures"):
        from matplotlib.figure import Figure

        for name in ("learning_curve", "wer_by_age", "forest", "ages_by_step"):
            monkeypatch.setattr(f"kidasr.report.report.{name}", lambda *_, **__: Figure())


@pytest.fixture
def buckets() -> AgeBuckets:
    return AgeBuckets()


@pytest.fixture
def utterance(tmp_path: Path) -> Callable[..., Utterance]:
    """Makes an utterance with a recording on disk: a tone in noise."""

    def make(
        utterance_id: str = "u", text: str = "two red cats", age_bucket: str = "5-6", duration_sec: float = 1.5, **rest: Any
    ) -> Utterance:
        path = tmp_path / f"{utterance_id}.wav"
        rng = np.random.default_rng(len(utterance_id))
        time_sec = np.arange(int(16_000 * duration_sec)) / 16_000
        soundfile.write(path, 0.2 * np.sin(2 * np.pi * 300 * time_sec) + 0.01 * rng.standard_normal(len(time_sec)), 16_000)
        fields: dict[str, Any] = {
            "utterance_id": utterance_id,
            "speaker_id": "s",
            "audio_path": str(path),
            "text": text,
            "age_bucket": age_bucket,
            "age": None,
            "duration_sec": duration_sec,
            "gender": None,
            "split": None,
            "source": "m.jsonl:1",
        }
        return Utterance(**{**fields, **rest})

    return make


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows to a JSONL manifest."""

    def write(rows: Sequence[Mapping[str, Any]], name: str = "m.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
