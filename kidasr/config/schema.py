"""Schemas of the config groups that are not classes: keys, types and ranges. The values are in ``conf/``."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, Field(min_length=1, strict=False, coerce_numbers_to_str=True)]
MelBins = Annotated[int, Field(ge=0, le=128)]
MinusOneOrMore = Annotated[int, Field(ge=-1)]


def span(lowest: float, highest: float) -> AfterValidator:
    """The annotation of a range to draw from: ``Annotated[list[float], span(0, 60)]`` is two numbers, the lower first."""

    def check(value: list[float]) -> list[float]:
        if len(value) != 2 or not lowest <= value[0] <= value[1] <= highest:
            raise PydanticCustomError("span", f"should be [LOWEST, HIGHEST], from {lowest:g} to {highest:g}")
        return value

    return AfterValidator(check)


class Group(BaseModel):
    """A config group: no unknown keys, no silent type conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Part(Group):
    """A config group that ``hydra.utils.instantiate`` turns into an object."""

    target: Text = Field(alias="_target_")


class Identity(Group):
    """What makes two runs the same experiment."""

    ignored_keys: list[Text]
    measured_keys: list[Text]


class Ablation(Group):
    """When an ablation adds seeds."""

    until: Text | None
    max_runs: PositiveInt | None
    max_hours: PositiveFloat | None
    looks: PositiveInt


class Settings(Group):
    """Keys that belong to no particular job."""

    job: dict[str, Any]
    resume: Literal["auto", "latest", "never"]
    overwrite: bool
    identity: Identity
    step_scale: PositiveFloat | Literal["auto"] = 1.0
    # Used by ablations.
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    ablated: list[Text] | None = None
    factors: dict[Text, Annotated[list[Any], Field(min_length=2)]] | None = None
    ablation: Ablation | None = None
    baseline: Text | list[Text] | None = None
    on: Text | None = None


class OfHydra(Part):
    """A node of Hydra's own; unknown keys are passed on to Hydra."""

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


class AblationSweeper(OfHydra):
    design: Text
    max_batch_size: PositiveInt | None
    params: dict[Text, Any] | None


#: Schemas of the choices of ``hydra/launcher`` and ``hydra/sweeper``, by node and by the class name in ``_target_``.
PLUGIN_SCHEMAS: dict[str, dict[str, type[OfHydra]]] = {
    "hydra.launcher": {"LocalLauncher": SubmititLauncher, "SlurmLauncher": SlurmLauncher},
    "hydra.sweeper": {"OptunaSweeper": OptunaSweeper, "AblationSweeper": AblationSweeper},
}
