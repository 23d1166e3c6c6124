"""The keys of the groups ``optim``, ``schedule`` and ``trainer``. Most are passed on to transformers' Trainer unchanged.

Each key is documented beside its value in ``conf/``.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from kidasr.config.schema import Group, MinusOneOrMore


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
    zero_shot: bool
    eval_loss: bool
    keep_encodings_gb: NonNegativeFloat
