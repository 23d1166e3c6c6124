"""The training job: from manifests to a fine-tuned model and its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kidasr.batching.curriculum import Curriculum
from kidasr.config.job import Job
from kidasr.config.schema import Seed
from kidasr.corpus.corpus import Corpus
from kidasr.features.augment import FeatureAugmentation, WaveformAugmentation
from kidasr.features.padding import Padding
from kidasr.model.freeze import Freeze
from kidasr.model.pretrained import Pretrained
from kidasr.report.loggers import NoLogger
from kidasr.report.options import ReportOptions
from kidasr.runs.files import METRICS
from kidasr.runs.folder import finished_wer
from kidasr.training.checkpoint import Checkpoint
from kidasr.training.objective import Adapter, Objective
from kidasr.training.run_length import run_length_contradictions
from kidasr.training.settings import Optim, Schedule, Trainer

if TYPE_CHECKING:
    from transformers import EarlyStoppingCallback


class Train(Job):
    """Fine-tune Whisper, and say what it brought: WER before (zero-shot) and after, overall and by age.

    What each part does, and where it is switched:

    - which utterances, whose, in which set: ``data``; in which order they are seen (H5): ``curriculum``
    - how long the model's input is, window or utterance: ``padding``
    - SpecAugment on the training set (H4): ``augment``
    - a frozen encoder at first (H3): ``freeze``
    - learning rate (H2), optimizer, stopping early (H2): ``schedule``, ``optim``, ``early_stopping``
    - evaluations, checkpoints, and which model is kept (H1): ``checkpoint``
    - lengths, batches, precision: ``trainer``; where it is logged: ``logger``; what is reported: ``report``

    A run folder with checkpoints is continued from the newest whole one; a run that is stopped by a signal saves one first.

    Raises:
        KidasrError: For a manifest, recording, text or checkpoint that can't be used; for a run too short for its schedule;
            if the loss becomes NaN, memory does not suffice, or the disk is full.
        Stopped: After SIGTERM, SIGINT or SIGUSR2.
    """

    is_compared = True

    def __init__(
        self,
        run_dir: str,
        seed: Seed,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        curriculum: Curriculum,
        augment: Mapping[str, WaveformAugmentation | FeatureAugmentation],
        freeze: Freeze,
        adapter: Adapter | None,
        objective: Objective | None,
        optim: Optim,
        schedule: Schedule,
        early_stopping: EarlyStoppingCallback | None,
        checkpoint: Checkpoint,
        trainer: Trainer,
        logger: NoLogger,
        report: ReportOptions,
    ):
        self.arguments: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """What contradicts what."""
        checkpoint, trainer = config["checkpoint"], config["trainer"]
        eval_steps, save_steps = checkpoint["eval_steps"], checkpoint["save_steps"]
        processes = trainer["num_processes"] or 1
        if save_steps % eval_steps:
            yield (
                f"checkpoint.save_steps={save_steps}: should be a multiple of checkpoint.eval_steps={eval_steps}, or the "
                "best checkpoint can't be known"
            )
        if config["overwrite"] and config["resume"] != "never":
            yield "overwrite=true: a run is only begun anew, and what it left deleted, with resume=never"
        if trainer["max_steps"] == 0:
            yield "trainer.max_steps=0: should be 1 or more, or -1 to train for trainer.num_train_epochs"
        if processes % trainer["num_nodes"]:
            yield (
                f"trainer.num_processes={processes}: no multiple of trainer.num_nodes={trainer['num_nodes']}; expected: a "
                "multiple of it"
            )
        if processes > trainer["train_batch_size"]:
            yield (
                f"trainer.num_processes={processes}: more than the utterances in a batch; expected: at most "
                f"trainer.train_batch_size={trainer['train_batch_size']}"
            )
        if trainer["bf16"] and trainer["fp16"]:
            yield "trainer.fp16=true: can't go with trainer.bf16=true; choose one"
        elif trainer["fp16"] and trainer["use_cpu"]:
            yield "trainer.fp16=true: not on a CPU; expected: trainer.bf16=true, or trainer=gpu trainer.bf16=false"
        for name, one in config["augment"].items():
            if not isinstance(one, Mapping) or "_target_" not in one:
                yield f"augment.{name}: no augmentation; expected: one of conf/augment, as augment=[specaugment]"
        if trainer["max_steps"] > 0:
            patience, warmup_steps = config["early_stopping"].get("patience", 0), config["schedule"]["warmup_steps"]
            yield from run_length_contradictions(trainer["max_steps"], warmup_steps, patience, eval_steps)

    @staticmethod
    def warnings(config: Mapping[str, Any]) -> Iterator[str]:
        """What checkpoints lose that miss evaluations."""
        eval_steps, save_steps = config["checkpoint"]["eval_steps"], config["checkpoint"]["save_steps"]
        if save_steps != eval_steps:
            missed = save_steps // eval_steps - 1
            yield (
                f"checkpoint: evaluated every {eval_steps} steps but saved every {save_steps}: {missed} of {missed + 1} "
                "evaluations have no checkpoint. If the lowest WER falls on one of them, that model is lost, and a saved "
                "one with a higher WER, or the last, is used instead (checkpoint=aligned loses none)"
            )

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """The metrics are written last."""
        return (folder / METRICS).is_file()

    @staticmethod
    def result(folder: Path) -> float | None:
        """Validation WER, as a fraction."""
        return finished_wer(folder)

    def run(self) -> float:
        """Train, evaluate, report; returns the validation WER of the model that is kept, as a fraction."""
        from kidasr.training.fine_tune import FineTune

        return FineTune(**self.arguments).run()
