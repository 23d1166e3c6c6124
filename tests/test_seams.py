"""What a user adds is one YAML and one module in a folder of their own; nothing of kidasr is touched."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import read_json, run_here

SHORT = ("debug=smoke", "report=none", "trainer.zero_shot=false", "trainer.max_steps=1", "data.limit_validation=2")

Add = Callable[[str, str, str], None]


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A folder of configs and modules, which are forgotten afterwards."""
    folder, before = tmp_path / "mine", set(sys.modules)
    folder.mkdir()
    path = sys.path.copy()
    yield folder
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def add(folder: Path, group: str, name: str, config: str, module: str = "") -> None:
    (folder / group).mkdir(exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(config, encoding="utf-8")
    if module:
        (folder / f"{name}.py").write_text(module, encoding="utf-8")


def run(monkeypatch: pytest.MonkeyPatch, mine: Path, *arguments: str) -> tuple[int, Path]:
    run_dir = mine.parent / "run"
    return run_here(monkeypatch, f"--config-dir={mine}", f"hydra.run.dir={run_dir}", *arguments), run_dir


SPEED = """
import numpy as np
from kidasr.features.augment import WaveformAugmentation


class Speed(WaveformAugmentation):
    def __init__(self, slowest: float, p: float):
        self.slowest, self.p = slowest, p
        self.max_length_factor = 1 / slowest

    def __call__(self, samples, draw):
        rng = draw.generator("speed")
        if rng.random() >= self.p:
            return samples
        factor = rng.uniform(self.slowest, 1)
        places = np.arange(0, len(samples) - 1, factor)
        return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
"""
SPEED_YAML = "# @package _global_\naugment:\n  speed:\n    _target_: speed.Speed\n    slowest: 0.8\n    p: 1.0\n"

SHIFT = """
from kidasr.features.augment import FeatureAugmentation


class Shift(FeatureAugmentation):
    def __init__(self, by: float, p: float = 1.0):
        self.by = by

    def __call__(self, features, real_frames, draw):
        return features + self.by * draw.generator("shift").normal()
"""
SHIFT_YAML = "# @package _global_\naugment:\n  shift:\n    _target_: shift.Shift\n    by: 0.1\n"

PACED = '''
import numpy as np
from kidasr.batching.curriculum import Curriculum


class Paced(Curriculum):
    """Short and easy utterances first; in the first epoch only those, twice."""

    def __init__(self, column: str):
        self.column = column

    def ranks(self, training_set, epoch):
        hard = training_set.column(self.column) > 0.5
        assert np.isfinite(training_set.ages).any() and (training_set.durations_sec > 0).all()
        return hard.astype(np.int64)

    def order(self, training_set, seed, epoch):
        whole = super().order(training_set, seed, epoch)
        easy = whole[self.ranks(training_set, epoch)[whole] == 0]
        return whole if epoch else np.resize(easy, len(whole))
'''
PACED_YAML = "_target_: paced.Paced\ncolumn: score\n"


def test_augmentations_of_waveforms_and_features_go_together(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(mine, "augment", "speed", SPEED_YAML, SPEED)
    add(mine, "augment", "shift", SHIFT_YAML, SHIFT)
    code, run_dir = run(monkeypatch, mine, "augment=[speed,shift,specaugment]", "augment.slowest=0.9", *SHORT)
    assert code == 0, capsys.readouterr().err
    config = read_json(run_dir / "config.json")["augment"]
    assert list(config) == ["speed", "shift", "specaugment"] and config["speed"]["slowest"] == 0.9
    assert "augment: speed: Speed" in (run_dir / "run.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["augment=speed", "augment.slowest=fast"], "augment.speed.slowest=fast: should be a valid number"),
        (["augment=[speed,shift]", "augment.p=0.5"], "augment.p: 2 augmentations have this key; expected: augment.shift.p or"),
        (["augment=speed", "+augment.speed.fastest=2"], "augment.speed.fastest: no such key; expected in augment.speed: slowest, p"),
        (["augment=speed", "~augment.speed.slowest"], "augment.speed.slowest is missing"),
        (["augment=speed", "augment.speed._target_=speed.Sped"], "augment.speed._target_: module speed has no Sped"),
        (["augment=speed", "augment.speed._target_=spede.Speed"], "augment.speed._target_: spede can't be imported: Module"),
        (["hypotheses=[constant,h2]"], "hypotheses=[constant,h2]: constant and h2 both choose schedule; expected: one of them"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_a_user_adds_is_one_line(
    arguments: list[str], line: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(mine, "augment", "speed", SPEED_YAML, SPEED)
    add(mine, "augment", "shift", SHIFT_YAML.rstrip() + "\n    p: 1.0\n", SHIFT)
    add(mine, "hypotheses", "constant", "# @package _global_\ndefaults:\n  - override /schedule: linear\n")
    code, run_dir = run(monkeypatch, mine, *arguments)
    assert (code, run_dir.exists()) == (2, False)
    complained = capsys.readouterr().err
    assert complained.startswith(f"error: {line}") and complained.count("\n") == 1, complained


def test_a_curriculum_sees_ages_durations_and_scores_and_paces_itself(
    mine: Path, monkeypatch: pytest.MonkeyPatch, manifest: Callable[..., Path], utterance: Callable[..., Any]
) -> None:
    def rows(name: str, count: int) -> Path:
        one = utterance(name, duration_sec=1.0)
        common = {"audio_path": one.audio_path, "text": "two red cats", "speaker_id": name}
        return manifest(
            [{**common, "utterance_id": f"{name}{n}", "age": n, "score": n / count} for n in range(count)], f"{name}.jsonl"
        )

    add(mine, "curriculum", "paced", PACED_YAML, PACED)
    data = ("data=manifest", f"data.train={rows('train', 8)}", f"data.validation={rows('dev', 2)}", "model=micro")
    code, run_dir = run(monkeypatch, mine, "curriculum=paced", *data, *SHORT, "trainer.max_steps=9", "step_scale=0.01")
    assert code == 0 and read_json(run_dir / "metrics.json")["steps"] == 9
    assert read_json(run_dir / "config.json")["curriculum"]["_target_"] == "paced.Paced"


def test_a_hypothesis_is_switched_by_a_design(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(mine, "augment", "shift", SHIFT_YAML, SHIFT)
    add(mine, "hypotheses", "shifted", "# @package _global_\ndefaults:\n  - /augment/shift\n")
    sweep = mine.parent / "sweep"
    arguments = ("ablation=factorial", "hypotheses=[h4,shifted]", f"hydra.sweep.dir={sweep}", f"--config-dir={mine}", *SHORT)
    assert run_here(monkeypatch, *arguments) == 0
    augmented = [set(read_json(path)["augment"]) for path in sorted(sweep.glob("*/config.json"))]
    assert sorted(augmented, key=sorted) == [set(), {"shift"}, {"shift", "specaugment"}, {"specaugment"}]


COUNT = """
from pathlib import Path
from kidasr.config.job import Job
from kidasr.corpus.corpus import Corpus


class Count(Job):
    def __init__(self, output_dir: str, data: Corpus, minimum: int):
        self.output_dir, self.data, self.minimum = Path(output_dir), data, minimum

    def run(self):
        number = len(self.data.load().train)
        (self.output_dir / "count.txt").write_text(str(max(self.minimum, number)))
"""
COUNT_YAML = """\
# @package _global_
# python run.py job=count data=manifest data.train=T.jsonl
# Count utterances.
defaults:
  - _self_
  - /data: embedded

job:
  _target_: count_job.Count
  output_dir: ${hydra:runtime.output_dir}
  data: ${data}
  minimum: ${minimum}

# At least this many.
minimum: 3
"""


def test_a_job_has_its_own_groups_keys_and_help(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(mine, "job", "count", COUNT_YAML)
    (mine / "count_job.py").write_text(COUNT, encoding="utf-8")
    code, run_dir = run(monkeypatch, mine, "job=count")
    assert (code, (run_dir / "count.txt").read_text(encoding="utf-8")) == (0, "480")
    assert run(monkeypatch, mine, "job=count", "--help")[0] == 0
    shown = capsys.readouterr().out
    assert "job=count:\n  python run.py job=count" in shown and "  minimum: At least this many." in shown
    assert "  data: embedded, manifest, pasketti\n" in shown and "curriculum" not in shown.split("Examples")[0]
    assert run(monkeypatch, mine, "job=count", "minimum=few")[0] == 2
    assert run(monkeypatch, mine, "job=count", "curriculum=age")[0] == 2
    complained = capsys.readouterr().err.splitlines()
    assert complained[0] == "error: minimum=few: should be a valid integer"
    assert complained[1].startswith("error: curriculum: no group of job=count")
