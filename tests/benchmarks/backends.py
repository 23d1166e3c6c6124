"""How fast and how well each engine of ``job=transcribe`` transcribes: `python -m tests.benchmarks.backends`.

Real children (`../shared`), tiny.en fine-tuned on short input for an epoch (or `--model`), through
:func:`kidasr.recognition.long_form.transcribe_recordings`, so reading the audio and its features count. Each measurement is
a process of its own with `--threads` threads; loading and converting the model do not count. CPU time is that of all threads
of the process. The engines take turns for `--rounds` rounds, and the median of each is printed, since other work on the
machine slows whatever runs beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from tests.benchmarks.speed import REAL, Material, recordings
from tests.conftest import KIDS, ROOT, TINY_EN, composed

#: Overrides of each engine.
ENGINES: Mapping[str, tuple[str, ...]] = {
    "torch, float32": ("backend=torch", "trainer.bf16=false"),
    "torch, bfloat16": ("backend=torch", "trainer.bf16=true"),
    "ctranslate2, float32": ("backend=ctranslate2", "backend.compute_type=float32"),
    "ctranslate2, int8": ("backend=ctranslate2", "backend.compute_type=int8"),
}
#: Variants of the last.
STEPS = {
    f"ctranslate2, int8, steps of {step} s": ("backend=ctranslate2", f"backend.length_step_sec={step}")
    for step in (0.02, 0.1, 0.4, 0.8)
}


def measure(model: Path, clips: int, overrides: tuple[str, ...], material: Material = REAL) -> dict[str, float]:
    """Transcribe real children in this process."""
    from hydra.utils import instantiate

    from kidasr.corpus.age import AgeBuckets
    from kidasr.model.whisper import scoring
    from kidasr.recognition.long_form import Transcript, transcribe_recordings
    from kidasr.recognition.score import compare, score

    chosen = recordings(clips, material)
    cfg = composed("job=transcribe", "input=none", f"model.name_or_path={model}", *overrides)
    cfg.job.output_dir = "none"
    job = instantiate(cfg.job)
    transcribe = job.prepare()
    list(transcribe_recordings(chosen[:8], transcribe, 15, lambda _: []))  # what is done once
    wall_sec, cpu_sec = time.perf_counter(), time.process_time()
    found = [one for _, one in transcribe_recordings(chosen, transcribe, 15, lambda _: [])]
    wall_sec, cpu_sec = time.perf_counter() - wall_sec, time.process_time() - cpu_sec
    texts = [one.text for one in found if isinstance(one, Transcript)]
    wer = score(compare(chosen, texts, scoring("en")), AgeBuckets())["wer"]
    assert wer is not None
    return {"per_cpu_sec": clips / cpu_sec, "per_sec": clips / wall_sec, "wer": wer}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.backends", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="checkpoint (default: tiny.en, fine-tuned here for an epoch)")
    parser.add_argument("--clips", type=int, default=800, help="recordings (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--overrides", nargs="*", default=[], help="of job=transcribe, for every engine")
    parser.add_argument("--steps", action="store_true", help="also try other values of backend.length_step_sec")
    parser.add_argument("--output", type=Path, default=Path("backends.json"), help="(default: %(default)s)")
    parser.add_argument("--only", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (KIDS.is_dir() and TINY_EN.is_dir()):
        sys.exit("backends: needs real weights and recordings: ../shared/models/whisper-tiny.en, ../shared/data")
    if options.only:
        print(json.dumps(measure(options.model, options.clips, (*options.only, *options.overrides))))
        return
    engines = {**ENGINES, **(STEPS if options.steps else {})}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or Path(folder) / "model"
        if not options.model:
            train = "import sys, pathlib, tests.benchmarks.speed as speed; speed.fine_tune(pathlib.Path(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", train, folder], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        for _ in range(options.rounds):
            for name, overrides in engines.items():
                threads = f"trainer.num_threads={options.threads}"
                command = [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.backends",
                    "--model",
                    str(model),
                    f"--clips={options.clips}",
                ]
                command += ["--only", *overrides, threads, *options.overrides]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    results = {name: {key: median(one[key] for one in rounds) for key in rounds[0]} for name, rounds in found.items()}
    first = next(iter(results.values()))
    print("| engine | utterances per CPU second | against the first | per second | WER |\n|---|---|---|---|---|")
    for name, one in results.items():
        times = one["per_cpu_sec"] / first["per_cpu_sec"]
        print(f"| {name} | {one['per_cpu_sec']:.1f} | {times:.2f} | {one['per_sec']:.1f} | {100 * one['wer']:.1f}% |")
    options.output.write_text(json.dumps({"results": results, "rounds": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
