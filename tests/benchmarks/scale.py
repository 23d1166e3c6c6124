"""How long a large corpus takes to its first batch: `python -m tests.benchmarks.scale`.

Synthetic manifests with the fields of the challenge On Top of Pasketti, of 56,000, 560,000 (its size) and 5,600,000
utterances, without audio. Counted is all from the start of the interpreter to the first batch: imports, reading, checking,
holding speakers out, the curriculum's order, batches of similar length and bounded seconds. Each in a process of its own.
Prints a table.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.conftest import ROOT, composed

WORDS = ["the", "cat", "and", "dog", "ran", "to", "a", "big", "red", "house", "with", "my", "little", "sister"]
AGES = ("3-4", "5-7", "8-11", "12+", "unknown")


def write_manifest(path: Path, utterances: int) -> None:
    drawn = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(utterances):
            child = drawn.randrange(utterances // 280)
            row = {
                "utterance_id": f"U_{number:016x}",
                "child_id": f"C_{child:08x}",
                "session_id": f"S_{number // 40:08x}",
                "audio_path": f"audio/U_{number:016x}.flac",
                "audio_duration_sec": round(min(drawn.lognormvariate(1, 0.5), 30), 3),
                "age_bucket": AGES[child % len(AGES)],
                "orthographic_text": " ".join(drawn.choices(WORDS, k=drawn.randint(1, 12))),
            }
            file.write(json.dumps(row) + "\n")


def first_batch(manifest: Path) -> dict[str, float]:
    import hydra

    from kidasr.batching.batches import EpochBatches
    from kidasr.batching.training_set import TrainingSet

    cfg = composed("data=pasketti", f"data.train={manifest}", "curriculum=age", "padding=longest")
    corpus, curriculum, padding = (hydra.utils.instantiate(cfg[name]) for name in ("data", "curriculum", "padding"))
    sets = corpus.load()
    batches = EpochBatches(
        TrainingSet(sets.train, corpus.buckets), curriculum, 1, padding, 30.0, batch_size=16, max_batch_sec=80
    )
    assert next(iter(batches))
    taken_sec = time.time() - psutil.Process().create_time()
    return {"sec": taken_sec, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "batches": len(batches)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--utterances", type=int, nargs="+", default=[56_000, 560_000, 5_600_000], help="sizes (default: %(default)s)"
    )
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(first_batch(options.only)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for utterances in options.utterances:
            path = Path(folder) / f"{utterances}.jsonl"
            write_manifest(path, utterances)
            command = [sys.executable, "-m", "tests.benchmarks.scale", "--only", str(path)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            found = json.loads(done.stdout.splitlines()[-1])
            path.unlink()
            print(f"{utterances:>10,} utterances: {found['sec']:6.1f} s, {found['peak_gb']:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
