"""A user adds an idea with one YAML file and one module, in a folder of their own, without touching kidasr."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from tests.conftest import MICRO, read_json, read_jsonl, run_here

SHORT = ("debug=smoke", "report=none", "trainer.zero_shot=false", "trainer.max_steps=1", "data.limit_validation=2")

Add = Callable[[str, str, str], None]


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    """A user's folder of configs and modules; the modules are unloaded afterwards."""
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


SLOWER = """
import numpy as np
from kidasr.features.augment import WaveformAugmentation


class Slower(WaveformAugmentation):
    def __init__(self, slowest: float, p: float):
        self.slowest, self.p = slowest, p
        self.max_length_factor = 1 / slowest

    def __call__(self, samples, draw):
        rng = draw.generator("slower")
        if rng.random() >= self.p:
            return samples
        factor = rng.uniform(self.slowest, 1)
        places = np.arange(0, len(samples) - 1, factor)
        return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
"""
SLOWER_YAML = "# @package _global_\naugment:\n  slower:\n    _target_: slower.Slower\n    slowest: 0.8\n    p: 1.0\n"

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
    """Easy utterances first; in the first epoch only those, repeated."""

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
    add(mine, "augment", "slower", SLOWER_YAML, SLOWER)
    add(mine, "augment", "shift", SHIFT_YAML, SHIFT)
    code, run_dir = run(monkeypatch, mine, "augment=[slower,shift,specaugment]", "augment.slowest=0.9", *SHORT)
    assert code == 0, capsys.readouterr().err
    config = read_json(run_dir / "config.json")["augment"]
    assert list(config) == ["slower", "shift", "specaugment"] and config["slower"]["slowest"] == 0.9
    assert "augment: slower: Slower" in (run_dir / "run.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["augment=slower", "augment.slowest=fast"], "augment.slower.slowest=fast: should be a valid number"),
        (["augment=[slower,shift]", "augment.p=0.5"], "augment.p: 2 augmentations have this key; expected: augment.shift.p or"),
        (["augment=slower", "+augment.slower.fastest=2"], "augment.slower.fastest: no such key; expected in augment.slower: slowest, p"),
        (["augment=slower", "~augment.slower.slowest"], "augment.slower.slowest is missing"),
        (["augment=slower", "augment.slower._target_=slower.Slow"], "augment.slower._target_: module slower has no Slow"),
        (["augment=slower", "augment.slower._target_=slowre.Slower"], "augment.slower._target_: slowre can't be imported: Module"),
        (["hypotheses=[constant,h2]"], "hypotheses=[constant,h2]: constant and h2 both override schedule; expected: one of them"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_a_user_adds_is_one_line(
    arguments: list[str], line: str, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(mine, "augment", "slower", SLOWER_YAML, SLOWER)
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


def test_what_a_person_always_wants_is_a_local_file(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(mine, "local", "default", "# @package _global_\ntrainer:\n  num_threads: 1\n  per_device_eval_batch_size: 3\n")
    code, run_dir = run(monkeypatch, mine, *SHORT, "trainer.per_device_eval_batch_size=1")
    trainer = read_json(run_dir / "config.json")["trainer"]
    assert (code, trainer["num_threads"], trainer["per_device_eval_batch_size"]) == (0, 1, 1)


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
    assert complained[1].startswith("error: curriculum: not a group of job=count")


CROSS_ENTROPY = """
import torch
from torch.nn import functional
from kidasr.training.objective import Objective


class CrossEntropy(Objective):
    def __call__(self, logits, targets):
        return functional.cross_entropy(logits[0], targets, reduction="none")


class Consistent(Objective):
    '''Cross entropy plus agreement between two views of an utterance.'''

    views = 2
    seen = []

    def __init__(self, weight: float):
        self.weight = weight

    def __call__(self, logits, targets):
        one, other = logits
        assert one.shape == other.shape == (len(targets), one.shape[1])
        self.seen.append(torch.equal(one, other))
        agreement = functional.kl_div(one.log_softmax(-1), other.softmax(-1), reduction="none").sum(-1)
        return functional.cross_entropy(one, targets, reduction="none") + self.weight * agreement
"""


@pytest.mark.parametrize("padding", ["max_length", "longest"])
def test_an_objective_sees_the_logits_of_real_tokens(mine: Path, monkeypatch: pytest.MonkeyPatch, padding: str) -> None:
    add(mine, "objective", "entropy", "_target_: objectives.CrossEntropy\n")
    add(mine, "objective", "consistent", "_target_: objectives.Consistent\nweight: 0.5\n")
    (mine / "objectives.py").write_text(CROSS_ENTROPY, encoding="utf-8")
    weights = {}
    for objective in ("none", "entropy"):
        folder = mine.parent / objective
        short = (*SHORT, "trainer.max_steps=2", "trainer.gradient_accumulation_steps=2", f"padding={padding}")
        arguments = (f"--config-dir={mine}", f"hydra.run.dir={folder}", f"objective={objective}")
        assert run_here(monkeypatch, *arguments, *short) == 0
        weights[objective] = load_file(folder / "model" / "model.safetensors")
    for name, tensor in weights["none"].items():
        torch.testing.assert_close(weights["entropy"][name], tensor, atol=1e-5, rtol=1e-4)
    two = (f"--config-dir={mine}", f"hydra.run.dir={mine.parent / 'two'}", "objective=consistent", "augment=specaugment")
    assert run_here(monkeypatch, *two, *SHORT, f"padding={padding}") == 0
    seen = sys.modules["objectives"].Consistent.seen
    assert seen and not any(seen), "two views are masked differently"


LOW_RANK = """
import torch
from torch import nn


class LowRank(nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden):
        return self.base(hidden) + self.up(self.down(hidden))


class Adapter:
    def __init__(self, rank: int):
        self.rank = rank

    def wrap(self, model):
        model.requires_grad_(False)
        torch.manual_seed(0)
        for layer in model.model.decoder.layers:
            layer.fc1 = LowRank(layer.fc1, self.rank)
            layer.fc1.down.requires_grad_(True)
            layer.fc1.up.requires_grad_(True)

    def merge(self, model):
        for layer in model.model.decoder.layers:
            base = layer.fc1.base
            base.weight.data += layer.fc1.up.weight @ layer.fc1.down.weight
            layer.fc1 = base
"""


def test_an_adapter_is_trained_saved_resumed_and_merged(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(mine, "adapter", "lowrank", "_target_: lowrank.Adapter\nrank: 2\n", LOW_RANK)
    options = ("adapter=lowrank", *SHORT, "trainer.max_steps=2", "schedule.warmup_steps=0")
    code, run_dir = run(monkeypatch, mine, *options)
    assert code == 0
    checkpoint = load_file(run_dir / "checkpoints" / "checkpoint-2" / "model.safetensors")
    assert "model.decoder.layers.0.fc1.up.weight" in checkpoint
    before, after = load_file(MICRO / "model.safetensors"), load_file(run_dir / "model" / "model.safetensors")
    changed = {name for name in after if not torch.equal(after[name], before[name].float())}
    assert changed == {f"model.decoder.layers.{layer}.fc1.weight" for layer in range(2)}
    assert (
        type(WhisperForConditionalGeneration.from_pretrained(run_dir / "model")).__name__
        == "WhisperForConditionalGeneration"
    )
    (run_dir / "metrics.json").unlink()  # as after a kill
    assert run(monkeypatch, mine, *options)[0] == 0
    again = load_file(run_dir / "model" / "model.safetensors")
    assert all(torch.equal(again[name], after[name]) for name in after)


CTC = """
import torch
from torch import nn
from kidasr.features.recogniser import IGNORED_LABEL, Recogniser, Scoring

LETTERS = " abcdefghijklmnopqrstuvwxyz'"


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.front = nn.Conv1d(8, width, 3, padding=1)
        self.out = nn.Linear(width, len(LETTERS) + 1)

    def forward(self, input_features, labels=None, **_):
        logits = self.out(torch.relu(self.front(input_features)).transpose(1, 2)).log_softmax(-1)
        found = {"logits": logits}
        if labels is not None:
            frames = torch.full((len(labels),), logits.shape[1])
            tokens = (labels != IGNORED_LABEL).sum(1)
            arguments = (logits.transpose(0, 1), labels.clamp(min=0), frames, tokens)
            found["loss"] = nn.functional.ctc_loss(*arguments, blank=len(LETTERS), zero_infinity=True)
        return found


class TinyCtc(Recogniser):
    window_sec, max_tokens, mel_bins = 10.0, 100, 8

    def __init__(self, width):
        torch.manual_seed(0)
        self.model = Net(width)

    def features(self, samples, padding):
        frames = len(samples) // 160 // 8
        return torch.from_numpy(samples[: frames * 160 * 8]).reshape(8, frames, 160).square().mean(-1), frames

    def labels(self, text):
        return [LETTERS.index(letter) for letter in text.lower() if letter in LETTERS]

    def collate(self, features, labels, padding):
        longest = max(one.shape[1] for one in features)
        padded = [nn.functional.pad(one, (0, longest - one.shape[1])) for one in features]
        rows = nn.utils.rnn.pad_sequence([torch.tensor(one) for one in labels], batch_first=True, padding_value=IGNORED_LABEL)
        return {"input_features": torch.stack(padded), "labels": rows}

    def transcribe(self, batch, max_tokens, num_beams):
        best = self.model(batch["input_features"])["logits"].argmax(-1)
        rows = [torch.unique_consecutive(row).tolist() for row in best]
        return ["".join(LETTERS[token] for token in row if token < len(LETTERS))[:bound] for row, bound in zip(rows, max_tokens)]

    @property
    def scoring(self):
        return Scoring(str.lower, "WER")

    def save(self, folder, num_beams):
        torch.save(self.model.state_dict(), folder / "tiny.pt")


class Pretrained:
    def __init__(self, width: int):
        self.width = width

    def load(self):
        return TinyCtc(self.width)
"""


def test_a_recogniser_that_is_no_whisper_is_one_module(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(mine, "model", "ctc", "# @package _global_\nmodel:\n  _target_: ctc.Pretrained\n  width: 16\n", CTC)
    code, run_dir = run(
        monkeypatch, mine, "model=ctc", "curriculum=loss", *SHORT, "trainer.zero_shot=true", "trainer.max_steps=3"
    )
    assert code == 0, capsys.readouterr().err
    assert len(read_json(run_dir / "training_losses.json")["losses"]) == 16
    metrics = read_json(run_dir / "metrics.json")
    assert metrics["steps"] == 3 and metrics["zero_shot"]["utterances"] == metrics["final"]["utterances"] == 2
    assert (run_dir / "model" / "tiny.pt").is_file() and len(read_jsonl(run_dir / "predictions.jsonl")) == 2
    assert run(monkeypatch, mine, "model=ctc", "freeze=encoder_all", f"hydra.run.dir={mine.parent / 'x'}", *SHORT)[0] == 2
    assert "freeze: a Net has no encoder to freeze; expected: freeze=none" in capsys.readouterr().err
    assert run(monkeypatch, mine, "model=ctc", "objective=kl", f"hydra.run.dir={mine.parent / 'y'}", *SHORT)[0] == 2
    assert "objective: a Net gives no logits of single tokens; expected: objective=none" in capsys.readouterr().err


ECHO = """
from kidasr.recognition.backends.backend import Backend


class Echo(Backend):
    def __init__(self, word: str):
        self.word = word

    def prepare(self, recogniser, padding, decoding):
        class Says:
            window_sec = recogniser.window_sec

            def __call__(_, utterances):
                return [self.word for _ in utterances]

        return Says()
"""


def test_an_engine_of_ones_own_transcribes(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(mine, "backend", "echo", "_target_: echo.Echo\nword: ???\n", ECHO)
    recording = f"input={MICRO.parent / 'corpus' / 'audio' / '*1.ogg'}"
    arguments = ("job=transcribe", "backend=echo", "backend.word=cats", f"model.name_or_path={MICRO}", recording)
    code, run_dir = run(monkeypatch, mine, *arguments)
    assert code == 0
    assert {row["text"] for row in read_jsonl(run_dir / "transcripts.jsonl")} == {"cats"}
