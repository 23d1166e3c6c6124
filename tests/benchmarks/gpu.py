"""Is kidasr right and fast on a GPU? Ten minutes of one: `python -m tests.benchmarks.gpu`.

First whether it is right: half precision against float32, a masked batch against each utterance alone, a resumed run against
an uninterrupted one. Then how fast: attention kernels, training steps of tiny.en and of the shapes of small and large-v3
(random weights) against the plain recipe of `tests.benchmarks.speed` in bfloat16, the loader, decoding, `torch.compile`.

Needs `../shared`, or the folder that the environment variable KIDASR_SHARED names. Each part runs in a process of its own,
within its share of the time; the JSON file is written after each, so a run that is cut short keeps what it has. A failure is
recorded and does not stop the rest. The exit code is 1 if something was not right.

`--small --device cpu` runs every part on the micro model in a few minutes, to test the benchmark itself.
"""

import os
import sys

if "--small" not in sys.argv:  # that is a test, beside others
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
    os.environ.setdefault("OMP_WAIT_POLICY", "active")

import argparse
import gc
import importlib.util
import json
import math
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from tests.benchmarks import speed
from tests.conftest import KIDS, MICRO, ROOT, TINY_EN, job, read_jsonl

Row = dict[str, Any]
Rows = dict[str, Callable[[], Row]]

#: What differs from tiny.en.
SHAPES: dict[str, dict[str, int]] = {
    "small": {"d_model": 768, "layers": 12, "heads": 12, "ffn_dim": 3072},
    "large-v3": {"d_model": 1280, "layers": 32, "heads": 20, "ffn_dim": 5120, "num_mel_bins": 128},
    "narrow": {"d_model": 32, "layers": 1, "heads": 2, "ffn_dim": 64, "num_mel_bins": 128},
}


class NotHereError(Exception):
    """Why a row can't be measured here."""


@dataclass(frozen=True)
class Setup:
    """What is measured, and where."""

    device: str
    small: bool
    #: Kept from part to part: the fine-tuned model.
    folder: Path

    @property
    def workers(self) -> int:
        return 0 if self.small else min(8, max(1, (os.cpu_count() or 2) // 2))

    @property
    def kidasr(self) -> tuple[str, ...]:
        """Overrides of every run of kidasr."""
        return (f"trainer={'gpu' if self.device == 'cuda' else 'cpu'}", f"trainer.dataloader_num_workers={self.workers}")

    @property
    def few(self) -> tuple[str, ...]:
        """Overrides of a run over the whole training set."""
        return ("data.limit_train=32",) if self.small else ()

    @property
    def model(self) -> Path:
        """Fine-tuned for short input by the first part; without that, as it is."""
        tuned = self.folder / "model"
        return tuned if tuned.is_dir() else TINY_EN

    def precision(self, name: str) -> tuple[str, ...]:
        tf32 = str(name == "tf32").lower() if self.device == "cuda" else "null"
        halves = [f"trainer.{half}={str(half == name).lower()}" for half in ("bf16", "fp16")]
        return (*halves, f"trainer.tf32={tf32}")


class RandomWhisper:
    """A Whisper of one of the shapes, with random weights, around tiny.en's tokenizer: ``model._target_`` of a run."""

    def __init__(self, name_or_path: str, language: str, task: str, shape: str, device: str):
        self.name_or_path, self.language, self.task, self.shape, self.device = name_or_path, language, task, shape, device

    def load(self) -> Any:
        from transformers import WhisperProcessor

        from kidasr.model.prompt import set_prompt
        from kidasr.model.short_input import WhisperForConditionalGeneration
        from kidasr.model.whisper import Whisper

        model = random_model(WhisperForConditionalGeneration, self.shape, self.device)
        model.get_encoder().embed_positions.requires_grad_(False)
        processor = WhisperProcessor.from_pretrained(self.name_or_path, feature_size=model.config.num_mel_bins)
        return Whisper(model, processor, self.language, set_prompt(model, processor.tokenizer, self.language, self.task))


def random_model(kind: Any, shape: str, device: str, **options: Any) -> Any:
    import torch
    from transformers import GenerationConfig, WhisperConfig

    config, sizes = WhisperConfig.from_pretrained(TINY_EN, **options), dict(SHAPES[shape])
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": sizes["layers"], f"{side}_attention_heads": sizes["heads"]}
        sizes[f"{side}_ffn_dim"] = sizes["ffn_dim"]
    config.update({name: size for name, size in sizes.items() if name not in ("layers", "heads", "ffn_dim")})
    torch.manual_seed(1)
    with torch.device(device):
        model = kind(config)
    model.generation_config = GenerationConfig.from_pretrained(TINY_EN)
    return model


def of_shape(setup: Setup, shape: str | None) -> tuple[str, ...]:
    """Overrides that take a random model; none for tiny.en itself."""
    if shape is None:
        return ()
    return (
        "model._target_=tests.benchmarks.gpu.RandomWhisper",
        f"+model.shape={shape}",
        f"+model.device={setup.device}",
    )


class GpuClock(speed.Clock):
    """Waits for the GPU where the counted time begins and ends, and remembers the GPU's memory."""

    def __init__(self, device: str) -> None:
        super().__init__(speed.BATCHES)
        self.device = device

    def on_train_begin(self, *arguments: Any, **options: Any) -> None:
        super().on_train_begin(*arguments, **options)
        reset_peak(self.device)

    def on_step_end(self, args: Any, state: Any, *rest: Any, **options: Any) -> None:
        if self.device == "cuda" and len(self.ends) + 1 in (speed.BATCHES, state.max_steps):
            import torch

            torch.cuda.synchronize()
        super().on_step_end(args, state, *rest, **options)

    def result(self) -> Row:
        return {**super().result(), **peak(self.device)}


def reset_peak(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()


def peak(device: str) -> Row:
    import torch

    return {"gpu_gb": torch.cuda.max_memory_allocated() / speed.GB} if device == "cuda" else {}


# --- Is it right? ---


def fine_tuning(setup: Setup) -> Rows:
    """One epoch over all the children, so that decoding short input means something."""

    def tune() -> Row:
        start = time.perf_counter()
        speed.fine_tune(setup.folder, *setup.kidasr, *setup.few)
        return {"sec": time.perf_counter() - start}

    return {"one epoch": tune}


class Gradients(TrainerCallback):
    """Keeps the gradients of the first step, as the optimizer gets them but for fp16's scale."""

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        self.found = {
            name: one.grad.detach().double().flatten().cpu()
            for name, one in model.named_parameters()
            if one.grad is not None
        }


def cosine(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    import torch

    assert one.keys() == other.keys(), "the same weights train"
    left, right = torch.cat(list(one.values())), torch.cat([other[name] for name in one])
    return float(left @ right / (left.norm() * right.norm()))


@cache
def first_step(setup: Setup, precision: str) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of one batch of children, through the Trainer."""
    manifest, gradients = speed.write_training_manifest(setup.folder), Gradients()
    with tempfile.TemporaryDirectory() as folder:
        steps = ("trainer.max_steps=1", "trainer.logging_steps=1", "optim.max_grad_norm=0")
        data = f"data.train={manifest}"
        built = speed.trainer(Path(folder), data, *steps, *setup.kidasr, *setup.precision(precision))
        built.add_callback(gradients)
        built.train()
    return next(one["loss"] for one in built.state.log_history if "loss" in one), gradients.found


def precisions(setup: Setup) -> Rows:
    clips = 8 if setup.small else 256

    def training(name: str) -> Row:
        (exact, gradients), (loss, found) = first_step(setup, "float32"), first_step(setup, name)
        alike = cosine(gradients, found)
        right = math.isclose(loss, exact, rel_tol=0.01) and alike > 0.99
        return {"loss": loss, "loss_float32": exact, "gradient_cosine": alike, "right": right}

    @cache
    def decoding(name: str) -> Row:
        return speed.decoding(setup.model, clips, *setup.kidasr, *setup.precision(name))

    def transcripts(name: str) -> Row:
        exact, found = decoding("float32")["wer"], decoding(name)["wer"]
        tolerance = 0.1 if setup.small else 0.01  # a word of eight clips is four points
        return {"wer": found, "wer_float32": exact, "right": abs(found - exact) < tolerance}

    names = ("bf16", "fp16", "tf32") if setup.device == "cuda" else ("bf16",)
    return {
        **{f"{name}, loss and gradients": partial(training, name) for name in names},
        **{f"{name}, transcripts": partial(transcripts, name) for name in names},
    }


def masked(setup: Setup) -> Rows:
    """A batch of utterances of different lengths against each of them alone, in float32."""

    def compare() -> Row:
        import torch

        from kidasr.batching.collator import Collator

        with tempfile.TemporaryDirectory() as folder:
            built = speed.trainer(Path(folder), *setup.kidasr, *setup.precision("float32"))
        whisper, dataset = built.recogniser, built.train_dataset
        lengths_sec = [one.known_duration_sec for one in dataset.utterances[:64]]
        places = sorted(range(len(lengths_sec)), key=lengths_sec.__getitem__)[:: len(lengths_sec) // 8]
        collate, examples = Collator(whisper, dataset.padding), [dataset[place] for place in places]
        whisper.model.train()

        def step(chosen: list[Any]) -> tuple[float, dict[str, Any], int]:
            """The sums over the tokens of the loss and of the gradients, and the number of tokens."""
            batch = {name: one.to(setup.device) for name, one in collate(chosen).items()}
            tokens = int((batch["labels"] >= 0).sum())
            whisper.model.zero_grad()
            loss = whisper.model(**batch)["loss"] * tokens
            loss.backward()
            named = whisper.model.named_parameters()
            return loss.item(), {name: one.grad.double().flatten() for name, one in named if one.grad is not None}, tokens

        together, gradients, tokens = step(examples)
        alone = [step([one]) for one in examples]
        sums = {name: torch.stack([one[name] for _, one, _ in alone]).sum(0) for name in gradients}
        loss, alike = sum(one for one, _, _ in alone), cosine(gradients, sums)
        whisper.model.eval()
        bounds = [20] * len(examples)
        with torch.no_grad():
            batch = {name: one.to(setup.device) for name, one in collate(examples).items()}
            heard = whisper.transcribe(batch, bounds, 1)
            same = 0
            for text, one in zip(heard, examples, strict=True):
                single = {name: part.to(setup.device) for name, part in collate([one]).items()}
                same += whisper.transcribe(single, [20], 1) == [text]
        right = math.isclose(loss, together, rel_tol=1e-4) and alike > 0.9999
        return {
            "loss": together / tokens,
            "loss_alone": loss / tokens,
            "gradient_cosine": alike,
            "same_transcripts": f"{same} of {len(examples)}",
            "right": right,
        }

    return {"8 utterances": compare}


def resume(setup: Setup) -> Rows:
    """A run that is stopped in its sixth step and resumed, against one that is not, and that one against itself."""
    from safetensors.torch import load_file

    import kidasr.training.fine_tune
    from kidasr.errors import Stopped
    from kidasr.training.trainer import ChildSpeechTrainer

    class StoppedTrainer(ChildSpeechTrainer):
        stop_at: int | None = None

        def training_step(self, *arguments: Any, **options: Any) -> Any:
            if self.state.global_step == StoppedTrainer.stop_at:
                StoppedTrainer.stop_at = None
                os.kill(os.getpid(), signal.SIGTERM)
            return super().training_step(*arguments, **options)

    vars(kidasr.training.fine_tune)["ChildSpeechTrainer"] = StoppedTrainer
    overrides = (
        "data=manifest",
        f"data.train={KIDS / 'train.jsonl'}",
        f"data.validation={KIDS / 'dev.jsonl'}",
        "data.limit_train=128",
        "data.limit_validation=8",
        "model=whisper",
        f"model.name_or_path={TINY_EN}",
        "trainer.max_steps=8",
        "trainer.zero_shot=false",
        "trainer.train_batch_size=8",
        "checkpoint.eval_steps=4",
        "schedule.warmup_steps=2",
        "report=none",
        *setup.kidasr,
    )

    @cache
    def weights(name: str, stop_at: int | None = None) -> dict[str, Any]:
        folder, StoppedTrainer.stop_at = setup.folder / name, stop_at
        try:
            job(folder, *overrides).run()
        except Stopped:
            job(folder, *overrides).run()
        assert StoppedTrainer.stop_at is None, "the run was stopped"
        return load_file(folder / "checkpoints" / "checkpoint-8" / "model.safetensors")

    def against_whole(name: str, stop_at: int | None = None) -> Row:
        whole, other = weights("whole"), weights(name, stop_at)
        differences = [(whole[part] - other[part]).abs() for part in whole]
        mean = sum(float(one.double().sum()) for one in differences) / sum(one.numel() for one in differences)
        return {"largest_difference": max(float(one.max()) for one in differences), "mean_difference": mean}

    again = cache(partial(against_whole, "again"))

    def stopped() -> Row:
        found = against_whole("stopped", 5)
        # On a GPU, sums of gradients differ from run to run; a resume must not differ more than that.
        right = found["mean_difference"] <= 2 * again()["mean_difference"]
        return {**found, "bit_identical": found["largest_difference"] == 0.0, "right": right}

    return {"run again": again, "stopped and resumed": stopped}


# --- How fast is it? ---


def attention(setup: Setup) -> Rows:
    """PyTorch's attention kernels at kidasr's shapes, heads of 64, forward and backward."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    kernels = {
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
        "math": SDPBackend.MATH,
    }

    def wait() -> None:
        if setup.device == "cuda":
            torch.cuda.synchronize()

    def measure(kernel: SDPBackend, batch: int, heads: int, positions: int, with_mask: bool) -> Row:
        def step(length: int) -> None:
            shape = (batch, heads, length, 64)
            query, key, value = (
                torch.randn(shape, dtype=torch.bfloat16, device=setup.device, requires_grad=True) for _ in range(3)
            )
            mask = None
            if with_mask:
                mask = torch.zeros(batch, 1, 1, length, dtype=torch.bfloat16, device=setup.device)
                mask[::2, ..., -length // 5 :] = torch.finfo(torch.bfloat16).min
            with sdpa_kernel([kernel]):
                scaled_dot_product_attention(query, key, value, attn_mask=mask).sum().backward()
            wait()

        def timed_ms(length: int) -> float:
            wait()
            start = time.perf_counter()
            step(length)
            return 1000 * (time.perf_counter() - start)

        try:
            step(positions)
        except RuntimeError as error:
            if "No available kernel" in str(error) or "No viable backend" in str(error):
                raise NotHereError("not for these shapes on this device") from error
            raise
        new = [timed_ms(positions - 2 * one) for one in range(1, 6)]
        again = [timed_ms(positions) for _ in range(3 if setup.small else 20)]
        return {"ms": min(again), "new_shape_ms": sum(new) / len(new)}

    shapes = [(4, 2, 60)] if setup.small else [(32, 6, 176), (32, 12, 176), (32, 20, 176), (8, 12, 1500)]
    return {
        f"batch {batch}, {heads} heads, {positions} positions, {'mask' if with_mask else 'no mask'}, {name}": partial(
            measure, kernel, batch, heads, positions, with_mask
        )
        for batch, heads, positions in shapes
        for with_mask in (True, False)
        for name, kernel in kernels.items()
    }


def steps(setup: Setup, shape: str | None, sizes: list[int], plain_sizes: list[int]) -> Rows:
    """Training steps of kidasr and of the plain recipe at several batch sizes; a batch too large for the GPU is recorded."""
    import torch
    from transformers import WhisperForConditionalGeneration

    repeats = 1 if setup.small else 2
    kernel = "flash_attention_2" if importlib.util.find_spec("flash_attn") else "sdpa"

    def rates(found: Row, size: int) -> Row:
        kept = ("sec", "gpu_gb", "process_gb", "waiting_share", "first_step_sec")
        return {"utterances_per_sec": size / found["sec"], **{name: found[name] for name in kept if name in found}}

    def own(size: int) -> Row:
        manifest = speed.write_training_manifest(setup.folder, batch=size)
        batch = f"trainer.train_batch_size={size}"
        clock = GpuClock(setup.device)
        return rates(speed.training(manifest, repeats, *setup.kidasr, batch, *of_shape(setup, shape), clock=clock), size)

    def plain(size: int) -> Row:
        manifest = speed.write_training_manifest(setup.folder, batch=size)
        on_gpu = setup.device == "cuda"
        if shape is None:
            model = WhisperForConditionalGeneration.from_pretrained(TINY_EN, dtype=torch.float32, attn_implementation=kernel)
        else:
            model = random_model(WhisperForConditionalGeneration, shape, setup.device, attn_implementation=kernel)
        options: Row = {
            "per_device_train_batch_size": size,
            "use_cpu": not on_gpu,
            "bf16": on_gpu,
            "tf32": True if on_gpu else None,
            "dataloader_num_workers": setup.workers,
            "dataloader_persistent_workers": setup.workers > 0,
        }
        found = speed.plain_training(manifest, False, repeats, clock=GpuClock(setup.device), model=model, **options)
        return {**rates(found, size), "attention": kernel}

    return {
        **{f"kidasr, batch {size}": partial(own, size) for size in sizes},
        **{f"plain recipe, 30 s, batch {size}": partial(plain, size) for size in plain_sizes},
    }


def loader(setup: Setup) -> Rows:
    """Batches of training on the device, without a model's step: reading, features, transfer. The second epoch counts."""

    def measure(workers: int, padding: str) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            options = (f"trainer.dataloader_num_workers={workers}", f"padding={padding}", "data.cache_sec=0")
            batch = f"trainer.train_batch_size={8 if setup.small else 32}"
            built = speed.trainer(Path(folder), *setup.kidasr, *setup.few, *options, batch)
            batches = built.get_train_dataloader()
            for _ in range(2):
                start = time.perf_counter()
                drawn = sum(len(one["labels"]) for one in batches)
            return {"utterances_per_sec": drawn / (time.perf_counter() - start), "utterances": drawn}

    return {
        f"{padding}, {workers} workers": partial(measure, workers, padding)
        for padding in ("longest", "max_length")
        for workers in ((0, 1) if setup.small else (0, 4, 8))
    }


def decoding(setup: Setup) -> Rows:
    """Transcripts of children who were not heard in training, reading and features included."""
    clips = 8 if setup.small else 512
    half = "bfloat16" if setup.device == "cuda" else "float32"

    def measured(work: Callable[[], Row]) -> Row:
        reset_peak(setup.device)
        return {**work(), **peak(setup.device)}

    def own(size: int, *overrides: str, model: Path | None = None) -> Row:
        batch = f"trainer.per_device_eval_batch_size={size}"
        return measured(lambda: speed.decoding(model or setup.model, clips, *setup.kidasr, batch, *overrides))

    def plain(size: int) -> Row:
        return measured(lambda: speed.plain_decoding(setup.model, min(clips, 256), size, setup.device, half))

    def faster_whisper() -> Row:
        if not importlib.util.find_spec("faster_whisper"):
            raise NotHereError("faster-whisper is not installed: pip install -e '.[benchmark]'")
        if setup.small:
            raise NotHereError("faster-whisper takes windows of 30 s only, and the micro model has 3 s")
        kind = "float16" if setup.device == "cuda" else "float32"
        return measured(lambda: speed.faster_whisper_decoding(setup.model, min(clips, 64), kind, setup.device))

    # Random weights never end a transcript, so the bound decides: about as many tokens as a child says.
    talks, shapes = "trainer.generation_max_tokens_per_sec=4", ("narrow",) if setup.small else ("small", "large-v3")
    return {
        **{f"kidasr, batch {size}": partial(own, size) for size in ((4,) if setup.small else (16, 128, 256))},
        **{f"generate, 30 s, batch {size}": partial(plain, size) for size in ((4,) if setup.small else (16, 128))},
        "faster-whisper, one by one": faster_whisper,
        **{
            f"kidasr, shape of {shape}, {padding}, batch {size}": partial(
                own, size, talks, f"padding={padding}", *of_shape(setup, shape), model=TINY_EN
            )
            for shape in shapes
            for padding in ("longest", "max_length")
            for size in ((4,) if setup.small else (128,))
        },
    }


def compiled(setup: Setup) -> Rows:
    """`trainer.torch_compile` on batches of many shapes. Its second epoch still meets shapes that are compiled then."""
    size = 4 if setup.small else 32
    # The small form wraps the model and generates no code, which takes minutes on a CPU.
    backend = ("+trainer.torch_compile_backend=eager",) if setup.small else ()

    def measure(*overrides: str) -> Row:
        manifest = speed.write_training_manifest(setup.folder, batch=size)
        batch = f"trainer.train_batch_size={size}"
        found = speed.training(
            manifest, 1 if setup.small else 2, *setup.kidasr, batch, *overrides, clock=GpuClock(setup.device)
        )
        return {name: found[name] for name in ("sec", "first_step_sec", "gpu_gb") if name in found}

    return {"as it is": measure, "compiled": partial(measure, "trainer.torch_compile=true", *backend)}


@dataclass(frozen=True)
class Part:
    """A part of the benchmark, and the seconds that it may take."""

    limit_sec: int
    rows: Callable[[Setup], Rows]


def parts(small: bool) -> dict[str, Part]:
    shapes: dict[str, tuple[int, str | None, list[int], list[int]]] = {
        "training, tiny.en": (80, None, [8, 32, 128], [8, 32]),
        "training, shape of small": (90, "small", [16, 32, 128], [16, 32]),
        "training, shape of large-v3": (120, "large-v3", [8, 32, 64], [8, 16]),
    }
    if small:
        shapes = {"training": (60, None, [4], [4]), "training, random weights": (60, "narrow", [4], [4])}
    return {
        "fine-tuning": Part(60, fine_tuning),
        "half precision": Part(60, precisions),
        "masked batch": Part(40, masked),
        "resume": Part(80, resume),
        "attention": Part(45, attention),
        **{
            name: Part(limit_sec, partial(steps, shape=shape, sizes=sizes, plain_sizes=plain))
            for name, (limit_sec, shape, sizes, plain) in shapes.items()
        },
        "decoding": Part(90, decoding),
        "loader": Part(45, loader),
        "compile": Part(90, compiled),
    }


def measure(rows: Rows, path: Path) -> None:
    """Measure each row of a part, and add it to a file."""
    import torch

    from kidasr.training.stopping import end_workers

    for name, row in rows.items():
        try:
            found = row()
        except NotHereError as why:
            found = {"skipped": str(why)}
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: found}) + "\n")
        end_workers()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def run_part(name: str, limit_sec: float, options: list[str], environment: Mapping[str, str]) -> Row:
    """Measure a part in a process of its own. The result has its rows, and why they are not all."""
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "rows.jsonl", Path(folder) / "log.txt"
        command = [sys.executable, "-m", "tests.benchmarks.gpu", *options, "--part", name, "--rows", str(path)]
        start, error = time.perf_counter(), None
        with log.open("w") as file:
            child = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                if child.wait(limit_sec):
                    lines = log.read_text(errors="replace").strip().splitlines()
                    error = f"ended with {child.returncode}: {lines[-1] if lines else ''}"
            except subprocess.TimeoutExpired:
                error = f"cut after {limit_sec:.0f} s"
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)  # with its workers
                    child.wait()
        rows: Row = {}
        for one in read_jsonl(path) if path.exists() else []:
            rows |= one
        return {"sec": time.perf_counter() - start, "rows": rows, **({"error": error} if error else {})}


def machine(device: str) -> Row:
    found: Row = {"device": device, "cores": os.cpu_count(), "date": str(date.today())}
    found |= {name: version(name) for name in ("torch", "transformers", "accelerate")}
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    found["commit"] = git.stdout.strip()
    if device == "cuda":
        fields = ("name", "driver_version", "memory.total")
        query = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
        told = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
        found |= dict(zip(fields, (one.strip() for one in told[0].split(",")), strict=False)) if told else {}
    return found


@contextmanager
def stand_ins() -> Iterator[str]:
    """A folder like ``../shared``, with the micro model and the embedded corpus."""
    corpus = MICRO.parent / "corpus"
    with tempfile.TemporaryDirectory() as folder:
        kids = Path(folder) / "data" / KIDS.name
        kids.mkdir(parents=True)
        for name, source in (("train.jsonl", "train.jsonl"), ("dev.jsonl", "validation.jsonl"), ("audio", "audio")):
            (kids / name).symlink_to(corpus / source)
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / TINY_EN.name).symlink_to(MICRO)
        yield folder


def text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_part(name: str, part: Row) -> None:
    print(f"\n{name} ({part['sec']:.0f} s){': ' + part['error'] if 'error' in part else ''}")
    for row, values in part["rows"].items():
        print(f"  {row:58}", "  ".join(f"{key} {text(value)}" for key, value in values.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="every part on the micro model, to test the benchmark")
    parser.add_argument("--minutes", type=float, default=9.5, help="time for everything (default: %(default)s)")
    parser.add_argument("--only", default="", help="only the parts whose name has this in it")
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="JSON file (default: %(default)s)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        setup = Setup(options.device, options.small, options.folder)
        if options.small:
            speed.BATCHES = 3
        measure(parts(options.small)[options.part].rows(setup), options.rows)
        return
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            sys.exit("gpu: no CUDA device found; --small --device cpu tests the benchmark itself")
    if not options.small and not (KIDS.is_dir() and TINY_EN.is_dir()):
        sys.exit(f"gpu: needs real weights and recordings: {TINY_EN}, {KIDS}; or --small, which needs none")
    begun, results = time.perf_counter(), {"machine": machine(options.device), "small": options.small, "parts": {}}
    with tempfile.TemporaryDirectory() as folder, stand_ins() as shared:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"KIDASR_SHARED": shared} if options.small else {})}
        passed_on = ["--device", options.device, "--folder", folder, *(["--small"] if options.small else [])]
        for name, part in parts(options.small).items():
            left_sec = 60 * options.minutes - (time.perf_counter() - begun)
            if options.only not in name:
                continue
            if left_sec < 10:
                results["parts"][name] = {"sec": 0.0, "rows": {}, "error": "no time was left"}
            else:
                results["parts"][name] = run_part(
                    name, min(part.limit_sec * (5 if options.small else 1), left_sec), passed_on, environment
                )
            options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            print_part(name, results["parts"][name])
    wrong = [
        f"{name}, {row}"
        for name, part in results["parts"].items()
        for row, values in part["rows"].items()
        if values.get("right") is False
    ]
    print(f"\n{json.dumps(results['machine'])}\n{time.perf_counter() - begun:.0f} s, written to {options.output}")
    if wrong:
        sys.exit("not right: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
