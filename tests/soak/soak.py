"""Kill, stop and damage runs at random moments, and count what is lost.

``python -m tests.soak.soak`` repeats the embedded default run, with all that could make a continued run another: the five
hypotheses, short input, data-loader workers, accumulated batches, dropout. First it runs once undisturbed. Then each of
RUNS runs, of the same command, is begun again and again: it is killed by SIGKILL after a random time, or in the middle of
writing a checkpoint, or told to stop by SIGTERM, SIGINT or SIGUSR2; now and then a checkpoint is damaged in between. When
its time is over it is left to end; then its weights, scores, transcripts and log are compared with those of the undisturbed
run, to the last bit.

Lost is: an end with other bits; a run that does not begin again, or hangs; one that begins from an older checkpoint than the
newest whole one; a checkpoint that is damaged though nobody damaged it.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kidasr.errors import STOPPED
from kidasr.training.checkpoint_folder import CheckpointFolder, damage

ROOT = Path(__file__).parents[2]
MICRO = ROOT / "kidasr" / "embedded" / "micro_whisper"

#: A run is taken to hang that takes so many times as long as the undisturbed one, or so long to stop after a signal.
PATIENCE, STOP_SEC = 4, 180

OPTIONS = (
    "experiment=all",
    "padding=longest",
    "trainer.gradient_accumulation_steps=2",
    "trainer.dataloader_num_workers=1",
    "trainer.train_batch_size=8",
    "trainer.logging_steps=7",
)


@dataclass
class Soak:
    """What is counted, and how a run is disturbed.

    Args:
        folder: Where the runs go.
        overrides: Of the runs, beside :data:`OPTIONS`.
        chance: Draws the moments and the damage.
        until: When the run should have ended, in the seconds of ``time.monotonic``.
    """

    folder: Path
    overrides: list[str]
    chance: random.Random
    until: float
    counts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    undisturbed_sec: float = 0.0
    steps: int = 1

    def command(self, run_dir: Path) -> list[str]:
        model = f"model.name_or_path={self.folder / 'model'}"
        return [sys.executable, str(ROOT / "run.py"), *OPTIONS, model, *self.overrides, f"hydra.run.dir={run_dir}"]

    def prepare(self) -> None:
        """Write the model with dropout, and run undisturbed."""
        shutil.copytree(MICRO, self.folder / "model")
        config = json.loads((MICRO / "config.json").read_text(encoding="utf-8"))
        text = json.dumps({**config, "dropout": 0.1})
        (self.folder / "model" / "config.json").write_text(text, encoding="utf-8")
        begun = time.monotonic()
        done = subprocess.run(self.command(self.folder / "undisturbed"), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the undisturbed run failed:\n{done.stderr}")
        self.undisturbed_sec = time.monotonic() - begun
        self.steps = json.loads((self.folder / "undisturbed" / "metrics.json").read_text(encoding="utf-8"))["steps"]

    def run(self, name: str) -> bool:
        """One run, disturbed until the time is over, then left to end; returns whether it ended."""
        run_dir = self.folder / name
        while True:
            self._damage_something(run_dir)
            expected, before = self._newest_whole(run_dir), damaged(run_dir)
            disturbed = time.monotonic() + self._needed_sec(run_dir) < self.until
            code, said = self._begin(run_dir, disturbed)
            self._check_continued(name, expected, said)
            if code == 0:
                break
            ended = (run_dir / "metrics.json").exists()  # and the signal came after that, when nobody listens any more
            if code not in (STOPPED, -signal.SIGKILL) and not ended:
                self.lost.append(f"{name}: ended with {code}: {said[-500:]}")
                return False
            for one in damaged(run_dir) - before:
                self.lost.append(f"{name}: {one} was left damaged")
        same = result(run_dir) == result(self.folder / "undisturbed")
        self.counts["bit-identical endings" if same else "other endings"] += 1
        if not same:
            self.lost.append(f"{name}: ended with other bits; kept in {run_dir}")
        else:
            shutil.rmtree(run_dir)
        return True

    def _needed_sec(self, run_dir: Path) -> float:
        """What the run still needs to end, if it is not disturbed."""
        newest = CheckpointFolder(run_dir / "checkpoints").newest_name()
        done = int(newest.rpartition("-")[2]) / self.steps if newest else 0.0
        return self.undisturbed_sec * (1 - done) + 30

    def _begin(self, run_dir: Path, disturbed: bool) -> tuple[int, str]:
        """Begin the run, and disturb it; returns its exit code and what it said."""
        said = self.folder / "said.log"
        with said.open("w", encoding="utf-8") as file:
            running = subprocess.Popen(
                self.command(run_dir), stdout=file, stderr=subprocess.STDOUT, start_new_session=True, cwd=self.folder
            )
        try:
            if disturbed:
                self._disturb(running, run_dir)
            running.wait(timeout=STOP_SEC if disturbed else PATIENCE * self.undisturbed_sec)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            self.lost.append(f"{run_dir.name}: did not end; the last it said: {said.read_text(encoding='utf-8')[-500:]}")
        return running.wait(), said.read_text(encoding="utf-8", errors="replace")

    def _disturb(self, running: subprocess.Popen[bytes], run_dir: Path) -> None:
        kind = self.chance.choice(["kill", "kill", "kill", "kill in writing", "SIGTERM", "SIGINT", "SIGUSR2"])
        # A start takes some ten seconds, a checkpoint comes every ten or twenty.
        moment = time.monotonic() + self.chance.uniform(0.1, 45)
        while time.monotonic() < moment or kind == "kill in writing":
            if running.poll() is not None:
                return
            if kind == "kill in writing" and any((run_dir / "checkpoints").glob(".*.writing/*")):
                time.sleep(self.chance.uniform(0, 0.05))
                break
            time.sleep(0.001)
        if running.poll() is not None:
            return
        if kind.startswith("kill"):
            running.kill()
            self.counts["kills survived"] += 1
        else:
            # To all its processes, as a terminal and a scheduler do, or to the one alone.
            number = signal.Signals[kind]
            if "zero-shot" not in (self.folder / "said.log").read_text(encoding="utf-8", errors="replace"):
                running.kill()  # it does not listen yet
                self.counts["kills survived"] += 1
                return
            self.counts["stops by a signal"] += 1
            if self.chance.random() < 0.5:
                os.killpg(running.pid, number)
            else:
                running.send_signal(number)

    def _damage_something(self, run_dir: Path) -> None:
        """One time in five: a bit, the end or the whole of a file of a checkpoint."""
        checkpoints = CheckpointFolder(run_dir / "checkpoints").by_step("checkpoint", "stopped")
        if time.monotonic() + self.undisturbed_sec > self.until or len(checkpoints) < 2 or self.chance.random() > 0.2:
            return
        # The newest of them, mostly: only that is read in any case.
        checkpoint = checkpoints[-1] if self.chance.random() < 0.7 else self.chance.choice(checkpoints)
        path = self.chance.choice(sorted(one for one in checkpoint.iterdir() if one.stat().st_size))
        content = bytearray(path.read_bytes())
        match self.chance.choice(["bit", "end", "file"]):
            case "bit":
                content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
                path.write_bytes(content)
            case "end":
                path.write_bytes(content[: self.chance.randrange(len(content))])
            case _:
                path.unlink()
        self.counts["checkpoints damaged"] += 1

    def _newest_whole(self, run_dir: Path) -> Path | None:
        """What the run should continue from: the newest that is whole, and whose best model is."""
        folder = CheckpointFolder(run_dir / "checkpoints")
        for checkpoint in reversed(folder.by_step("checkpoint", "stopped")):
            if damage(checkpoint) is None:
                best = folder.best_of(checkpoint)
                if best is None or damage(best) is None:
                    return checkpoint
        return None

    def _check_continued(self, name: str, expected: Path | None, said: str) -> None:
        match = re.search(r"^resuming from (.*)$", said, re.MULTILINE)
        if match:
            self.counts["resumes from a checkpoint"] += 1
        if "component " in said and (match[1] if match else None) != (str(expected) if expected else None):
            self.lost.append(f"{name}: continued from {match[1] if match else 'nothing'}, not from {expected}")


def damaged(run_dir: Path) -> set[str]:
    """The checkpoints that are not whole."""
    checkpoints = CheckpointFolder(run_dir / "checkpoints").by_step("checkpoint", "stopped")
    return {one.name for one in checkpoints if damage(one) is not None}


def result(run_dir: Path) -> dict[str, Any]:
    """All that a run ends with, but for what it says of times."""
    last = CheckpointFolder(run_dir / "checkpoints").by_step("checkpoint")[-1]
    state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
    timed = re.compile(r"_runtime|_per_second|_time$")
    return {
        "last": last.name,
        "patience": state["stateful_callbacks"]["EarlyStoppingCallback"],
        "log": [{name: one for name, one in entry.items() if not timed.search(name)} for entry in state["log_history"]],
        **{
            name: (run_dir / name).read_bytes()
            for name in ("metrics.json", "predictions.jsonl", "model/model.safetensors", "zero_shot.json")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs, each disturbed many times (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30, help="for all of them, about (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments and the damage (default: the time)")
    parser.add_argument("--folder", type=Path, default=None, help="where to (default: a new temporary one)")
    parser.add_argument("overrides", nargs="*", help="of the runs, e.g. trainer.max_steps=150 on a busy machine")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    begun = time.monotonic()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="soak"))
    folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(folder.resolve(), options.overrides, random.Random(seed), until=0.0)
    print(f"seed {seed}, in {folder}; first the undisturbed run", flush=True)
    soak.prepare()
    print(f"undisturbed: {soak.undisturbed_sec:.0f} s", flush=True)
    finished = 0
    for number in range(options.runs):
        left = begun + 60 * options.minutes - time.monotonic()
        if number and left < soak.undisturbed_sec + 60:
            break  # no time to disturb it
        soak.until = time.monotonic() + left / (options.runs - number)
        finished += soak.run(f"run-{number}")
        print(f"run {number}: {dict(soak.counts)}, lost: {len(soak.lost)}", flush=True)
    print()
    print(f"runs: {finished} of {options.runs}, {(time.monotonic() - begun) / 60:.0f} minutes, seed {seed}")
    for name in (
        "kills survived",
        "stops by a signal",
        "checkpoints damaged",
        "resumes from a checkpoint",
        "bit-identical endings",
    ):
        print(f"{name}: {soak.counts[name]}")
    print(f"lost: {len(soak.lost)}")
    for one in soak.lost:
        print(f"  {one}")
    if soak.lost:
        sys.exit(1)
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
