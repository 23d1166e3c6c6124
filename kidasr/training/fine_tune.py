"""The training job: from manifests to a fine-tuned model and its scores."""

import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, TrainingArguments

from kidasr.batching.batches import EpochBatches
from kidasr.batching.curriculum import Curriculum
from kidasr.batching.training_set import TrainingSet, Values
from kidasr.corpus.corpus import Corpus
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.sets import Sets
from kidasr.durable import explain_io_errors, folder_written
from kidasr.errors import KidasrError
from kidasr.features.augment import Augmentation, Augmentations
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import Recogniser
from kidasr.model.age_groups import NO_GROUP
from kidasr.model.as_trained import describe_training
from kidasr.model.freeze import Freeze
from kidasr.model.pretrained import Pretrained
from kidasr.model.short_input import drops_layers
from kidasr.model.unfreeze import check_trains
from kidasr.processes import number_of_processes
from kidasr.recognition.doubts import doubts_after, is_worse
from kidasr.recognition.predictions import in_order_of
from kidasr.recognition.score import Prediction
from kidasr.recognition.transcribe import shortest_first
from kidasr.report.ages_drawn import ages_drawn
from kidasr.report.loggers import NoLogger
from kidasr.report.options import ReportOptions
from kidasr.report.tables import result_table, sets_table
from kidasr.runs.files import CHECKPOINTS, CONFIG, EVALUATIONS, MODEL, predictions_of, read_json, write_json
from kidasr.seeding import seed_for
from kidasr.training.average import Average
from kidasr.training.averaging import Evaluated, Kept, gain, keep
from kidasr.training.checkpoint import ERRORS, Checkpoint
from kidasr.training.device import check_optimizer, half_precision
from kidasr.training.full_window import as_other_input, sample_of, sample_size, score_full_window
from kidasr.training.objective import Adapter, AgeAdapter, Objective, SmallAdapter
from kidasr.training.own_weights import OwnWeights
from kidasr.training.pretrained_losses import PretrainedLosses
from kidasr.training.run_length import check_run_length, train_longer
from kidasr.training.scored_run import ScoredRun, of_set
from kidasr.training.stopping import StopSignals
from kidasr.training.trainer import ChildSpeechTrainer
from kidasr.training.zero_shot import ZeroShot, ZeroShotScores, what_scores_depend_on

log = logging.getLogger(__name__)

#: Log entries in the learning curve, besides WER overall and by age.
LEARNING = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_cer")

#: Keys of the ``trainer`` group that are kidasr's own, as are those named ``generation_...``; the others go to the Trainer.
OWN_KEYS = (
    "num_processes",
    "num_nodes",
    "train_batch_size",
    "max_batch_sec",
    "dataloader_prefetch_factor",
    "num_threads",
    "zero_shot",
    "eval_loss",
    "keep_encodings_gb",
)


class FineTune(ScoredRun):
    """The work of :class:`kidasr.jobs.train.Train`, which has the same arguments.

    Args:
        run_dir: The run folder.
        seed ... report: See there.
    """

    def __init__(
        self,
        run_dir: str,
        seed: int,
        data: Corpus,
        model: Pretrained,
        padding: Padding,
        curriculum: Curriculum,
        augment: Mapping[str, Augmentation],
        freeze: Freeze,
        adapter: Adapter | None,
        objective: Objective | None,
        optim: Mapping[str, Any],
        schedule: Mapping[str, Any],
        early_stopping: EarlyStoppingCallback | None,
        checkpoint: Checkpoint,
        average: Average,
        trainer: Mapping[str, Any],
        logger: NoLogger,
        report: ReportOptions,
    ):
        super().__init__(run_dir, seed, data, model, padding, trainer, report)
        self.curriculum, self.augment, self.freeze = curriculum, Augmentations(augment), freeze
        self.adapter, self.objective = adapter, objective
        self.optim, self.schedule = optim, schedule
        self.trainer = {**trainer, "dataloader_num_workers": self._workers(trainer["dataloader_num_workers"])}
        self.early_stopping, self.checkpoint, self.average, self.logger = early_stopping, checkpoint, average, logger

    def _run(self, signals: StopSignals) -> float:
        check_optimizer(self.optim["optim"])
        arguments = self._start()
        sets, recogniser, skipped = self._load(arguments)
        if drops_layers(recogniser.model):
            arguments.ddp_find_unused_parameters = True
        self._describe(sets)
        texts = self._check_utterances(sets, recogniser)
        if isinstance(self.adapter, AgeAdapter):
            self._age_groups = self.adapter.choose_groups(sets.train, self.data.buckets)
        losses = None
        if self.curriculum.needs_losses:
            depends_on, precision = self._scores_depend_on(arguments), half_precision(arguments)
            find = PretrainedLosses(self.run_dir, self._sweep_dir, depends_on, arguments, precision, signals)
            losses = find(sets.train, recogniser, self.padding, sets.lower_case)
        batches = self._batches(arguments, sets.train, recogniser.window_sec, losses)
        patience = self.early_stopping.early_stopping_patience if self.early_stopping else 0
        check_run_length(arguments, batches, patience, self.freeze)
        config = read_json(self.run_dir / CONFIG)

        # Only the first process writes.
        logger = self.logger if arguments.should_save else NoLogger()
        if arguments.should_save:
            self._record_environment(arguments)
        callbacks = logger.start(self.run_dir, config)
        failed = True
        try:
            if self.objective is not None:
                self.objective.begin(recogniser.model)
            if self.adapter is not None:
                self._wrap(recogniser.model)
            trainer = self._trainer(arguments, recogniser, sets, batches, callbacks, signals)
            self._check_references(trainer.scoring, sets)
            before = self._zero_shot(trainer, sets)
            kept = self._kept_weights(trainer)
            heard = [] if kept.step is None else trainer.evaluated(kept.step)  # with these weights
            known = {one.utterance_id for one in heard}
            rest = [one for one in sets.validation if one.utterance_id not in known]
            if rest:
                heard += trainer.transcribe(self._dataset(sets, shortest_first(rest), recogniser, self.padding))
            predictions = in_order_of(sets.validation, heard)
            folder = trainer.checkpoints.planned(kept.last_step)
            transcripts = {"validation": predictions}
            for name in sets.tests:
                # Beside the weights that they depend on; hidden, because it is not one of the checkpoint's own files.
                path = folder / f".{predictions_of(name)}"
                transcripts[name] = self._kept_transcripts(trainer, sets, name, path, "kept model")
            tests = {name: self._before_and_after(heard, before.get(name)) for name, heard in transcripts.items()}
            of_validation = tests.pop("validation")
            metrics: dict[str, Any] = {
                "rate": trainer.scoring.rate,
                **of_validation,
                "tests": tests,
                "evaluated_utterances": len(sets.evaluation),
                "best_step": kept.step,
                "kept": kept.what,
                "average": self._gain(trainer, kept, predictions) if kept.step is None else None,
                "steps": trainer.state.global_step,
                "frozen_steps": self.freeze.frozen_encoder_steps(trainer.state.global_step),
                "history": learning_history(trainer.state.log_history),
                "full_window": self._full_window(trainer, sets, predictions),
                **self._about(sets, skipped, texts),
            }
            if isinstance(self.adapter, AgeAdapter):
                metrics["scored_with"] = self.adapter.scored_with
            if self.padding.is_short and is_worse(metrics["zero_shot"], metrics["final"]):
                metrics["other_input"] = (
                    as_other_input(metrics["full_window"])
                    if metrics["full_window"]
                    else self._on_other_input(trainer, sets, predictions, FULL_WINDOW)
                )
            metrics["doubts"] = list(self._doubts(metrics))
            if "test" in tests:
                metrics["test"] = tests["test"]["final"]  # its place when there could be only one
            if arguments.should_save:
                size = sum(parameter.nbytes for parameter in recogniser.model.parameters())
                with explain_io_errors(self.run_dir, "the results", size, "all checkpoints are kept"):
                    self._write(trainer, metrics, transcripts)
                if not self.checkpoint.keep_when_finished:
                    shutil.rmtree(self.run_dir / CHECKPOINTS, ignore_errors=True)
            logger.log_result(metrics, predictions)
            failed = False
        finally:
            logger.close(failed)

        self._log_result(metrics)
        final_wer: float | None = metrics["final"]["wer"]
        assert final_wer is not None, "the same words as before training"
        return final_wer

    def _log_result(self, metrics: Mapping[str, Any]) -> None:
        from kidasr.report.verdict import about_undecided_sets, about_worse_sets

        final, rate, tests = metrics["final"], metrics["rate"], metrics["tests"]
        self._warn_of_empty(metrics)
        table = result_table(metrics["zero_shot"], final, rate)
        if "scored_with" in metrics:
            log.info(metrics["scored_with"])
        log.info("\nvalidation set, zero-shot (before) and fine-tuned (after):\n%s", table.text())
        if tests:
            log.info(
                "\nall sets, before and after; the interval of a change is for other speakers:\n%s",
                sets_table(metrics).text(),
            )
        for doubt in metrics["doubts"]:
            log.warning("%s", doubt)
        for line in about_undecided_sets(metrics):
            log.info(line)
        if worse := about_worse_sets(metrics):
            log.warning(worse)
        log.info("run folder: %s", self.run_dir)

    def _doubts(self, metrics: Mapping[str, Any]) -> Iterator[str]:
        """Warnings about the scores, with causes and what to type."""
        rate, is_short = metrics["rate"], self.padding.is_short
        other, learning_rate = metrics.get("other_input"), self.optim["learning_rate"]
        steps, keys = metrics["steps"], self.trainer
        longer = train_longer(steps, keys["max_steps"], keys["num_train_epochs"], learning_rate) if steps else ""
        yield from doubts_after(metrics["zero_shot"], metrics["final"], rate, is_short, other, longer)
        for name, one in metrics["tests"].items():
            for doubt in doubts_after(None, one["final"], rate, is_short):
                yield f"{of_set(name)}{doubt}"

    def _kept_weights(self, trainer: ChildSpeechTrainer) -> Kept:
        """Train, and put the weights that the run keeps into the model."""
        trainer.train_from(trainer.first_process(trainer.checkpoints.newest() if trainer.args.should_save else None))
        self._report_early_stop(trainer)
        if not self.average.is_on:
            self.checkpoint.report_kept(trainer.state, trainer.scoring.rate)
            evaluated = trainer.evaluated_last[1] or trainer.evaluated(self.checkpoint.kept_step(trainer.state))
            self.checkpoint.report_runaways(trainer.state, [one.words for one in evaluated], trainer.scoring.rate)
        return keep(trainer, self.average, self.model, self.checkpoint.kept_step(trainer.state))

    def _gain(self, trainer: ChildSpeechTrainer, kept: Kept, predictions: Sequence[Prediction]) -> dict[str, Any] | None:
        """See :func:`kidasr.training.averaging.gain`."""
        evaluations: list[dict[str, Any]] = [entry for entry in trainer.state.log_history if ERRORS in entry]
        last = [Evaluated(one["step"], one["eval_wer"], one[ERRORS]) for one in evaluations[-1:]]
        of_evaluation = in_order_of(trainer.evaluation.utterances, predictions)
        return gain(kept, of_evaluation, last[0] if last else None, trainer.scoring.rate)

    def _full_window(self, trainer: ChildSpeechTrainer, sets: Sets, heard: Sequence[Prediction]) -> dict[str, Any] | None:
        """What padding costs the kept model (:mod:`kidasr.training.full_window`); None for one that is trained with it."""
        if not self.padding.is_short:
            return None
        step_utterances = self.trainer["train_batch_size"] * trainer.args.gradient_accumulation_steps
        size = sample_size(self.report.card.full_window_utterances, trainer.state.global_step * step_utterances)
        sample = shortest_first(sample_of(sets.validation, size))
        return score_full_window(trainer, sample, lambda some: self._dataset(sets, some, trainer.recogniser), heard)

    def _report_early_stop(self, trainer: ChildSpeechTrainer) -> None:
        """Log that early stopping (H2) has ended the run, if it has."""
        state, stopping = trainer.state, self.early_stopping
        if stopping is None or state.global_step >= state.max_steps:
            return
        evaluations = stopping.early_stopping_patience
        log.info("early stopping: step %d, no lower WER in %d evaluations", state.global_step, evaluations)

    def _zero_shot(self, trainer: ChildSpeechTrainer, sets: Sets) -> dict[str, ZeroShot]:
        """Each set before training, always on the full window that the checkpoint was trained with."""
        if not self.trainer["zero_shot"]:
            return {}
        find = ZeroShotScores(
            trainer,
            lambda utterances: self._dataset(sets, utterances, trainer.recogniser),
            self.data.buckets,
            self.run_dir,
            self._sweep_dir,
            self._scores_depend_on(trainer.args),
        )
        return {name: find(name, utterances) for name, utterances in sets.scored().items()}

    def _scores_depend_on(self, arguments: TrainingArguments) -> dict[str, Any] | None:
        """See :func:`kidasr.training.zero_shot.what_scores_depend_on`; None for a run by itself, which shares none."""
        if self._sweep_dir is None:
            return None
        return what_scores_depend_on(read_json(self.run_dir / CONFIG), self.trainer, arguments)

    def _workers(self, chosen: int | None) -> int:
        """How many processes load audio, if the config leaves it open: one if it is augmented there, which takes long."""
        return int(self.augment.changes_audio) if chosen is None else chosen

    def _arguments(self, **others: Any) -> TrainingArguments:
        processes = number_of_processes(self.trainer["num_processes"])
        return super()._arguments(
            per_device_train_batch_size=math.ceil(self.trainer["train_batch_size"] / processes),  # for log messages only
            # DDP must know that what is frozen gets no gradients.
            ddp_find_unused_parameters=self.freeze.steps != 0,
            activation_checkpointing_kwargs={"use_reentrant": False},
            logging_nan_inf_filter=False,  # it reads the loss back from the GPU; a NaN loss stops the run anyway
            **{key: value for key, value in self.trainer.items() if key not in OWN_KEYS and not _is_decoding(key)},
            **{key: value for key, value in self.optim.items() if key != "layer_decay"},
            **self.schedule,
            **self.checkpoint.training_arguments(),
            **others,
        )

    def _describe(self, sets: Sets) -> None:
        """Log padding, objective, order, augmentation, schedule and early stopping."""
        log.info("padding: %s", self.padding.describe())
        if self.objective is not None:
            log.info("objective: %s", self.objective.describe())
        self.curriculum.describe(TrainingSet(sets.train, self.data.buckets))
        for line in self.augment.describe():
            log.info("augment: %s", line)
        if self.augment.changes_audio:
            workers = self.trainer["dataloader_num_workers"]
            log.info("augment: %s", f"in {workers} worker process(es), during the steps" if workers else "between the steps")
        log.info(
            "schedule: %s after a warm-up of %d steps", self.schedule["lr_scheduler_type"], self.schedule["warmup_steps"]
        )
        if self.average.is_on:
            back = f", {100 * self.average.pretrained:g}% of the way back to the pretrained weights"
            log.info("average: keeps %s%s", self.average.describe(), back if self.average.pretrained else "")
        if self.early_stopping is not None:
            log.info("early stopping: after %d evaluations without a lower WER", self.early_stopping.early_stopping_patience)

    def _batches(
        self,
        arguments: TrainingArguments,
        utterances: Sequence[Utterance],
        window_sec: float,
        losses: Values | None = None,
    ) -> EpochBatches:
        training_set = TrainingSet(utterances, self.data.buckets, losses)
        stages, groups = partial(self.curriculum.stages, training_set), None
        if self._age_groups is not None:  # an input has one age
            groups = np.array([self._age_groups.get(one.age_bucket, NO_GROUP) for one in utterances], dtype=np.int64)
        return EpochBatches(
            training_set,
            self.curriculum,
            self.seed,
            self.padding,
            window_sec,
            self.trainer["train_batch_size"],
            self.trainer["max_batch_sec"],
            self.augment.max_length_factor,
            processes=arguments.world_size,
            process=arguments.process_index,
            joining=self.augment.joining(utterances, self.seed, window_sec, stages, groups),
            views=self._views,
        )

    def _trainer(
        self,
        arguments: TrainingArguments,
        recogniser: Recogniser,
        sets: Sets,
        batches: EpochBatches,
        tracking: Sequence[Any],
        signals: StopSignals,
    ) -> ChildSpeechTrainer:
        freeze = self.freeze.callback(self._kept_encodings(recogniser, sets, batches, arguments))
        return ChildSpeechTrainer(
            recogniser,
            arguments,
            train_dataset=self._dataset(
                *(sets, sets.train, recogniser, self.padding),
                augment=self.augment,
                views=self._views,
                joining=batches.joining,
            ),
            evaluation=self._dataset(sets, shortest_first(sets.evaluation), recogniser, self.padding),
            batches=batches,
            buckets=self.data.buckets,
            callbacks=[freeze, *([self.early_stopping] if self.early_stopping else []), *tracking],
            signals=signals,
            transcriber=self._transcriber(recogniser, arguments),
            objective=self.objective,
            eval_loss=self.trainer["eval_loss"],
            average=self.average,
            own_weights=own_weights(self.adapter, recogniser.model),
            layer_decay=self.optim["layer_decay"],
        )

    def _wrap(self, model: torch.nn.Module) -> None:
        """Add the adapter; what it draws depends only on the run's seed."""
        assert self.adapter is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("adapter", self.seed))
            self.adapter.wrap(model)
        check_trains(model, self.freeze)

    def _kept_encodings(
        self, recogniser: Recogniser, sets: Sets, batches: EpochBatches, arguments: TrainingArguments
    ) -> float:
        """Bytes for the outputs of a frozen encoder; 0 to encode every batch anew.

        They are kept if the encoder is frozen for long enough to meet an utterance again, if they do not depend on the
        padding of a batch, and if there is room for all: one by one, utterances take longer.
        """
        limit = 1e9 * self.trainer["keep_encodings_gb"]
        epoch_steps = math.ceil(len(batches) / arguments.gradient_accumulation_steps)
        repeats = self.freeze.part == "encoder" and (self.freeze.whole_run or self.freeze.steps > epoch_steps)
        depends_on_batch = self.padding.is_short and not self.padding.mask
        if not (limit and repeats and recogniser.takes_keys) or depends_on_batch:
            return 0.0
        kept = [*([] if self.augment.by_name else sets.train), *sets.evaluation]
        each_sec = [self.padding.trailing_silence_sec + one.known_duration_sec for one in kept]
        seconds = sum(each_sec) if self.padding.is_short else recogniser.window_sec * len(kept)
        needed = seconds * recogniser.encoding_bytes_per_sec / (1 if half_precision(arguments) is None else 2)
        if needed > limit:
            log.info("the frozen encoder's output would take %.1f GB: not kept (trainer.keep_encodings_gb)", needed / 1e9)
            return 0.0
        return limit

    @property
    def _views(self) -> int:
        """Number of views of a training utterance in its batch."""
        return 1 if self.objective is None else self.objective.views

    def _check_utterances(self, sets: Sets, recogniser: Recogniser) -> dict[str, Any]:
        """Refuse what the model can't take; what is odd in the texts, and what was done to them, is logged and returned."""
        self.augment.check(recogniser.mel_bins)
        if self.objective is not None:
            self.objective.check(self.augment)
            if not recogniser.gives_token_logits:
                name = type(recogniser.model).__name__
                raise KidasrError(f"objective: a {name} gives no logits of single tokens; expected: objective=none")
        return self._check_texts(sets, recogniser)

    def _write(
        self,
        trainer: ChildSpeechTrainer,
        metrics: Mapping[str, Any],
        transcripts: Mapping[str, Sequence[Prediction]],
    ) -> None:
        with folder_written(self.run_dir / MODEL) as folder:
            if isinstance(self.adapter, AgeAdapter):
                self.adapter.save_groups(trainer.recogniser.model, folder)
            if self.adapter is not None:
                self.adapter.merge(trainer.recogniser.model)
            trainer.recogniser.save(folder, self.trainer["generation_num_beams"])
            lengths_sec = trainer.batches.lengths_sec(epoch=0).tolist()
            describe_training(folder, read_json(self.run_dir / CONFIG), trainer.recogniser, lengths_sec)
        write_json(self.run_dir / EVALUATIONS, evaluation_errors(trainer), indent=None)
        drawn = ages_drawn(trainer.batches, trainer.args.gradient_accumulation_steps, trainer.state.global_step)
        self._write_scores(metrics, transcripts, drawn)


def own_weights(adapter: Adapter | None, model: torch.nn.Module) -> OwnWeights | None:
    """The only weights that checkpoints contain, if the adapter says which; None for all of the model's."""
    return OwnWeights(model, adapter.own_weights(model)) if isinstance(adapter, SmallAdapter) else None


def _is_decoding(key: str) -> bool:
    return key.startswith("generation_")


def learning_history(log_history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The Trainer's log entries without timings: training loss and learning rate, or WER by age (and validation loss)."""
    return [
        # Sorted, as in the log of a resumed run.
        {name: entry[name] for name in sorted(entry) if name in LEARNING or name.startswith("eval_wer")}
        for entry in log_history
        if "loss" in entry or "eval_wer" in entry
    ]


def evaluation_errors(trainer: ChildSpeechTrainer) -> dict[str, Any]:
    """The errors in each utterance at each evaluation, from which the luck in the choice of a checkpoint is estimated."""
    by_step = {str(entry["step"]): entry[ERRORS] for entry in trainer.state.log_history if ERRORS in entry}
    return {"utterance_ids": [one.utterance_id for one in trainer.evaluation.utterances], "errors": by_step}
