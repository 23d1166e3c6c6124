"""The shape of a run config: which keys there are, of which type and in which range. The values are in ``conf/``.

A field's description says what is expected where the type alone does not.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(min_length=1, strict=False, coerce_numbers_to_str=True)]
MelBins = Annotated[int, Field(ge=0, le=128)]
MinusOneOrMore = Annotated[int, Field(ge=-1)]


class Group(BaseModel):
    """A config group: no unknown key, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Part(Group):
    """A config group that ``hydra.utils.instantiate`` turns into an object."""

    target: Text = Field(alias="_target_")


class Fields(Group):
    """Names of kidasr's fields in the user's manifests."""

    audio_path: Text
    text: Text
    speaker_id: Text
    utterance_id: Text
    age: Text
    age_bucket: Text
    duration_sec: Text
    gender: Text
    split: Text


class Data(Part):
    train: Text
    validation: Text | None
    test: Text | None
    limit_train: PositiveInt | None
    limit_validation: PositiveInt | None
    limit_test: PositiveInt | None
    full_validation_at_end: bool
    split_seed: Seed
    text_case: Literal["auto", "as_is", "lower"]
    validation_fraction: OpenFraction
    on_bad_audio: Literal["error", "skip"]
    max_bad_fraction: Fraction
    decode_check_sec: NonNegativeFloat | None
    cache_sec: NonNegativeFloat
    age_buckets: Annotated[list[Text], Field(min_length=1)]
    fields: Fields


class Model(Part):
    name_or_path: Text
    language: Text
    task: Literal["transcribe", "translate"]


class Padding(Part):
    padding: Literal["max_length", "longest"]
    trailing_silence_sec: NonNegativeFloat
    mask: bool
    group_by_length: bool
    max_new_tokens_per_sec: PositiveFloat


class Curriculum(Part):
    order: Literal["random", "youngest_first", "oldest_first"]


class Augment(Part):
    freq_mask_param: MelBins
    time_mask_param: NonNegativeInt
    num_freq_masks: NonNegativeInt
    num_time_masks: NonNegativeInt
    max_time_mask_fraction: Fraction


class Freeze(Part):
    freeze_encoder_steps: MinusOneOrMore


class Optim(Group):
    optim: Literal["adamw_torch", "adamw_torch_fused", "adafactor", "sgd"]
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    weight_decay: NonNegativeFloat
    max_grad_norm: NonNegativeFloat


class Schedule(Group):
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ]
    warmup_steps: NonNegativeInt


class EarlyStopping(Part):
    patience: NonNegativeInt
    threshold: NonNegativeFloat


class Checkpoint(Part):
    eval_steps: PositiveInt
    save_steps: PositiveInt
    save_total_limit: PositiveInt


class Trainer(Group):
    num_processes: PositiveInt | None
    num_nodes: PositiveInt
    train_batch_size: PositiveInt
    max_batch_sec: PositiveFloat | None
    max_steps: MinusOneOrMore
    num_train_epochs: PositiveFloat
    per_device_eval_batch_size: PositiveInt
    gradient_accumulation_steps: PositiveInt
    dataloader_num_workers: NonNegativeInt
    num_threads: PositiveInt | None
    logging_steps: PositiveInt
    activation_checkpointing: bool
    bf16: bool
    fp16: bool
    tf32: bool | None
    torch_compile: bool
    generation_max_length: Annotated[int, Field(ge=5)] | None  # Whisper's prefix has up to four tokens
    generation_num_beams: PositiveInt
    zero_shot: bool


class NoLogger(Group):
    target: Literal["kidasr.report.loggers.NoLogger"] = Field(alias="_target_")


class WandbLogger(Group):
    target: Literal["kidasr.report.loggers.WandbLogger"] = Field(alias="_target_")
    project: Text
    name: Text | None
    group: Text | None
    tags: list[Text]
    max_predictions: PositiveInt


class TensorBoardLogger(Group):
    target: Literal["kidasr.report.loggers.TensorBoardLogger"] = Field(alias="_target_")
    logging_dir: Text


class Report(Part):
    html: bool
    replicates: PositiveInt
    max_utterances: PositiveInt
    embed_audio_mb: NonNegativeFloat


class Job(Part):
    """The other groups' values are its arguments."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=())


class Identity(Group):
    """What makes two runs the same experiment."""

    ignored_keys: list[Text]


class RunConfig(Group):
    """The whole config of one training run."""

    job: Job
    data: Data
    model: Model
    padding: Padding
    curriculum: Curriculum
    augment: Augment
    freeze: Freeze
    optim: Optim
    schedule: Schedule
    early_stopping: EarlyStopping
    checkpoint: Checkpoint
    trainer: Trainer
    logger: Annotated[NoLogger | WandbLogger | TensorBoardLogger, Field(discriminator="target")]
    report: Report
    seed: Seed
    step_scale: PositiveFloat
    resume: Literal["auto", "latest", "never"]
    overwrite: bool
    identity: Identity
    # Of an ablation, and of job=compare.
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    baseline: Text | list[Text] | None = None
    runs: Text | list[Text] | None = None
    # Of job=status.
    sweep: Text | None = None


class OfHydra(Part):
    """A part of Hydra's own; keys that kidasr does not know go on to it."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, protected_namespaces=())


class SubmititLauncher(OfHydra):
    wait: bool
    requeue: bool
    timeout_min: PositiveInt
    max_num_timeout: NonNegativeInt
    gpus_per_node: PositiveInt | None
    name: Text
    submitit_folder: Text
    stderr_to_stdout: bool


class SlurmLauncher(SubmititLauncher):
    partition: Word | None
    account: Word | None
    qos: Word | None
    constraint: Word | None
    exclude: Text | None
    cpus_per_task: PositiveInt | None
    mem_gb: PositiveFloat | None
    gres: Text | None
    mem_per_gpu: Word | None
    mem_per_cpu: Word | None
    gpus_per_task: PositiveInt | None
    cpus_per_gpu: PositiveInt | None
    signal_delay_s: PositiveInt
    array_parallelism: PositiveInt
    poll_sec: PositiveFloat
    comment: Text | None
    setup: list[Text] | None
    additional_parameters: dict[Text, Any]


class OptunaSweeper(OfHydra):
    n_trials: PositiveInt
    n_jobs: PositiveInt
    direction: Literal["minimize", "maximize"]
    study_name: Text
    storage: Text
    max_failure_rate: Fraction
    sampler: dict[Text, Any]
    params: dict[Text, Any]


#: What ``hydra/launcher`` and ``hydra/sweeper`` choose, by the end of its ``_target_``; all keys of the place they have.
PLUGIN_SCHEMAS: dict[str, dict[str, type[OfHydra]]] = {
    "hydra.launcher": {"LocalLauncher": SubmititLauncher, "SlurmLauncher": SlurmLauncher},
    "hydra.sweeper": {"OptunaSweeper": OptunaSweeper},
}
