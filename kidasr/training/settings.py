"""The keys of the groups ``optim``, ``schedule`` and ``trainer``. Most are passed on to transformers' Trainer unchanged.

Each key is documented beside its value in ``conf/``.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_core import PydanticCustomError

from kidasr.config.schema import Fraction, Group, MinusOneOrMore
from kidasr.corpus.texts import Cleaning


def _rising(temperatures: list[float]) -> list[float]:
    rises = all(low < high for low, high in pairwise(temperatures))
    if not temperatures or temperatures[0] != 0 or temperatures[-1] > 2 or not rises:
        raise PydanticCustomError(
            "temperatures", "should begin with 0 and rise, up to 2, e.g. [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]; [0.0] is off"
        )
    return temperatures


class Optim(Group):
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "adafactor", "sgd"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    weight_decay: NonNegativeFloat
    max_grad_norm: NonNegativeFloat
    layer_decay: Annotated[float, Field(gt=0, le=1)]


class Schedule(Group):
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ]
    warmup_steps: NonNegativeInt


class Trainer(Group):
    num_processes: PositiveInt | None
    num_nodes: PositiveInt
    use_cpu: bool
    train_batch_size: PositiveInt
    max_batch_sec: PositiveFloat | None
    max_steps: MinusOneOrMore
    num_train_epochs: PositiveFloat
    per_device_eval_batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt
    dataloader_num_workers: NonNegativeInt | None
    dataloader_prefetch_factor: PositiveInt | None
    num_threads: PositiveInt | None
    logging_steps: PositiveInt
    activation_checkpointing: bool
    bf16: bool
    fp16: bool
    tf32: bool | None
    torch_compile: bool
    generation_max_length: Annotated[int, Field(ge=5)] | None  # Whisper's prefix has up to four tokens
    generation_num_beams: PositiveInt
    generation_max_tokens_per_sec: PositiveFloat
    generation_temperatures: Annotated[list[float], AfterValidator(_rising)]
    generation_compression_ratio_threshold: PositiveFloat | None
    generation_logprob_threshold: Annotated[float, Field(le=0)] | None
    generation_no_speech_threshold: Fraction | None
    zero_shot: bool
    eval_loss: bool
    keep_encodings_gb: NonNegativeFloat


#: Keys of the ``trainer`` group that only training uses.
TRAINING_KEYS = (
    "train_batch_size",
    "max_batch_sec",
    "max_steps",
    "num_train_epochs",
    "gradient_accumulation_steps",
    "logging_steps",
    "activation_checkpointing",
    "torch_compile",
    "zero_shot",
    "eval_loss",
    "keep_encodings_gb",
)


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between keys of a run that scores a model, trained or not; one line each."""
    trainer, processes = config["trainer"], config["trainer"]["num_processes"] or 1
    if config["overwrite"] and config["resume"] != "never":
        yield "overwrite=true: deletes a run only with resume=never; expected: resume=never as well"
    if processes % trainer["num_nodes"]:
        yield f"trainer.num_processes={processes}: should be a multiple of trainer.num_nodes={trainer['num_nodes']}"
    if trainer["bf16"] and trainer["fp16"]:
        yield "trainer.fp16=true: can't be combined with trainer.bf16=true; choose one"
    elif trainer["fp16"] and trainer["use_cpu"]:
        yield "trainer.fp16=true: not on a CPU; expected: trainer.bf16=true, or trainer=gpu trainer.bf16=false"
    writes = "en" if config["model"].get("task") == "translate" else config["model"].get("language")
    yield from Cleaning(config["data"].get("clean", "none")).mistakes(writes)
    # A split field may name a set 'test'.
    tests = (name for name, path in (config["data"].get("tests") or {}).items() if path is not None)
    sets = dict.fromkeys(["validation", "test", *tests])
    if config.get("on") not in (None, *sets):
        yield f"on={config['on']}: no such set; expected: {', '.join(sets)}"
