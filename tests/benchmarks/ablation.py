"""Finished runs an hour of the ablation on real children, against the plain recipe: `python -m tests.benchmarks.ablation`.

kidasr: a short ablation on real children, in a new process with the user's own environment, from the start of
the interpreter to the end of the comparison; :mod:`tests.benchmarks.parts` shows where the time goes. Each variant is an
ablation of its own.

The plain recipe (see :mod:`tests.benchmarks.speed`), in float32: as many steps, evaluations (`predict_with_generate`) and
utterances to score as kidasr's baseline has, in batches of the same size, and a checkpoint at each evaluation. That takes
most of an hour, so some steps, part of one evaluation, one checkpoint and one start are measured and **extrapolated**. The
steps start from the stock weights. The evaluation decodes with the model of the first variant's baseline: weights that are
not fine-tuned repeat themselves more often, which would make the plain recipe look slower than it is.

Prints tables and writes a JSON file.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tabulate
import torch  # noqa: F401  first: OpenMP reads the user's settings now, before the imports below set those of the tests
from transformers import WhisperProcessor

from tests.benchmarks.parts import COMPARISON, END, PARTS, USER_ENVIRONMENT
from tests.benchmarks.speed import (
    BATCH,
    EMBEDDED,
    REAL,
    Clock,
    Material,
    plain_trainer,
    read_rows,
    recordings,
    scored,
    write_training_manifest,
)
from tests.conftest import ROOT, read_json, sweep_runs

#: Two epochs of 800 utterances.
STEPS, STEP_SCALE = 200, 0.04
EVAL_BATCH = 32


def settings(material: Material, steps: int) -> list[str]:
    """Of every run; with fewer steps, evaluations, freeze and warm-up are moved in proportion."""
    return [
        *material.overrides,
        "data.limit_train=800",
        "data.limit_validation=200",
        "data.full_validation_at_end=true",
        f"trainer.train_batch_size={BATCH}",
        f"trainer.per_device_eval_batch_size={EVAL_BATCH}",
        "trainer.zero_shot=false",
        "optim.learning_rate=5e-5",
        *(["trainer.num_train_epochs=2"] if steps == STEPS else [f"trainer.max_steps={steps}"]),
        f"step_scale={STEP_SCALE * steps / STEPS:g}",
    ]


def kidasr_ablation(overrides: Sequence[str], sweep_dir: Path) -> dict[str, Any]:
    times = sweep_dir.with_suffix(".json")
    begun = time.perf_counter()
    command = [sys.executable, "-m", "tests.benchmarks.parts", str(times), str(begun)]
    command += ["ablation=one_at_a_time", *overrides, f"hydra.sweep.dir={sweep_dir}"]
    subprocess.run(command, check=True, stdout=2, cwd=ROOT, env=USER_ENVIRONMENT)
    wall_sec = time.perf_counter() - begun
    timed = read_json(times)
    comparison = read_json(sweep_dir / "comparison.json")
    compared = {Path(one["path"]).name: one for one in comparison["runs"]}
    folders = sweep_runs(sweep_dir)
    after = timed["after"]
    after[END] = wall_sec - sum(map(sum_of, [*timed["runs"], after]))
    runs = [
        {key: compared[one.name][key] for key in ("configuration", "seed", "wer")} | {"sec": sum_of(parts), "parts": parts}
        for one, parts in zip(folders, timed.pop("runs"), strict=True)
    ]
    return {
        "overrides": list(overrides),
        "wall_sec": wall_sec,
        "sec_per_run": wall_sec / len(runs),
        "runs_per_hour": 3600 * len(runs) / wall_sec,
        "runs": runs,
        "baseline": str(folders[0]),
        **timed,
    }


def sum_of(parts: Mapping[str, float]) -> float:
    return sum(parts.values())


def work_of(run_dir: Path) -> dict[str, int]:
    """What the plain recipe has to do, to do what this run did."""
    metrics = read_json(run_dir / "metrics.json")
    scored_at_end = metrics["final"]["utterances"]
    return {
        "steps": metrics["steps"],
        "evaluations": sum("eval_wer" in entry for entry in metrics["history"]),
        "evaluated_utterances": metrics["evaluated_utterances"],
        "scored_utterances": scored_at_end if scored_at_end != metrics["evaluated_utterances"] else 0,
    }


def measure_plain(material: Material, decode_with: Path, steps: int, clips: int) -> dict[str, Any]:
    """Seconds of parts of the plain recipe. Of the steps, a first epoch is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        rows = read_rows(write_training_manifest(Path(folder), steps, material))
        clock = Clock(steps)
        trained = plain_trainer(material.model, rows, folder, num_train_epochs=2)
        trained.add_callback(clock)
        trained.train()
        begun = time.perf_counter()
        trained._save_checkpoint(trained.model, None)
        checkpoint_sec = time.perf_counter() - begun

        chosen = recordings(clips, material)
        evaluated = [{"audio_path": one.audio_path, "text": one.text} for one in chosen]
        evaluator = plain_trainer(
            decode_with, evaluated, folder, per_device_eval_batch_size=EVAL_BATCH, predict_with_generate=True
        )
        begun = time.perf_counter()
        tokens = evaluator.predict(evaluator.eval_dataset).predictions
        evaluation_sec = time.perf_counter() - begun
    found, processor = clock.result(), WhisperProcessor.from_pretrained(decode_with)
    tokens[tokens < 0] = processor.tokenizer.pad_token_id
    texts = processor.batch_decode(tokens, skip_special_tokens=True)
    return {
        "steps": steps,
        "step_sec": found["sec"],
        "start_sec": found["first_step_sec"] - found["sec"],
        "checkpoint_sec": checkpoint_sec,
        "evaluated_utterances": len(chosen),
        "utterance_sec": evaluation_sec / len(chosen),
        "wer_of_these_utterances": scored(chosen, texts, evaluation_sec, processor)["wer"],
        "peak_gb": found["process_gb"],
    }


def extrapolate(measured: Mapping[str, float], work: Mapping[str, int]) -> dict[str, float]:
    return {
        "start": measured["start_sec"],
        "training steps": measured["step_sec"] * work["steps"],
        "evaluation": measured["utterance_sec"] * work["evaluations"] * work["evaluated_utterances"],
        "scoring": measured["utterance_sec"] * work["scored_utterances"],
        "checkpoints": measured["checkpoint_sec"] * work["evaluations"],
    }


def print_tables(result: Mapping[str, Any]) -> None:
    plain = result["plain"]
    for name, variant in result["variants"].items():
        titles = [f"{run['configuration']}, seed {run['seed']}" for run in variant["runs"]]
        columns = [*(run["parts"] for run in variant["runs"]), variant["after"]]
        rows = [[part, *(one.get(part, 0.0) for one in columns)] for part in PARTS]
        rows.append(["all", *map(sum_of, columns)])
        print(f"\n{name}: seconds")
        print(tabulate.tabulate(rows, ["", *titles, f"{COMPARISON} and end"], floatfmt=".1f"))
        for part, sec in variant["beside"].items():
            print(f"beside these, in other threads: {part} {sec:.1f} s")
        for part in variant["never_called"]:
            print(f"never called: {part}")
    print("\nplain recipe, extrapolated from", plain["how"])
    print(tabulate.tabulate([*plain["parts"].items(), ("all", plain["sec_per_run"])], ["", "seconds a run"], floatfmt=".1f"))
    rows = []
    for name, one in result["variants"].items():
        wer = [f"{run['configuration']} {run['seed']}: {100 * run['wer']:.1f}%" for run in one["runs"]]
        rows.append([name, one["runs_per_hour"], one["sec_per_run"], one["times_plain"], one["peak_gb"], ", ".join(wer)])
    rows.append(
        ["plain recipe (extrapolated)", plain["runs_per_hour"], plain["sec_per_run"], 1, plain["measured"]["peak_gb"]]
    )
    titles = ["", "runs an hour", "s a run", "times plain", "peak GB", "WER by configuration and seed"]
    print("\n" + tabulate.tabulate(rows, titles, floatfmt=".2f"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablation", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--variant",
        action="append",
        metavar="NAME:OVERRIDES",
        help="an ablation with further overrides, separated by spaces; can be repeated: --variant bf16: "
        "--variant fp32:trainer.bf16=false (default: default:)",
    )
    parser.add_argument("--overrides", nargs="+", default=[], help="further overrides of every variant")
    parser.add_argument("--hypotheses", default="h4", help="compared with the baseline (default: %(default)s)")
    parser.add_argument("--seeds", default="1", help="of each configuration (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of a run (default: %(default)s)")
    parser.add_argument("--plain-steps", type=int, default=8, help="steps of the plain recipe that count (default: 8)")
    parser.add_argument("--plain-clips", type=int, default=64, help="utterances that it evaluates (default: 64)")
    parser.add_argument("--embedded", action="store_true", help="the model and corpus in the repository: a try, no result")
    parser.add_argument("--output", type=Path, default=Path("ablation_speed.json"), help="(default: %(default)s)")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    material = EMBEDDED if options.embedded else REAL
    if not all(path.exists() for path in (material.train, material.validation, material.model)):
        sys.exit(f"ablation: needs real weights and recordings, or --embedded: {material.train}, {material.model}")
    if options.plain:
        print(json.dumps(measure_plain(material, options.plain, options.plain_steps, options.plain_clips)))
        return
    from kidasr.runs.environment import environment

    every = [*settings(material, options.steps), f"hypotheses=[{options.hypotheses}]", f"seeds={options.seeds}"]
    variants: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for one in options.variant or ["default:"]:
            name, _, overrides = one.partition(":")
            variants[name] = kidasr_ablation([*every, *options.overrides, *overrides.split()], Path(folder) / name)
        baseline, *_ = [Path(variant.pop("baseline")) for variant in variants.values()]
        work = work_of(baseline)
        command = [sys.executable, "-m", "tests.benchmarks.ablation", *sys.argv[1:], "--plain", str(baseline / "model")]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=USER_ENVIRONMENT)
        measured = json.loads(done.stdout.splitlines()[-1])
    parts = extrapolate(measured, work)
    plain_sec = sum_of(parts)
    for variant in variants.values():
        variant["times_plain"] = plain_sec / variant["sec_per_run"]
    result = {
        "environment": {**environment(0), "command": ["python", "-m", "tests.benchmarks.ablation", *sys.argv[1:]]},
        "variants": variants,
        "plain": {
            "is_extrapolated": True,
            "how": f"{measured['steps']} steps, {measured['evaluated_utterances']} evaluated utterances (decoded with the "
            f"{next(iter(variants))} baseline's fine-tuned weights), one checkpoint, one start",
            "measured": measured,
            "work": work,
            "parts": parts,
            "sec_per_run": plain_sec,
            "runs_per_hour": 3600 / plain_sec,
        },
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print_tables(result)


if __name__ == "__main__":
    main()
