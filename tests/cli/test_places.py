"""What a run would stop at in its first minute is looked for before anything slow is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MICRO, ROOT

CORPUS = MICRO.parent / "corpus"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["data.train=gone.jsonl"], "gone.jsonl: no such file or folder; expected: "),
        ([f"data.train={CORPUS}/train.jsonl", "data.tests.kids=gone.csv"], "gone.csv: no such file or folder; expected: "),
        (
            ["data.train=wrong.jsonl"],
            "wrong.jsonl:1: audio/1.ogg: no such file (audio paths are relative to the manifest); nor ",
        ),
        ([f"data.train={CORPUS}/train.jsonl", "model.name_or_path=./gone"], "model.name_or_path=./gone: no such folder; "),
        (["job=transcribe", "input=gone"], "input=gone: no such file or folder; expected: "),
    ],
)
def test_what_is_not_there_is_told_before_torch_is_imported(tmp_path: Path, typed: list[str], line: str) -> None:
    lines = [f'{{"audio_path": "audio/{number}.ogg", "text": "a", "speaker_id": "s{number}"}}\n' for number in (1, 2, 3)]
    (tmp_path / "wrong.jsonl").write_text("".join(lines), encoding="utf-8")
    code = (
        f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = {[*typed, 'hydra.run.dir=run']!r}\n"
        f"try: runpy.run_path({str(ROOT / 'run.py')!r}, run_name='__main__')\n"
        "except SystemExit as end: print('exit', end.code)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"error: {line}") and done.stderr.count("\n") == 1, done.stderr
    assert done.returncode == 0 and "exit 2" in done.stdout
    assert line in (tmp_path / "run" / "run.log").read_text(encoding="utf-8")
