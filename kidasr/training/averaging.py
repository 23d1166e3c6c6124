"""The running mean of the weights during training, and the weights that a run keeps."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kidasr.model.pretrained import Pretrained
from kidasr.recognition.score import Prediction
from kidasr.training.average import Average

if TYPE_CHECKING:
    from kidasr.training.resume import ExactResumeTrainer

log = logging.getLogger(__name__)

#: Checkpoint file with the running mean. A checkpoint from before the first averaged step has none.
AVERAGE = "average.safetensors"


class WeightAverage(TrainerCallback):
    """Keeps a running mean of the trained weights, in memory and in each checkpoint.

    The mean is updated by linear interpolation, so a weight that never changes is its own mean to the last bit.

    Args:
        average: Says which steps count, and how much.
    """

    def __init__(self, average: Average):
        self.average = average
        #: By parameter name; empty before the first step that counts.
        self.mean: dict[str, torch.Tensor] = {}
        #: The steps averaged.
        self.steps: list[int] = []

    @property
    def is_running(self) -> bool:
        """Whether checkpoints have a mean, as large as the trained weights."""
        return type(self.average).weight is not Average.weight

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        **_: Any,
    ) -> None:
        weight = self.average.weight(state.global_step, state.max_steps)
        if weight:
            assert model is not None and optimizer is not None, "exist during training"
            trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            add_to_mean(self.mean, {name: one for name, one in model.named_parameters() if id(one) in trained}, weight)
            self.steps.append(state.global_step)

    def save(self, folder: Path) -> None:
        """Write the mean into a checkpoint that is being written."""
        if self.mean:
            save_file(self.mean, folder / AVERAGE, metadata={"steps": json.dumps(self.steps)})

    def load(self, checkpoint: Path, device: torch.device) -> None:
        """Continue the mean of a checkpoint."""
        if (checkpoint / AVERAGE).exists():
            with safe_open(checkpoint / AVERAGE, framework="pt") as file:
                self.mean = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118  no mapping
                self.steps = json.loads(file.metadata()["steps"])


@torch.no_grad()
def add_to_mean(mean: dict[str, torch.Tensor], weights: Mapping[str, torch.Tensor], share: float) -> None:
    """Update a mean in place: ``(1 - share) * mean + share * weights``.

    Args:
        mean: By parameter name; may be empty if ``share`` is 1.
        weights: The new weights, by parameter name.
        share: Their share.
    """
    for name, weight in weights.items():
        if share == 1:
            mean[name] = weight.detach().clone()
        else:
            mean[name].lerp_(weight.detach(), share)


@torch.no_grad()
def put_into(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Overwrite a model's parameters, by name.

    Raises:
        KeyError: If the model has no such parameter.
    """
    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


@torch.no_grad()
def go_back(model: torch.nn.Module, pretrained: Pretrained, share: float) -> None:
    """Move a model's weights part of the way to the pretrained ones, which are read again.

    Args:
        model: The model.
        pretrained: Where its training began.
        share: The share of the way.
    """
    before = dict(pretrained.load().model.named_parameters())
    for name, parameter in model.named_parameters():
        parameter.lerp_(before[name].to(parameter.device), share)


@dataclass(frozen=True)
class Kept:
    """The weights that a run keeps."""

    #: The step they are of; None for an average.
    step: int | None
    #: The newest step that they depend on.
    last_step: int
    #: In words, for the log and the report.
    what: str


def keep(trainer: ExactResumeTrainer, average: Average, pretrained: Pretrained, best_step: int) -> Kept:
    """Put the weights that a run keeps into its model, after training.

    Args:
        trainer: The trainer; its model has the best checkpoint's weights.
        average: What to keep.
        pretrained: The model before training.
        best_step: The step of the best checkpoint.
    """
    what = f"step {best_step}"
    if average.checkpoints:
        trainer.average_best_checkpoints()
    mean = trainer.average
    if mean.mean:
        put_into(trainer.model, mean.mean)
        what = f"mean of {some_steps(mean.steps)}"
    elif type(average) is not Average:
        log.warning(
            "average: the run ended at step %d, before the first step that counts; keeping the best checkpoint instead "
            "(average=ema suits runs that may stop early)",
            trainer.state.global_step,
        )
    if average.pretrained:
        go_back(trainer.model, pretrained, average.pretrained)
        what += f", {100 * average.pretrained:g}% of the way back to the pretrained weights"
    is_average = bool(mean.mean or average.pretrained)
    return Kept(None if is_average else best_step, trainer.state.global_step if is_average else best_step, what)


def some_steps(steps: Sequence[int]) -> str:
    """Steps in words: ``20 steps from 105 to 200``, or ``steps 60, 80, 90``."""
    if len(steps) > 4:
        return f"{len(steps)} steps from {min(steps)} to {max(steps)}"
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, sorted(steps)))}"


@dataclass(frozen=True)
class Evaluated:
    """An evaluation during training."""

    step: int
    wer: float
    #: The errors in each utterance.
    errors: Sequence[int]


def gain(kept: Kept, predictions: Sequence[Prediction], last: Evaluated | None, rate: str) -> dict[str, Any] | None:
    """What an average changed, against the weights of the last evaluation and on its utterances; also logged.

    Args:
        kept: The average.
        predictions: Its transcripts of the utterances of evaluations, in their order.
        last: The last evaluation; None if there was none.
        rate: Name of the error rate.

    Returns:
        None if there is nothing to compare.
    """
    if last is None:
        log.info("keeping the %s", kept.what)
        return None
    from kidasr.evidence.before_after import change_of  # scipy, which training has no use for

    change, words = change_of(last.errors, predictions), sum(one.words for one in predictions)
    if change is None:
        return None
    wer = sum(one.errors for one in predictions) / words
    ends = " to ".join(f"{100 * end:+.1f}" for end in change["ci95"] or ())
    told = log.warning if change["verdict"] == "worse" else log.info
    told(
        "keeping the %s: %s %.1f%% on the %d utterances of evaluations, %.1f%% at step %d (change %+.1f points%s)",
        kept.what,
        rate,
        100 * wer,
        len(predictions),
        100 * last.wer,
        last.step,
        100 * change["delta_wer"],
        f"; for other speakers {ends}" if ends else "",
    )
    return {"wer": wer, "last_wer": last.wer, "last_step": last.step, "change": change}
