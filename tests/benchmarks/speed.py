"""How fast kidasr trains and decodes, against the recipe that people follow today: `python -m tests.benchmarks.speed`.

Real weights and recordings (`../shared`), everything in one run on one machine, each measurement in a process of its own so
that its memory is its own. Prints a table and writes a JSON file. Needs `pip install -e '.[test,benchmark]'`.

The plain recipe: transformers' `Seq2SeqTrainer` and `WhisperForConditionalGeneration`, features of
`WhisperFeatureExtractor` padded to 30 s, the usual padding collator, random order. Both train on the same utterances with
the same optimizer, in batches of 8, drawn evenly over the lengths of the training set. A step is everything from one
optimizer step to the next, reading the audio included; a first epoch is not counted.

Memory is what the process took at most while it trained: in all (`process_gb`); without what interpreter and libraries had
taken before the model was loaded (`training_gb`); and of that without the weights and the optimizer's state, which are the
same for both (`step_gb`).
"""

import os

# The tests, side by side, take one thread each, which waits passively; here are the settings that a user has.
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
os.environ.setdefault("OMP_WAIT_POLICY", "active")

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
from transformers import TrainerCallback

from tests.conftest import KIDS, MICRO, ROOT, TINY_EN, composed

BATCH = 8
BATCHES = 8
DECODE_BATCH = 16
GB = 1e9
BF16, FP32 = "trainer.bf16=true", "trainer.bf16=false"


@dataclass(frozen=True)
class Material:
    """What is measured with: manifests and weights."""

    train: Path
    validation: Path
    model: Path

    @property
    def data(self) -> tuple[str, ...]:
        return ("data=manifest", f"data.train={self.train}", f"data.validation={self.validation}")

    @property
    def overrides(self) -> tuple[str, ...]:
        return (*self.data, "model=whisper", f"model.name_or_path={self.model}", "padding=longest")


REAL = Material(KIDS / "train.jsonl", KIDS / "dev.jsonl", TINY_EN)
CORPUS = ROOT / "kidasr" / "embedded" / "corpus"
EMBEDDED = Material(CORPUS / "train.jsonl", CORPUS / "validation.jsonl", MICRO)  # for tests


class Clock(TrainerCallback):
    """Times the optimizer steps after the first ones, and remembers the memory."""

    def __init__(self, first_steps: int) -> None:
        self.first_steps = first_steps
        self.before_bytes = psutil.Process().memory_info().rss
        self.ends: list[float] = []
        self.first_sec = self.peak_bytes = self.state_bytes = 0.0

    def on_train_begin(self, *_: Any, model: Any = None, **__: Any) -> None:
        # AdamW keeps two numbers for each weight that trains.
        self.state_bytes = sum(one.nbytes * (3 if one.requires_grad else 1) for one in model.parameters())
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.first_sec = self.first_sec or time.time() - psutil.Process().create_time()
        self.ends.append(time.perf_counter())
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        self.peak_bytes = 1024 * int(status["VmHWM"].split()[0])

    def result(self) -> dict[str, float]:
        return {
            "sec": (self.ends[-1] - self.ends[self.first_steps - 1]) / (len(self.ends) - self.first_steps),
            "process_gb": self.peak_bytes / GB,
            "training_gb": (self.peak_bytes - self.before_bytes) / GB,
            "step_gb": (self.peak_bytes - self.before_bytes - self.state_bytes) / GB,
            "first_step_sec": self.first_sec,
        }


def read_rows(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def write_training_manifest(folder: Path, batches: int | None = None, material: Material = REAL, batch: int = BATCH) -> Path:
    """The utterances to train on: batches of similar length, drawn evenly over all lengths."""
    batches = batches or BATCHES
    rows = sorted(read_rows(material.train), key=lambda row: row["duration_sec"])
    every = [rows[start : start + batch] for start in range(0, len(rows) - batch + 1, batch)]
    chosen = [row for one in range(batches) for row in every[int((one + 0.5) / batches * len(every))]]
    audio = material.train.parent
    lines = [json.dumps({**row, "audio_path": str(audio / row["audio_path"]), "split": None}) for row in chosen]
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def plain_trainer(
    model_dir: Path,
    rows: Sequence[dict[str, Any]],
    folder: str,
    frozen: bool = False,
    model: Any = None,
    **arguments: Any,
) -> Any:
    """The plain recipe, for manifest rows that it trains on or evaluates; with another model if given."""
    import soundfile
    import torch
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, WhisperForConditionalGeneration, WhisperProcessor

    model = model or WhisperForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
    processor = WhisperProcessor.from_pretrained(model_dir, feature_size=model.config.num_mel_bins)
    if frozen:
        model.get_encoder().requires_grad_(False)

    class Recordings(torch.utils.data.Dataset[dict[str, Any]]):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, place: int) -> dict[str, Any]:
            samples, rate_hz = soundfile.read(rows[place]["audio_path"], dtype="float32")
            features = processor.feature_extractor(samples, sampling_rate=rate_hz).input_features[0]
            return {"input_features": features, "labels": processor.tokenizer(rows[place]["text"].lower()).input_ids}

    def collate(examples: list[dict[str, Any]]) -> Any:
        features = [{"input_features": one["input_features"]} for one in examples]
        batch = processor.feature_extractor.pad(features, return_tensors="pt")
        labels = processor.tokenizer.pad([{"input_ids": one["labels"]} for one in examples], return_tensors="pt")
        batch["labels"] = labels.input_ids.masked_fill(labels.attention_mask.ne(1), -100)[:, 1:]
        return batch

    settings: dict[str, Any] = {
        "per_device_train_batch_size": BATCH,
        "learning_rate": 1e-5,
        "optim": composed("model=whisper").optim.optim,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **arguments,
    }
    options = Seq2SeqTrainingArguments(folder, **settings)
    recordings = Recordings()
    return Seq2SeqTrainer(model, options, train_dataset=recordings, eval_dataset=recordings, data_collator=collate)


def plain_training(
    manifest: Path,
    frozen: bool,
    repeats: int,
    model_dir: Path = TINY_EN,
    clock: Clock | None = None,
    model: Any = None,
    **options: Any,
) -> dict[str, float]:
    import soundfile  # noqa: F401, before memory is counted
    from transformers import Seq2SeqTrainer, WhisperForConditionalGeneration, WhisperProcessor  # noqa: F401

    rows = read_rows(manifest)
    clock = clock or Clock(len(rows) // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        built = plain_trainer(model_dir, rows, folder, frozen, model, num_train_epochs=1 + repeats, **options)
        built.add_callback(clock)
        built.train()
    return clock.result()


def trainer(folder: Path, *overrides: str, material: Material = REAL) -> Any:
    """kidasr's own, as `python run.py OVERRIDES` builds it."""
    import hydra

    from kidasr.training.device import prepare_cpu, prepare_gpu
    from kidasr.training.fine_tune import FineTune
    from kidasr.training.stopping import StopSignals

    batch = f"trainer.train_batch_size={BATCH}"
    cfg = composed(*material.overrides, batch, "checkpoint.eval_steps=100000", *overrides)
    cfg.job.run_dir = str(folder)
    job = FineTune(**hydra.utils.instantiate(cfg.job).arguments)
    if job.trainer["use_cpu"]:
        prepare_cpu(None)
    else:
        prepare_gpu()
    whisper = job.model.load()
    sets, arguments = job.data.load(), job._training_arguments()
    batches = job._batches(arguments, sets.train, whisper.window_sec)
    sets.evaluation[:] = sets.evaluation[:1]  # the Trainer evaluates at the end, which is not measured
    return job._trainer(arguments, whisper, sets, batches, [], StopSignals())


def training(
    manifest: Path,
    repeats: int,
    *overrides: str,
    own_loss: bool = True,
    material: Material = REAL,
    clock: Clock | None = None,
) -> dict[str, float]:
    import kidasr.training.fine_tune  # noqa: F401, before memory is counted

    clock = clock or Clock(len(read_rows(manifest)) // BATCH)
    with tempfile.TemporaryDirectory() as folder:
        every = (f"data.train={manifest}", f"trainer.num_train_epochs={1 + repeats}", *overrides)
        built = trainer(Path(folder), *every, material=material)
        if not own_loss:
            built.model.forward = super(type(built.model), built.model).forward
        built.add_callback(clock)
        built.train()
    return {**clock.result(), "waiting_share": built.waited_sec / (built.waited_sec + built.stepped_sec)}


def fine_tune(folder: Path, *overrides: str) -> None:
    """A model that knows short input, for the decoding: one epoch over the whole training set."""

    built = trainer(folder, "trainer.num_train_epochs=1", "optim.learning_rate=5e-5", "schedule.warmup_steps=10", *overrides)
    built.train()
    built.recogniser.save(folder / "model")


def needed_arithmetic(manifest: Path, frozen: bool) -> dict[str, float]:
    """Floating-point operations of a step that the real frames and tokens need: each utterance alone, without silence."""
    import hydra
    from torch.utils.flop_counter import FlopCounterMode

    from kidasr.batching.collator import Collator
    from kidasr.features.dataset import ChildSpeechDataset
    from kidasr.model.pretrained import PretrainedWhisper

    whisper = PretrainedWhisper(str(TINY_EN), "en", "transcribe").load()
    if frozen:
        whisper.model.get_encoder().requires_grad_(False)
    bare = hydra.utils.instantiate(composed("padding=longest", "padding.trailing_silence_sec=0").padding)
    data = composed("data=manifest", f"data.train={manifest}", f"data.validation={KIDS / 'dev.jsonl'}").data
    dataset = ChildSpeechDataset(hydra.utils.instantiate(data).load().train, whisper, padding=bare)
    collate = Collator(whisper, bare)
    with FlopCounterMode(display=False) as counter:
        for place in range(len(dataset)):
            whisper.model(**collate([dataset[place]])).loss.backward()
    return {"gflop": counter.get_total_flops() / 1e9 / BATCHES}


def seconds(step: Callable[[], object], repeats: int) -> float:
    """Mean time of a call; the first is not counted."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return mean(times)


def matmul_peak(precision: str) -> dict[str, float]:
    import torch

    left, right = torch.randn(2, 2048, 2048, dtype=getattr(torch, precision))
    return {"gflop_per_sec": 2 * 2048**3 / seconds(lambda: left @ right, 50) / 1e9}


def recordings(clips: int, material: Material = REAL) -> list[Any]:
    """Real children that the model has not heard, drawn speaker by speaker."""
    import hydra

    from kidasr.corpus.split import limit_utterances

    return limit_utterances(hydra.utils.instantiate(composed(*material.data).data).load().validation, clips, 1)


def scored(utterances: list[Any], heard: list[str], taken_sec: float, processor: Any) -> dict[str, float]:
    from kidasr.corpus.age import AgeBuckets
    from kidasr.recognition.score import Scoring, compare, score

    wer = score(compare(utterances, heard, Scoring(processor.tokenizer.normalize, "WER")), AgeBuckets())["wer"]
    assert wer is not None
    return {"utterances_per_sec": len(utterances) / taken_sec, "wer": wer}


def plain_decoding(
    model_dir: Path, clips: int, batch: int = DECODE_BATCH, device: str = "cpu", precision: str = "float32"
) -> dict[str, float]:
    import torch
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    from kidasr.corpus.audio import load_audio

    processor = WhisperProcessor.from_pretrained(model_dir)
    dtype = getattr(torch, precision)
    model = WhisperForConditionalGeneration.from_pretrained(model_dir, dtype=dtype).eval().to(device)
    chosen, heard = recordings(clips), []
    start = time.perf_counter()
    with torch.inference_mode():
        for first in range(0, len(chosen), batch):
            samples = [load_audio(one) for one in chosen[first : first + batch]]
            inputs = processor(samples, sampling_rate=16_000, return_tensors="pt").to(device, dtype)
            heard += processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)
    return scored(chosen, heard, time.perf_counter() - start, processor)


def decoding(model_dir: Path, clips: int, *overrides: str, material: Material = REAL) -> dict[str, float]:
    from kidasr.recognition.predictions import in_order_of
    from kidasr.recognition.transcribe import shortest_first

    with tempfile.TemporaryDirectory() as folder:
        options = (f"model.name_or_path={model_dir}", f"trainer.per_device_eval_batch_size={DECODE_BATCH}")
        built = trainer(Path(folder), *options, *overrides, material=material)
        chosen, dataset = recordings(clips, material), built.evaluation
        dataset.utterances = shortest_first(chosen)
        start = time.perf_counter()
        predictions = in_order_of(chosen, built.transcribe(dataset))
        taken_sec = time.perf_counter() - start
    return scored(chosen, [one.hypothesis for one in predictions], taken_sec, built.recogniser.processor)


def faster_whisper_decoding(model_dir: Path, clips: int, compute_type: str, device: str = "cpu") -> dict[str, float]:
    import faster_whisper
    from ctranslate2.converters import TransformersConverter
    from transformers import WhisperProcessor

    from kidasr.corpus.audio import load_audio

    chosen, heard = recordings(clips), []
    with tempfile.TemporaryDirectory() as folder:
        copied = ["tokenizer.json", "processor_config.json"]
        TransformersConverter(str(model_dir), copy_files=copied).convert(f"{folder}/model", quantization="float32")
        model = faster_whisper.WhisperModel(f"{folder}/model", device=device, compute_type=compute_type)
        start = time.perf_counter()
        for one in chosen:
            segments, _ = model.transcribe(load_audio(one), language="en", beam_size=1, without_timestamps=True)
            heard.append(" ".join(segment.text for segment in segments))
    return scored(chosen, heard, time.perf_counter() - start, WhisperProcessor.from_pretrained(model_dir))


def start_up(*arguments: str) -> dict[str, float]:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return {"sec": seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), 3)}


def measurements(options: argparse.Namespace, manifest: Path, model: Path) -> dict[str, Callable[[], dict[str, float]]]:
    repeats = 4 * options.repeats
    frozen = "freeze=encoder_all", "trainer.keep_encodings_gb=0"
    kept = "freeze=encoder_all"
    every = {
        "step, plain recipe": lambda: plain_training(manifest, False, options.repeats),
        "step, kidasr": lambda: training(manifest, repeats, FP32),
        "step, plain recipe, encoder frozen": lambda: plain_training(manifest, True, options.repeats),
        "step, kidasr, encoder frozen": lambda: training(manifest, repeats, *frozen, FP32),
        "step, kidasr, bf16": lambda: training(manifest, repeats, BF16),
        "step, kidasr, bf16, encoder frozen": lambda: training(manifest, repeats, *frozen, BF16),
        "arithmetic needed, full": lambda: needed_arithmetic(manifest, False),
        "arithmetic needed, encoder frozen": lambda: needed_arithmetic(manifest, True),
        "matrix-multiply peak": lambda: matmul_peak("float32"),
        "matrix-multiply peak, bf16": lambda: matmul_peak("bfloat16"),
        "decoding, transformers, padded": lambda: plain_decoding(model, options.clips),
        "decoding, faster-whisper float32": lambda: faster_whisper_decoding(model, options.clips, "float32"),
        "decoding, faster-whisper int8": lambda: faster_whisper_decoding(model, options.clips, "int8"),
        "step, kidasr, bf16, encoder frozen, encodings kept": lambda: training(manifest, repeats, kept, BF16),
        "decoding, kidasr": lambda: decoding(model, options.clips, FP32),
        "decoding, kidasr, bf16": lambda: decoding(model, options.clips, BF16),
        "start-up, --help": lambda: start_up("--help"),
        "start-up, --cfg job": lambda: start_up("--cfg", "job"),
    }
    alone = {
        "step, kidasr with padding=max_length": lambda: training(manifest, options.repeats, FP32, "padding=max_length"),
        "step, kidasr in random batches": lambda: training(manifest, repeats, FP32, "padding.group_by_length=false"),
        "step, kidasr with transformers' loss": lambda: training(manifest, repeats, FP32, own_loss=False),
        "step, kidasr with unfused AdamW": lambda: training(manifest, repeats, FP32, "optim.optim=adamw_torch"),
        "step, kidasr without a mask": lambda: training(manifest, repeats, FP32, "padding.mask=false"),
        "step, kidasr without trailing silence": lambda: training(manifest, repeats, FP32, "padding.trailing_silence_sec=0"),
        "step, kidasr, audio by another process": lambda: training(
            manifest, repeats, FP32, "trainer.dataloader_num_workers=1"
        ),
    }
    return {**every, **(alone if options.each else {})}


def ratios(results: dict[str, dict[str, float]]) -> dict[str, float]:
    full, short = results["step, plain recipe"], results["step, kidasr"]
    rate = {name: one["utterances_per_sec"] for name, one in results.items() if name.startswith("decoding")}
    found = {
        "full step, share of the plain step's memory": short["step_gb"] / full["step_gb"],
        "the same, with weights and optimizer state": short["training_gb"] / full["training_gb"],
        "the same, the whole process": short["process_gb"] / full["process_gb"],
        "decoding, times faster than faster-whisper int8": rate["decoding, kidasr"] / rate["decoding, faster-whisper int8"],
    }
    for precision in ("", ", bf16"):  # against the plain recipe in float32, and this precision's own peak
        step, frozen = results[f"step, kidasr{precision}"]["sec"], results[f"step, kidasr{precision}, encoder frozen"]["sec"]
        peak = results[f"matrix-multiply peak{precision}"]["gflop_per_sec"]
        needed, needed_frozen = (results[f"arithmetic needed, {one}"]["gflop"] for one in ("full", "encoder frozen"))
        found |= {
            f"full step{precision}, times faster": full["sec"] / step,
            f"frozen step{precision}, times faster than the plain full step": full["sec"] / frozen,
            f"full step{precision}, share of the matrix-multiply peak": needed / step / peak,
            f"frozen step{precision}, share of the matrix-multiply peak": needed_frozen / frozen / peak,
            f"decoding{precision}, times faster than padded generate": rate[f"decoding, kidasr{precision}"]
            / rate["decoding, transformers, padded"],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.speed", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--model", type=Path, help="checkpoint to decode with (default: tiny.en, fine-tuned here for an epoch)"
    )
    parser.add_argument("--clips", type=int, default=64, help="recordings to decode (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="counted epochs of the plain recipe (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("speed.json"), help="JSON file (default: %(default)s)")
    parser.add_argument("--skip", default="", help="leave out measurements whose name has this in it")
    parser.add_argument("--each", action="store_true", help="measure what each setting of a step gives or costs, too")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not (KIDS.is_dir() and TINY_EN.is_dir()):
        sys.exit(
            "speed: needs real weights and recordings: ../shared/models/whisper-tiny.en, ../shared/data/speechocean762-kids"
        )
    if options.only:
        model = options.model or options.folder / "model"
        todo = {
            "fine-tuning": lambda: fine_tune(options.folder, FP32),
            **measurements(options, options.folder / "train.jsonl", model),
        }
        print(json.dumps(todo[options.only]()))
        return
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_training_manifest(Path(folder))

        def run(name: str) -> Any:
            command = [sys.executable, "-m", "tests.benchmarks.speed", *sys.argv[1:], "--folder", folder, "--only", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            return json.loads(done.stdout.splitlines()[-1])

        if not options.model:
            run("fine-tuning")
        for name in measurements(options, Path(), Path()):
            if not options.skip or options.skip not in name:
                results[name] = run(name)
                print(f"{name:40}", "  ".join(f"{key} {value:.3f}" for key, value in results[name].items()), flush=True)
    found = ratios(results) if not options.skip else {}
    for name, ratio in found.items():
        print(f"{name:55} {ratio:.2f}")
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine(), "date": str(date.today())}
    options.output.write_text(json.dumps({"machine": machine, "results": results, "ratios": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
