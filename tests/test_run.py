"""The command line, as a user types it."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kidasr.runs.sweeps import PlannedRun, add_runs
from kidasr.training.trainer import ChildSpeechTrainer
from tests.conftest import MICRO, ROOT, job, read_json, read_jsonl, run_here, run_py, sweep_runs
from tests.corpus.recipes.corpora import CORPORA
from tests.test_docs import write_example

CORPUS = ROOT / "kidasr" / "embedded" / "corpus"


def documented_commands() -> list[str]:
    """Each ``python run.py ...`` in a bash block of README.md or of docs/, once and without its comment."""
    written = [path for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.parts]  # generated for the site
    pages = [ROOT / "README.md", *sorted(written)]
    blocks = [
        block for page in pages for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    commands = [re.sub(r"\s+#.*", "", line) for line in lines if line.startswith("python run.py")]
    return list(dict.fromkeys(commands))


#: Of the default run's steps, with half of its batch.
A_QUARTER = ("trainer.max_steps=70", "step_scale=0.02", "trainer.train_batch_size=8", "data.limit_validation=96")


def is_of_masks(command: str) -> bool:
    """Whether it is the documented command with a test of its own."""
    return "freq_mask_param=27,40" in command


@pytest.mark.parametrize(
    ("short", "at_most"),
    [
        pytest.param((), 0.5, marks=pytest.mark.slow, id="whole"),
        pytest.param(A_QUARTER, 0.65, marks=pytest.mark.minutes, id="a quarter of its steps"),
    ],
)
def test_the_default_run_at_least_halves_wer_and_the_youngest_are_hardest(
    tmp_path: Path, short: tuple[str, ...], at_most: float
) -> None:
    done = run_py(*short, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    metrics = read_json(tmp_path / "metrics.json")
    zero_shot, final = metrics["zero_shot"], metrics["final"]
    assert final["wer"] <= at_most * zero_shot["wer"]
    for score in (zero_shot, final):
        by_age = [rates["wer"] for rates in score["by_age"].values()]
        assert sum(by_age[:2]) / 2 > sum(by_age[-2:]) / 2
    assert 0 < metrics["best_step"] <= metrics["steps"]
    # Every hypothesis would have its moment: several evaluations, a freeze that ends, patience that can run out.
    evaluations = [float(rate) for rate in re.findall(r"^step \d+/\d+: WER ([\d.]+)%", done.stdout, re.MULTILINE)]
    assert len(evaluations) > 6
    assert min(evaluations) == pytest.approx(100 * final["wer"], abs=0.06)
    assert f"run folder: {tmp_path}" in done.stdout
    assert re.search(r"all +\d+ +\d+ +[\d.]+% +[\d.]+% +-[\d.]+", done.stdout), "the table of before and after"
    for name in (".hydra", "run.log", "predictions.jsonl", "environment.json", "checkpoints", "model", "learning_curve.png"):
        assert (tmp_path / name).exists(), name
    # A quarter of the steps is too short to keep what the model knew of adults.
    warned = [line for line in (done.stdout + done.stderr).splitlines() if "warning" in line]
    assert all("training made it worse on: adults" in line for line in warned), warned


def test_a_multirun_of_masks_has_a_folder_for_each_combination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = filter(is_of_masks, documented_commands())
    assert run_here(monkeypatch, *shlex.split(command)[2:], "debug=smoke", f"hydra.sweep.dir={tmp_path}") == 0
    found = {}
    for folder in sweep_runs(tmp_path):
        augment = OmegaConf.load(folder / ".hydra" / "config.yaml").augment.specaugment
        found[augment.freq_mask_param, augment.time_mask_param] = read_json(folder / "metrics.json")
        assert f"augment.time_mask_param={augment.time_mask_param}" in folder.name or augment.time_mask_param == 100
    assert list(found) == [(27, 100), (27, 150), (40, 100), (40, 150)]
    assert all(metrics["zero_shot"] == found[27, 100]["zero_shot"] for metrics in found.values())
    comparison = read_json(tmp_path / "comparison.json")
    assert len(comparison["runs"]) == 4 and len(comparison["pairs"]) == 3 and not comparison["failed"]


def test_one_job_of_a_multirun_fails_alone_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lonely = tmp_path / "lonely.jsonl"
    lonely.write_text('{"audio_path": "gone.wav", "text": "a", "speaker_id": "s"}\n', encoding="utf-8")
    manifests = f"{lonely},{CORPUS / 'validation.jsonl'}"
    swept = ("--multirun", f"data.validation={manifests}", "debug=smoke", f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert run_here(monkeypatch, *swept) == 2
    complained = capfd.readouterr().err
    assert len(re.findall(r"^error: ", complained, re.MULTILINE)) == 1
    assert f"error: {lonely}:1: {tmp_path / 'gone.wav'}: no such file" in complained
    assert "Traceback" not in complained
    failed, finished = sweep_runs(tmp_path / "sweep")
    assert not (failed / "metrics.json").exists() and (finished / "metrics.json").exists()
    assert f"{lonely}:1:" in (failed / "run.log").read_text(encoding="utf-8")
    assert f"failed: debug=smoke+data.validation=lonely.jsonl: {lonely}:1:" in complained
    monkeypatch.chdir(tmp_path)
    assert run_here(monkeypatch, "job=status", f"sweep={tmp_path / 'sweep'}") == 0
    status = capfd.readouterr().out
    assert "1 failed, 1 finished" in status and f"{lonely}:1:" in status
    assert not list(tmp_path.glob("outputs")) + list(tmp_path.glob("run.log")), "status only looks"


def test_a_mistake_in_the_data_is_one_line_and_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "with spaces é.csv"
    bad.write_text("audio_path,text\na.wav,hello\n", encoding="utf-8")
    assert run_here(monkeypatch, f'data.train="{bad}"', f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert capfd.readouterr().err == (
        f"error: {bad}:2: field 'speaker_id' is missing; this line has: audio_path, text "
        "(data.fields.speaker_id=NAME takes another, data.speakers=unknown does without speakers)\n"
    )
    assert not (tmp_path / "run" / "model").exists()


def test_a_finished_run_typed_again_says_so_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    job(run_dir, "debug=smoke").run()
    (run_dir / ".hydra").mkdir()
    (run_dir / ".hydra" / "config.yaml").write_text("{}", encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()}
    wer = read_json(run_dir / "metrics.json")["final"]["wer"]

    def typed(*overrides: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_here(monkeypatch, "debug=smoke", f"hydra.run.dir={run_dir}", *overrides)
        said = capfd.readouterr()
        return code, said.out, said.err

    code, said, complained = typed("resume=latest")
    nothing = f"{run_dir} holds the finished run of this config (WER {100 * wer:.1f}%): nothing to do\n"
    assert code == 0 and said.endswith(nothing) and "Traceback" not in complained
    assert typed("seed=2")[2] == (
        f"error: {run_dir} holds a finished run of another config; expected: another hydra.run.dir=...\n"
    )
    code, _, complained = typed("resume=never")
    assert code == 2 and "is not empty; expected with resume=never: " in complained
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert typed("resume=never", "overwrite=true")[0] == 0
    assert before[run_dir / "metrics.json"] < (run_dir / "metrics.json").stat().st_mtime_ns
    assert read_json(run_dir / "metrics.json")["final"]["wer"] == wer


def test_a_run_that_is_told_to_stop_continues_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("debug=smoke", "trainer.zero_shot=false", "resume=latest")
    original = ChildSpeechTrainer.training_step

    def stopped(self: ChildSpeechTrainer, *arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments, **options)

    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as stopping:
        stopping.setattr(ChildSpeechTrainer, "training_step", stopped)
        assert run_here(stopping, *command) == 75
    said = "".join(capfd.readouterr())
    assert "resume=latest: no unfinished run of this config in outputs, starting a new one" in said
    assert "stopped by SIGTERM, nothing is lost; the same command resumes" in said
    (run_dir,) = (tmp_path / "outputs").glob("*/*")
    assert run_here(monkeypatch, *command) == 0
    assert list((tmp_path / "outputs").glob("*/*")) == [run_dir]
    assert f"resuming from {run_dir}" in (run_dir / "run.log").read_text(encoding="utf-8")
    assert read_json(run_dir / "metrics.json")["steps"] == 3


@pytest.mark.kill
def test_a_run_that_every_process_of_it_is_told_to_stop_continues_by_the_same_command(tmp_path: Path) -> None:
    """A scheduler's signal reaches the data-loader workers too; ``resume=latest`` finds the folder; no two go into it."""
    overrides = ["debug=smoke", "trainer.max_steps=500", "trainer.dataloader_num_workers=1", "resume=latest"]
    command = [sys.executable, str(ROOT / "run.py"), *overrides]

    def begin() -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=tmp_path, text=True, start_new_session=True, **pipes)

    def stop(running: subprocess.Popen[str]) -> str:
        """Two steps later; returns all that was said."""
        assert running.stdout is not None
        lines: list[str] = []
        for line in running.stdout:
            lines.append(line)
            if len(re.findall(r"training loss", "".join(lines))) == 2:
                break
        os.killpg(running.pid, signal.SIGTERM)
        lines += running.stdout
        return "".join(lines)

    first = begin()
    said = stop(first)
    assert first.wait(60) == 75
    assert "resume=latest: no unfinished run of this config in outputs, starting a new one" in said
    assert "stopped by SIGTERM, nothing is lost; the same command resumes" in said
    (run_dir,) = (tmp_path / "outputs").glob("*/*")
    again = begin()
    while f"resuming from {run_dir}" not in (run_dir / "run.log").read_text(encoding="utf-8"):
        time.sleep(0.1)
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert second.returncode == 2
    in_use = rf"^error: \S+ is in use by process {again.pid} on \S+; expected: another hydra\.run\.dir=\.\.\., or wait$"
    assert re.search(in_use, second.stderr, re.MULTILINE), second.stderr
    os.killpg(again.pid, signal.SIGINT)
    assert again.stdout is not None
    assert any("SIGINT: stopping" in line for line in again.stdout), "two at once may be one to it"
    os.killpg(again.pid, signal.SIGINT)
    assert again.wait(10) == -signal.SIGINT, "a second Ctrl-C ends at once"
    again.communicate()
    assert list((tmp_path / "outputs").glob("*/*")) == [run_dir]


def test_hydras_own_ways_to_sweep_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_here(monkeypatch, "augment=glob(spec*)", "--multirun", "debug=smoke", f"hydra.sweep.dir={tmp_path}") == 0
    assert len(list(tmp_path.glob("*/metrics.json"))) == 2


def test_the_runs_of_a_sweep_share_zero_shot_and_audio_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is typed may refer to other keys.
    rate = "optim.learning_rate='${times:5e-4,${oc.select:adapter.learning_rate_factor,1}}'"
    sweep, typed = tmp_path / "sweep", ("debug=smoke", "report=none", rate)
    assert run_here(monkeypatch, "--multirun", "seed=1,2", *typed, f"hydra.sweep.dir={sweep}") == 0
    first, second = ((run / "run.log").read_text(encoding="utf-8") for run in sweep_runs(sweep))
    assert len(list(sweep.glob("zero_shot-*.json"))) == 2, "of the validation set and of the adults"
    assert first.count("zero-shot: transcribing") == 2 and "zero-shot: transcribing" not in second
    (shared,) = map(Path, re.findall(r"zero-shot: using the scores in (\S+)", second)[:1])
    assert len(list(sweep.glob("audio_check-*.json"))) == 1
    assert "by another run of this sweep" in second and "by another run" not in first
    job(tmp_path / "alone", *typed, "seed=2").run()
    assert read_json(tmp_path / "alone" / "zero_shot.json") == read_json(shared)
    assert read_json(tmp_path / "alone" / "metrics.json") == read_json(sweep_runs(sweep)[1] / "metrics.json")
    assert all(read_json(run / "zero_shot.json") == read_json(shared) for run in sweep_runs(sweep))
    other = ("data.limit_validation=3", f"hydra.sweep.dir={sweep}")
    assert run_here(monkeypatch, "--multirun", "seed=1", *typed, *other) == 0
    assert len(list(sweep.glob("zero_shot-*.json"))) == 3, "another set has a score of its own"


def test_validation_speakers_are_held_out_where_there_is_no_validation_manifest(tmp_path: Path) -> None:
    job(tmp_path, "data.validation=null", "debug=smoke").run()
    trained_on = {row["speaker_id"] for row in read_jsonl(CORPUS / "train.jsonl")}
    held_out = {row["speaker_id"] for row in read_jsonl(tmp_path / "predictions.jsonl")}
    assert held_out and held_out < trained_on


def group_of(command: str) -> list[pytest.MarkDecorator]:
    """The ablations are many runs each; the default suite has its own of them (tests/sweep)."""
    if "num_processes" in command:
        return [pytest.mark.processes]
    return [pytest.mark.slow] if "--config-dir" in command or "ablation=" in command else []


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, marks=group_of(one)) for one in documented_commands() if not is_of_masks(one)],
)
def test_the_documented_commands_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As written, but with one step and one seed, in a temporary folder, and on the embedded corpus instead of the reader's
    files."""
    for name, source in (("T.jsonl", "train"), ("V.jsonl", "validation")):
        shutil.copy(CORPUS / f"{source}.jsonl", tmp_path / name)
    arguments = shlex.split(command.removeprefix("python run.py"))
    if "job=transcribe" in arguments:  # a few of the recordings
        (tmp_path / "audio").mkdir()
        for path in sorted((CORPUS / "audio").glob("*"))[:3]:
            (tmp_path / "audio" / path.name).symlink_to(path)
    else:
        (tmp_path / "audio").symlink_to(CORPUS / "audio")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    if {"job=compare", "job=plan", "job=publish"} & set(arguments):
        write_finished_runs(tmp_path / "outputs")
    for stand_in in ("openai/whisper-small", "openai/whisper-tiny.en"):  # no hub here
        arguments = [one.replace(stand_in, str(MICRO)) for one in arguments]
    if any(one.startswith("experiment=") and one.endswith("whisper_small") for one in arguments):
        arguments += [f"model.name_or_path={MICRO}", "trainer=cpu", "checkpoint.eval_steps=1"]
    if "job=soup" in arguments:
        for seed in (1, 2):
            job(tmp_path / "outputs" / "multirun" / "mine" / f"seed-{seed}", "debug=smoke", f"seed={seed}").run()
    if "job=score" in arguments:
        rows = read_jsonl(tmp_path / "V.jsonl")
        (tmp_path / "H.trn").write_text("".join(f"{one['text']} ({one['utterance_id']})\n" for one in rows))
        both = [{"id": one["utterance_id"], "ref": one["text"], "hyp": one["text"]} for one in rows]
        (tmp_path / "H.jsonl").write_text("".join(json.dumps(one) + "\n" for one in both))
    if "job=status" in arguments:
        add_runs(tmp_path / "outputs" / "multirun" / "mine", [PlannedRun("seed=1-0a1b2c3d", ("seed=1",))])
    for name in [one.removeprefix("corpus=") for one in arguments if one.startswith("corpus=")]:
        root = CORPORA[name](tmp_path / "corpus")
        arguments = [one.replace("corpus.root=DIR", f"corpus.root={root}") for one in arguments]
    if not {
        *(
            "--help",
            "--cfg",
            "job=check",
            "job=compare",
            "job=evaluate",
            "job=export",
            "job=listen",
            "job=plan",
            "job=prepare",
            "job=publish",
            "job=score",
            "job=soup",
            "job=status",
            "job=transcribe",
        )
    } & set(arguments):
        arguments = [re.sub(r"^(seeds?)=1,2$", r"\1=1", one) for one in arguments]
        if any(one.startswith("ablation.until=") for one in arguments):  # one hypothesis, and the first look is the last
            arguments = [re.sub(r"max_runs=\d+$", "max_runs=4", one) for one in arguments] + ["hypotheses=[h4]"]
            arguments = [re.sub(r"width:.*$", "width:1000", one) for one in arguments]
        arguments += [
            "debug=smoke",
            "trainer.max_steps=1",
            f"hydra.run.dir={tmp_path / 'run'}",
            f"hydra.sweep.dir={tmp_path / 'sweep'}",
        ]
    if "--config-dir=mine" in arguments:
        write_example("new_augmentation.md", tmp_path)
        monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run_here(monkeypatch, *arguments) == 0
    sys.modules.pop("slower", None)
    assert capfd.readouterr().out
    if "debug=smoke" in arguments:
        assert list(tmp_path.glob("run/metrics.json")) + list(tmp_path.glob("sweep/*/metrics.json"))


def write_finished_runs(outputs: Path) -> None:
    """The runs that the documentation compares, all copied from one real run, with one more error for each seed."""
    job(outputs / "run", "debug=smoke").run()
    mine = [(f"multirun/mine/{name}{seed}", f"experiment={name}", seed) for name in ("baseline", "h4") for seed in (1, 2)]
    for name, override, seed in (("a", "x=1", 1), ("b", "x=2", 1), *mine):
        folder = outputs / name
        shutil.copytree(outputs / "run", folder, ignore=shutil.ignore_patterns("config.json"))
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(f"- {override}\n- seed={seed}\n", encoding="utf-8")
        first, *rest = read_jsonl(folder / "predictions.jsonl")
        first |= {"normalized_hypothesis": name, "substitutions": first["substitutions"] + seed}
        (folder / "predictions.jsonl").write_text("\n".join(map(json.dumps, [first, *rest])), encoding="utf-8")
        metrics = read_json(folder / "metrics.json")  # without the history: copies are not runs of one training
        (folder / "metrics.json").write_text(json.dumps({**metrics, "history": []}), encoding="utf-8")


def test_what_the_readme_promises_of_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    if not tracked:
        pytest.skip("not a git checkout")
    assert sum((ROOT / name).stat().st_size for name in tracked if (ROOT / name).is_file()) < 20e6
