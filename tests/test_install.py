"""kidasr as an installed package: outside a clone, by the command ``kidasr`` and from Python."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, read_json, sweep_runs

pytestmark = pytest.mark.slow

Started = subprocess.CompletedProcess[str]
SHORT = ("debug=smoke", "report=none", "trainer.zero_shot=false", "trainer.max_steps=1")


def build(source: Path, output: Path, kind: str) -> Path:
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(output)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a source distribution of this clone, whose owner has defaults of their own."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("conf", "hydra_plugins", "kidasr"):
        shutil.copytree(ROOT / name, folder / "clone" / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml", "run.py"):
        shutil.copy(ROOT / name, folder / "clone")
    local = folder / "clone" / "conf" / "local"
    local.mkdir(exist_ok=True)
    (local / "default.yaml").write_text("# @package _global_\nseed: 7\n", encoding="utf-8")
    shutil.unpack_archive(build(folder / "clone", folder / "sdist", "sdist"), folder / "unpacked")
    (source,) = (folder / "unpacked").iterdir()
    return build(source, folder / "wheel", "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Started]:
    """Runs a program of a virtual environment with the wheel, which sees the packages of this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    others = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages" / "others.pth"
    others.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps", "-q", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    # The clone must not be found, nor any program that is not asked for.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HYDRA_FULL_ERROR")}

    def run(cwd: Path, program: str, *arguments: str, **more: str) -> Started:
        command = [str(folder / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=cwd, env={**environment, **more}, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run


def test_a_wheel_has_every_config_and_nothing_of_the_person_who_built_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = {path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.yaml") if path.parent.name != "local"}
    assert {name for name in names if name.endswith(".yaml") and "conf/" in name} == {f"kidasr/{path}" for path in listed}
    assert {"kidasr/py.typed", "kidasr/corpus/conventions.yaml", "hydra_plugins/kidasr_plugin.py"} <= names
    assert not {name for name in names if name.startswith(("tests", "conf", "docs", "run.py"))}


def test_a_run_in_an_empty_folder(installed: Callable[..., Started], tmp_path: Path) -> None:
    said = installed(tmp_path, "kidasr", "debug=smoke").stdout
    (run_dir,) = (tmp_path / "outputs").glob("*/*")
    assert f"run folder: {run_dir}" in said.replace(" outputs/", f" {tmp_path}/outputs/")
    assert (run_dir / "report.html").is_file() and read_json(run_dir / "config.json")["seed"] == 1
    recorded = read_json(run_dir / "environment.json")
    assert (recorded["commit"], recorded["uncommitted_changes"]) == (None, None)
    repeated = installed(tmp_path, "python", "-m", "kidasr", "debug=smoke", f"hydra.run.dir={run_dir}").stdout
    assert "nothing to do" in repeated


def test_help_messages_and_completion_name_the_command(installed: Callable[..., Started], tmp_path: Path) -> None:
    shown = installed(tmp_path, "kidasr", "--help").stdout
    assert "Usage: kidasr [group=choice ...]" in shown and "run.py" not in shown and "augment: adult_to_child" in shown
    assert "-F hydra_bash_completion kidasr" in installed(tmp_path, "kidasr", "-sc", "install=bash").stdout
    asked = {"COMP_LINE": "kidasr augment=spec", "COMP_POINT": "19"}
    offered = installed(tmp_path, "kidasr", "-sc", "query=bash", **asked).stdout.split()
    assert offered == ["augment=specaugment", "augment=specaugment_strong"]


def test_defaults_of_the_working_directory(installed: Callable[..., Started], tmp_path: Path) -> None:
    for folder, seed in (("conf", 5), ("mine", 6)):
        (tmp_path / folder / "local").mkdir(parents=True)
        (tmp_path / folder / "local" / "default.yaml").write_text(f"# @package _global_\nseed: {seed}\n", encoding="utf-8")
    assert "\nseed: 5\n" in installed(tmp_path, "kidasr", "--cfg", "job").stdout
    assert "\nseed: 6\n" in installed(tmp_path, "kidasr", "--config-dir=mine", "--cfg", "job").stdout
    assert "\nseed: 2\n" in installed(tmp_path, "kidasr", "--cfg", "job", "seed=2").stdout


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_a_sweep_of_runs_in_two_processes(launcher: str, installed: Callable[..., Started], tmp_path: Path) -> None:
    more = ("seed=1,2", "padding=longest", "trainer.num_processes=2", f"hydra/launcher={launcher}", "hydra.sweep.dir=mine")
    (tmp_path / "conf" / "local").mkdir(parents=True)
    local = "# @package _global_\noptim:\n  weight_decay: 0.02\n"
    (tmp_path / "conf" / "local" / "default.yaml").write_text(local, encoding="utf-8")
    said = installed(tmp_path, "kidasr", "--multirun", *SHORT, *more)
    assert "run.py" not in said.stdout + said.stderr
    runs = sweep_runs(tmp_path / "mine")
    assert len(runs) == 2
    for run in runs:
        assert read_json(run / "metrics.json")["steps"] == 1
        assert read_json(run / "config.json")["optim"]["weight_decay"] == 0.02
    assert "2 finished" in installed(tmp_path, "kidasr", "job=status", "sweep=mine").stdout


def test_the_functions(installed: Callable[..., Started], tmp_path: Path) -> None:
    code = f"""
import json, kidasr
config = kidasr.compose(*{SHORT!r}, "augment=specaugment")
print(json.dumps(kidasr.train(config, run_dir="mine")["steps"]), kidasr.__file__)
"""
    steps, where = installed(tmp_path, "python", "-c", code).stdout.splitlines()[-1].split()
    assert json.loads(steps) == 1 and str(ROOT) not in where
    assert list(read_json(tmp_path / "mine" / "config.json")["augment"]) == ["specaugment"]
