"""How fast kidasr trains and decodes, against the recipe that people follow today: `python -m tests.benchmarks.speed`.

Real weights and recordings (`../shared`), everything in one run on one machine, each measurement in a process of its own so
that its peak memory is its own. Prints a table and writes a JSON file.

The plain recipe: transformers' `WhisperForConditionalGeneration` and `WhisperFeatureExtractor`, padded to 30 s, AdamW, and
the same batch of utterances. A step is features, forward, backward and optimizer; the first one is not counted.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # the tests, side by side, take one thread each

import argparse
import itertools
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from tests.conftest import KIDS, ROOT, TINY_EN, composed

BATCH = 8
BATCHES = 6
DECODE_BATCH = 16


def utterances(split: str, count: int) -> list[Any]:
    """Real children, drawn speaker by speaker."""
    import hydra

    manifests = [f"data.train={KIDS / 'train.jsonl'}", f"data.validation={KIDS / 'dev.jsonl'}"]
    cfg = composed("data=manifest", *manifests, f"data.limit_train={count}", f"data.limit_validation={count}").data
    return list(getattr(hydra.utils.instantiate(cfg).load(1), split))


def training_set() -> list[Any]:
    """Batches as `padding=longest` makes them, utterances of similar length together; the plain recipe gets the same."""
    import numpy as np

    from kidasr.features.audio import duration_sec
    from kidasr.features.batch import similar_lengths_together

    drawn = utterances("train", BATCHES * BATCH)
    order, ranks = np.arange(len(drawn)), np.zeros(len(drawn), dtype=np.int64)
    durations_sec = np.array([duration_sec(one) for one in drawn])
    grouped = similar_lengths_together(order, durations_sec, ranks, BATCH, np.random.default_rng(1))
    return [drawn[place] for place in grouped]


def seconds(step: Callable[[], object], repeats: int) -> float:
    """Mean time of a call; the first is not counted."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return mean(times)


def padding(name: str) -> Any:
    import hydra

    return hydra.utils.instantiate(composed(f"padding={name}").padding)


def training_step(plain: bool, frozen: bool, repeats: int) -> dict[str, float]:
    import torch
    import transformers

    from kidasr.features.batch import Collator
    from kidasr.features.dataset import ChildSpeechDataset
    from kidasr.model.whisper import PretrainedWhisper

    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    whisper = PretrainedWhisper(str(TINY_EN), "en", "transcribe").load()
    model: Any = whisper.model
    if plain:
        model = transformers.WhisperForConditionalGeneration.from_pretrained(TINY_EN, dtype=torch.float32)
    if frozen:
        model.get_encoder().requires_grad_(False)
    lengths = padding("max_length" if plain else "longest")
    dataset = ChildSpeechDataset(training_set(), whisper.processor, padding=lengths, cache_sec=3600)
    batches = itertools.cycle(range(0, len(dataset), BATCH))
    collate = Collator(model.config.decoder_start_token_id, lengths.mask)
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-5)
    model.train()

    def step() -> None:
        first = next(batches)
        model(**collate([dataset[place] for place in range(first, first + BATCH)])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {"sec": seconds(step, repeats * len(dataset) // BATCH)}


def needed_arithmetic(frozen: bool) -> dict[str, float]:
    """Floating-point operations of a step that the real frames and tokens need: each utterance alone, without silence."""
    from torch.utils.flop_counter import FlopCounterMode

    from kidasr.features.batch import Collator
    from kidasr.features.dataset import ChildSpeechDataset
    from kidasr.features.log_mel import Padding
    from kidasr.model.whisper import PretrainedWhisper

    whisper = PretrainedWhisper(str(TINY_EN), "en", "transcribe").load()
    if frozen:
        whisper.model.get_encoder().requires_grad_(False)
    bare = Padding("longest", 0.0, True, True, 25)
    dataset = ChildSpeechDataset(training_set(), whisper.processor, padding=bare)
    collate = Collator(whisper.model.config.decoder_start_token_id)
    with FlopCounterMode(display=False) as counter:
        for place in range(len(dataset)):
            whisper.model(**collate([dataset[place]])).loss.backward()
    return {"gflop": counter.get_total_flops() / 1e9 / (len(dataset) // BATCH)}


def matmul_peak(repeats: int) -> dict[str, float]:
    import torch

    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return {"gflop_per_sec": 2 * 2048**3 / seconds(lambda: left @ right, 20 * repeats) / 1e9}


def decoding(plain: bool, model_dir: str, clips: int) -> dict[str, float]:
    import torch
    import transformers

    from kidasr.corpus.age import AgeBuckets
    from kidasr.features.batch import Collator
    from kidasr.features.dataset import ChildSpeechDataset
    from kidasr.model.whisper import PretrainedWhisper
    from kidasr.recognition.decode import transcripts
    from kidasr.recognition.score import compare, score, whisper_normalizer
    from kidasr.training.train import shortest_first

    whisper = PretrainedWhisper(model_dir, "en", "transcribe").load()
    model: Any = whisper.model
    if plain:
        model = transformers.WhisperForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    model.eval()
    lengths = padding("max_length" if plain else "longest")
    chosen = utterances("validation", clips)
    ordered = chosen if plain else shortest_first(chosen)
    dataset = ChildSpeechDataset(ordered, whisper.processor, padding=lengths)
    collate = Collator(model.config.decoder_start_token_id, lengths.mask)
    heard: list[str] = []
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(dataset), DECODE_BATCH):
            inputs = collate([dataset[place] for place in range(first, min(first + DECODE_BATCH, len(dataset)))])
            del inputs["labels"]
            bound = {}
            if not plain:
                input_sec = inputs["input_features"].shape[-1] / 100
                bound = {"max_new_tokens": min(int(input_sec * lengths.max_new_tokens_per_sec), 440)}
            heard += transcripts(model.generate(**inputs, **bound).numpy(), whisper.processor)
    taken = time.perf_counter() - start
    predictions = compare(ordered, heard, whisper_normalizer(whisper.processor, True))
    wer = score(predictions, AgeBuckets())["wer"]
    assert wer is not None
    return {"utterances_per_sec": len(dataset) / taken, "wer": wer}


def start_up(*arguments: str) -> dict[str, float]:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return {"sec": seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), 3)}


def measurements(options: argparse.Namespace) -> dict[str, Callable[[], dict[str, float]]]:
    return {
        "step, plain recipe": lambda: training_step(True, False, options.repeats),
        "step, padding=longest": lambda: training_step(False, False, options.repeats),
        "step, plain recipe, encoder frozen": lambda: training_step(True, True, options.repeats),
        "step, padding=longest, encoder frozen": lambda: training_step(False, True, options.repeats),
        "arithmetic needed, full": lambda: needed_arithmetic(False),
        "arithmetic needed, encoder frozen": lambda: needed_arithmetic(True),
        "matrix-multiply peak": lambda: matmul_peak(options.repeats),
        "decoding, transformers, padded": lambda: decoding(True, options.model, options.clips),
        "decoding, padding=longest": lambda: decoding(False, options.model, options.clips),
        "start-up, --help": lambda: start_up("--help"),
        "start-up, --cfg job": lambda: start_up("--cfg", "job"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model", default=str(TINY_EN), help="checkpoint to decode with: one fine-tuned with padding=longest"
    )
    parser.add_argument("--clips", type=int, default=64, help="recordings to decode (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=1, help=f"times to go through {BATCHES} batches (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("speed.json"), help="JSON file (default: %(default)s)")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (KIDS.is_dir() and TINY_EN.is_dir()):
        sys.exit(
            "speed: needs real weights and recordings: ../shared/models/whisper-tiny.en, ../shared/data/speechocean762-kids"
        )
    if options.only:
        result = measurements(options)[options.only]()
        peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(json.dumps({**result, "peak_gb": peak_gb}))
        return
    results: dict[str, dict[str, float]] = {}
    for name in measurements(options):
        command = [sys.executable, "-m", "tests.benchmarks.speed", *sys.argv[1:], "--only", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:40}", "  ".join(f"{key} {value:.3f}" for key, value in results[name].items()), flush=True)
    full, short = results["step, plain recipe"], results["step, padding=longest"]
    frozen = results["step, padding=longest, encoder frozen"]
    peak = results["matrix-multiply peak"]["gflop_per_sec"]
    ratios = {
        "full step, times faster": full["sec"] / short["sec"],
        "frozen step, times faster than the plain full step": full["sec"] / frozen["sec"],
        "decoding, times faster": results["decoding, padding=longest"]["utterances_per_sec"]
        / results["decoding, transformers, padded"]["utterances_per_sec"],
        "full step, share of the plain recipe's peak memory": short["peak_gb"] / full["peak_gb"],
        "full step, share of the matrix-multiply peak": results["arithmetic needed, full"]["gflop"] / short["sec"] / peak,
        "frozen step, share of the matrix-multiply peak": results["arithmetic needed, encoder frozen"]["gflop"]
        / frozen["sec"]
        / peak,
    }
    for name, ratio in ratios.items():
        print(f"{name:55} {ratio:.2f}")
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "date": str(date.today())}
    options.output.write_text(json.dumps({"machine": machine, "results": results, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
