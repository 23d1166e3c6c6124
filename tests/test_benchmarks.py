"""The benchmark for a GPU runs from end to end in its small form, so that ten minutes of a GPU are not lost to a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.gpu import parts
from tests.conftest import ROOT, read_json


@pytest.mark.slow
def test_every_part_of_the_gpu_benchmark_runs(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    options = ["--small", "--device", "cpu", "--minutes", "20", "--output", str(output)]
    command = [sys.executable, "-m", "tests.benchmarks.gpu", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    measured = read_json(output)["parts"]
    assert list(measured) == list(parts(small=True))
    for name, part in measured.items():
        assert part["rows"] and "error" not in part, (name, part)
        assert not [row for row in part["rows"].values() if "error" in row], (name, part)
    assert measured["resume"]["rows"]["stopped and resumed"]["bit_identical"], "on a CPU"
    assert measured["masked batch"]["rows"]["8 utterances"]["same_transcripts"] == "8 of 8"
