"""How fast and how well each engine of ``job=transcribe`` transcribes: `python -m tests.benchmarks.backends`.

Real children (`../shared`), tiny.en fine-tuned on short input for an epoch (or `--model`), through
:func:`kidasr.recognition.long_form.transcribe_recordings`, so reading the audio and its features count; loading and
converting the model do not. All engines are in one process with `--threads` threads, and take turns for `--rounds` rounds,
since other work on the machine slows whatever runs beside it; the median of each is printed. CPU time is of all threads.
"""

import os

# As in the other benchmarks: the settings that a user has, and not those of the tests, side by side.
os.environ.setdefault("OMP_WAIT_POLICY", "active")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.speed import recordings
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


def prepared(model: Path, *overrides: str) -> Any:
    """An engine, ready to transcribe."""
    from hydra.utils import instantiate

    cfg = composed("job=transcribe", "input=none", f"model.name_or_path={model}", *overrides)
    cfg.job.output_dir = "none"
    return instantiate(cfg.job).prepare()


def measure(transcribe: Any, chosen: Sequence[Any]) -> tuple[dict[str, float], list[str]]:
    """Transcribe; the rates, and the transcripts."""
    from kidasr.corpus.age import AgeBuckets
    from kidasr.model.whisper import scoring
    from kidasr.recognition.long_form import Transcript, transcribe_recordings
    from kidasr.recognition.score import compare, score

    wall_sec, cpu_sec = time.perf_counter(), time.process_time()
    found = [one for _, one in transcribe_recordings(chosen, transcribe, 15, lambda _: [])]
    wall_sec, cpu_sec = time.perf_counter() - wall_sec, time.process_time() - cpu_sec
    texts = [one.text for one in found if isinstance(one, Transcript)]
    wer = score(compare(chosen, texts, scoring("en")), AgeBuckets())["wer"]
    assert wer is not None
    return {"per_cpu_sec": len(chosen) / cpu_sec, "per_sec": len(chosen) / wall_sec, "wer": wer}, texts


def compare_engines(
    model: Path, chosen: Sequence[Any], engines: Mapping[str, Sequence[str]], rounds: int
) -> dict[str, dict[str, float]]:
    """The medians of each engine, and how many of its transcripts are those of the first engine."""
    ready = {name: prepared(model, *overrides) for name, overrides in engines.items()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    texts: dict[str, list[str]] = {}
    for transcribe in ready.values():
        measure(transcribe, chosen[:8])  # what is done once
    for _ in range(rounds):
        for name, transcribe in ready.items():
            rates, texts[name] = measure(transcribe, chosen)
            found[name].append(rates)
            print(name, rates, file=sys.stderr, flush=True)
    first = next(iter(texts.values()))
    return {
        name: {
            **{key: median(one[key] for one in rates) for key in rates[0]},
            "same": sum(one == other for one, other in zip(texts[name], first, strict=True)),
        }
        for name, rates in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.backends", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="checkpoint (default: tiny.en, fine-tuned here for an epoch)")
    parser.add_argument("--clips", type=int, default=800, help="recordings (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--overrides", nargs="*", default=[], help="of job=transcribe, for every engine")
    parser.add_argument("--steps", action="store_true", help="also try other values of backend.length_step_sec")
    parser.add_argument("--output", type=Path, default=Path("backends.json"), help="(default: %(default)s)")
    options = parser.parse_args()
    if not (KIDS.is_dir() and TINY_EN.is_dir()):
        sys.exit("backends: needs real weights and recordings: ../shared/models/whisper-tiny.en, ../shared/data")
    more = (f"trainer.num_threads={options.threads}", *options.overrides)
    engines = {name: (*own, *more) for name, own in {**ENGINES, **(STEPS if options.steps else {})}.items()}
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or Path(folder) / "model"
        if not options.model:
            train = "import sys, pathlib, tests.benchmarks.speed as speed; speed.fine_tune(pathlib.Path(sys.argv[1]))"
            subprocess.run([sys.executable, "-c", train, folder], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        results = compare_engines(model, recordings(options.clips), engines, options.rounds)
    first = next(iter(results.values()))
    print("| engine | utterances per CPU second | times the first | per second | WER | same transcripts as the first |")
    print("|---|---|---|---|---|---|")
    for name, one in results.items():
        times, wer = one["per_cpu_sec"] / first["per_cpu_sec"], f"{100 * one['wer']:.1f}%"
        same = f"{one['same']} of {options.clips}"
        print(f"| {name} | {one['per_cpu_sec']:.1f} | {times:.2f} | {one['per_sec']:.1f} | {wer} | {same} |")
    options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
