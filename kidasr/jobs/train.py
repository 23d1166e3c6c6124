"""The training job: from manifests to a fine-tuned model and its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kidasr.batching.curriculum import Curriculum
from kidasr.config.schema import Seed
from kidasr.config.signature import load_target
from kidasr.corpus.corpus import Corpus
from kidasr.features.augment import Augmentation
from kidasr.features.padding import Padding
from kidasr.model.freeze import Freeze
from kidasr.model.pretrained import Pretrained
from kidasr.report.loggers import NoLogger
from kidasr.report.options import ReportOptions
from kidasr.runs.job import RunJob
from kidasr.training.average import Average
from kidasr.training.checkpoint import Checkpoint
from kidasr.training.objective import Adapter, Objective
from kidasr.training.run_length import run_length_contradictions
from kidasr.training.settings import Optim, Schedule, Trainer, contradictions

if TYPE_CHECKING:
    from transformers import EarlyStoppingCallback


class Train(RunJob):
    """Fine-tune Whisper and report WER before (zero-shot) and after training, overall and by age.

    Features and the config groups that control them:

    - utterances, speakers and sets: ``data``; order of the utterances (H5): ``curriculum``
    - input length, full window or utterance: ``padding``
    - SpecAugment (H4) and other augmentations of the training set: ``augment``
    - frozen-encoder warm-up (H3), or a frozen decoder: ``freeze``; few trained parameters: ``adapter``
    - learning rate (H2), optimizer, early stopping (H2): ``schedule``, ``optim``, ``early_stopping``
    - evaluations, checkpoints, and the choice of the best model (H1): ``checkpoint``; or an average of weights: ``average``
    - run length, batches, precision: ``trainer``; logging: ``logger``; reports: ``report``

    Resumes from the newest intact checkpoint in the run folder. A run that is stopped by a signal saves a checkpoint first.

    Raises:
        KidasrError: If a manifest, recording, text or checkpoint can't be used; if the run is too short for its schedule;
            if the loss becomes NaN, memory runs out, or the disk is full.
        Stopped: After SIGTERM, SIGINT or SIGUSR2.
    """

    reads = ("data", "model")

    def __init__(
        self,
        run_dir: str,
        seed: Seed,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        curriculum: Curriculum,
        augment: Mapping[str, Augmentation],
        freeze: Freeze,
        adapter: Adapter | None,
        objective: Objective | None,
        optim: Optim,
        schedule: Schedule,
        early_stopping: EarlyStoppingCallback | None,
        checkpoint: Checkpoint,
        average: Average,
        trainer: Trainer,
        logger: NoLogger,
        report: ReportOptions,
    ):
        self.arguments: dict[str, Any] = {name: value for name, value in locals().items() if name != "self"}

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """Contradictions between keys."""
        yield from Corpus.needs_train(config)
        yield from contradictions(config)
        checkpoint, trainer = config["checkpoint"], config["trainer"]
        eval_steps, save_steps = checkpoint["eval_steps"], checkpoint["save_steps"]
        processes = trainer["num_processes"] or 1
        if save_steps % eval_steps:
            yield (
                f"checkpoint.save_steps={save_steps}: should be a multiple of checkpoint.eval_steps={eval_steps}, so that "
                "every checkpoint has an evaluation"
            )
        if trainer["max_steps"] == 0:
            yield "trainer.max_steps=0: should be 1 or more, or -1 to train for trainer.num_train_epochs"
        if processes > trainer["train_batch_size"]:
            yield (
                f"trainer.num_processes={processes}: more than the utterances in a batch; expected: at most "
                f"trainer.train_batch_size={trainer['train_batch_size']}"
            )
        if config["optim"]["optim"] == "adamw_8bit" and trainer["use_cpu"]:
            yield "optim=adamw_8bit: runs on NVIDIA GPUs only; expected: trainer=gpu, or optim=adamw"
        for name, one in config["augment"].items():
            if not isinstance(one, Mapping) or "_target_" not in one:
                yield f"augment.{name}: not an augmentation; expected: a choice of conf/augment, e.g. augment=[specaugment]"
        for group in ("curriculum", "objective", "average", "adapter"):
            look = getattr(load_target(config[group]["_target_"]), "contradictions", None)
            yield from look(config) if look else ()
        if trainer["max_steps"] > 0:
            patience, warmup_steps = config["early_stopping"].get("patience", 0), config["schedule"]["warmup_steps"]
            yield from run_length_contradictions(trainer["max_steps"], warmup_steps, patience, eval_steps)

    @staticmethod
    def warnings(config: Mapping[str, Any]) -> Iterator[str]:
        """What may be lost if some evaluations have no checkpoint."""
        eval_steps, save_steps = config["checkpoint"]["eval_steps"], config["checkpoint"]["save_steps"]
        if save_steps != eval_steps:
            missed = save_steps // eval_steps - 1
            yield (
                f"checkpoint: evaluates every {eval_steps} steps but saves every {save_steps}: {missed} of {missed + 1} "
                "evaluations have no checkpoint. If one of them has the lowest WER, that model is lost, and a saved one "
                "with a higher WER, or the last one, is used instead (checkpoint=aligned avoids this)"
            )

    def run(self) -> float:
        """Train, evaluate and report. Returns the validation WER of the kept model, as a fraction."""
        from kidasr.training.fine_tune import FineTune

        return FineTune(**self.arguments).run()
