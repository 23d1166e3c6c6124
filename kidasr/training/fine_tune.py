"""The training job: from manifests to a fine-tuned model and its scores."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from transformers import EarlyStoppingCallback, TrainingArguments

from kidasr.batching.batches import EpochBatches
from kidasr.batching.curriculum import Curriculum
from kidasr.batching.training_set import TrainingSet, Values
from kidasr.config.checks import ConfigError
from kidasr.corpus.corpus import Corpus
from kidasr.corpus.filters import marks_of
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.sets import Sets
from kidasr.corpus.texts import report_texts
from kidasr.durable import explain_io_errors, folder_written
from kidasr.errors import KidasrError, Stopped
from kidasr.features.augment import Augmentation, Augmentations
from kidasr.features.dataset import ChildSpeechDataset, check_text
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.features.recogniser import Recogniser
from kidasr.freed_memory import return_freed_memory
from kidasr.model.as_trained import describe_training
from kidasr.model.freeze import Freeze
from kidasr.model.pretrained import Pretrained
from kidasr.model.unfreeze import check_trains
from kidasr.processes import number_of_processes
from kidasr.recognition.doubts import doubts_after, doubts_before
from kidasr.recognition.predictions import read_predictions, write_predictions
from kidasr.recognition.score import Prediction, Score, score
from kidasr.recognition.transcribe import Transcriber
from kidasr.report.loggers import NoLogger
from kidasr.report.options import ReportOptions
from kidasr.report.tables import result_table, sets_table
from kidasr.runs.environment import environment
from kidasr.runs.files import (
    BAD_AUDIO,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    EVALUATIONS,
    METRICS,
    MODEL,
    predictions_of,
    read_json,
    write_json,
    zero_shot_of,
)
from kidasr.runs.sweeps import SWEEP
from kidasr.seeding import seed_for
from kidasr.training.average import Average
from kidasr.training.averaging import Kept, keep
from kidasr.training.checkpoint import Checkpoint
from kidasr.training.checkpoint_folder import CheckpointFolder
from kidasr.training.device import (
    check_device,
    check_gpu_per_process,
    check_optimizer,
    describe_device,
    prepare_cpu,
    prepare_gpu,
)
from kidasr.training.objective import Adapter, AgeAdapter, Objective, SmallAdapter
from kidasr.training.own_weights import OwnWeights
from kidasr.training.pretrained_losses import PretrainedLosses
from kidasr.training.process_setup import leave_processes_at_exit, quiet_libraries
from kidasr.training.run_length import check_run_length
from kidasr.training.stopping import StopSignals, end_workers
from kidasr.training.trainer import ERRORS, ChildSpeechTrainer

log = logging.getLogger(__name__)

#: Log entries in the learning curve, besides WER overall and by age.
LEARNING = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_cer")

#: Keys of the ``trainer`` group that are kidasr's own; the others go to the Trainer.
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
    "generation_max_length",
    "generation_num_beams",
    "generation_max_tokens_per_sec",
)

#: Keys of ``environment.json`` that must be unchanged for a resumed run to be bit-identical.
DECIDES_BITS = ("commit", "packages", "cpu", "threads")


@dataclass(frozen=True)
class ZeroShot:
    """A set before training."""

    score: Score
    #: In each of its utterances; None if they are not recorded.
    errors: list[int] | None

    def as_json(self) -> dict[str, Any]:
        """The content of ``zero_shot.json``."""
        return {**self.score, "errors": self.errors}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "ZeroShot":
        """Read the content of ``zero_shot.json``."""
        rates: Any = {name: value for name, value in content.items() if name != "errors"}
        return cls(rates, content.get("errors"))


class FineTune:
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
        self.run_dir = Path(run_dir)
        self.seed = seed
        self.data, self.model, self.padding = data, model, padding
        self.curriculum, self.augment, self.freeze = curriculum, Augmentations(augment), freeze
        self.adapter, self.objective = adapter, objective
        self.optim, self.schedule, self.trainer = optim, schedule, trainer
        self.early_stopping, self.checkpoint, self.average, self.logger = early_stopping, checkpoint, average, logger
        self.report = report
        #: Numbers of the age groups of a model that depends on ages.
        self._age_groups: Mapping[str, int] | None = None

    def run(self) -> float:
        """Train, evaluate and report. Returns the validation WER of the kept model, as a fraction."""
        with StopSignals() as signals:
            try:
                return self._run(signals)
            except Stopped as stopped:
                stopped.by = signals.received or stopped.by
                log.warning("stopped by %s, nothing is lost; the same command resumes: %s", stopped.by, self.run_dir)
                raise
            finally:
                end_workers()

    def _run(self, signals: StopSignals) -> float:
        quiet_libraries()
        check_device(self.trainer["use_cpu"], self.trainer["tf32"])
        check_optimizer(self.optim["optim"])
        if self.trainer["use_cpu"]:
            prepare_cpu(self.trainer["num_threads"])
        else:
            check_gpu_per_process()
            prepare_gpu()
        arguments = self._training_arguments()
        describe_device(self.trainer["use_cpu"], half_precision(arguments))
        if arguments.world_size > 1:
            leave_processes_at_exit()
        # Each process composed its own config, and the time in the folder's name may differ by a second.
        (run_dir,) = broadcast_object_list([self.run_dir])
        self.run_dir, arguments.output_dir = run_dir, str(run_dir / CHECKPOINTS)
        sets = self.data.load()
        recogniser = self.model.load()
        return_freed_memory()  # of the files it was read from
        sets, skipped = self._check_audio(sets, arguments, recogniser.window_sec)
        self._describe(sets)
        texts = self._check_utterances(sets, recogniser)
        if isinstance(self.adapter, AgeAdapter):
            self._age_groups = self.adapter.choose_groups(sets.train, self.data.buckets)
        losses = None
        if self.curriculum.needs_losses:
            depends_on, precision = self._zero_shot_depends_on(arguments), half_precision(arguments)
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
            self._check_references(trainer, sets)
            before = self._zero_shot(trainer, sets)
            kept = self._kept_weights(trainer)
            heard = [] if kept.step is None else trainer.evaluated(kept.step)  # with these weights
            known = {one.utterance_id for one in heard}
            rest = [one for one in sets.validation if one.utterance_id not in known]
            if rest:
                heard += trainer.transcribe(self._dataset(sets, shortest_first(rest), recogniser, self.padding))
            predictions = in_order_of(sets.validation, heard)
            transcripts = {"validation": predictions, **self._test_transcripts(trainer, sets, kept.last_step)}
            tests = {name: self._before_and_after(heard, before.get(name)) for name, heard in transcripts.items()}
            of_validation = tests.pop("validation")
            metrics: dict[str, Any] = {
                "rate": trainer.scoring.rate,
                **of_validation,
                "tests": tests,
                "evaluated_utterances": len(sets.evaluation),
                "best_step": kept.step,
                "kept": kept.what,
                "average": self._gain(trainer, sets, kept, predictions) if kept.step is None else None,
                "steps": trainer.state.global_step,
                "frozen_steps": self.freeze.frozen_encoder_steps(trainer.state.global_step),
                "history": learning_history(trainer.state.log_history),
                "skipped_audio": skipped,
                "texts": texts,
                "filtered_sets": {name: mark for name, one in sets.named().items() if (mark := marks_of(one))},
            }
            if isinstance(self.adapter, AgeAdapter):
                metrics["scored_with"] = self.adapter.scored_with
            if "test" in tests:
                metrics["test"] = tests["test"]["final"]  # its place when there could be only one
            if arguments.should_save:
                size = sum(parameter.nbytes for parameter in recogniser.model.parameters())
                with explain_io_errors(self.run_dir, "the results", size, "all checkpoints are kept"):
                    self._write(trainer, metrics, transcripts)
            logger.log_result(metrics, predictions)
            failed = False
        finally:
            logger.close(failed)

        self._log_result(metrics)
        final_wer: float | None = metrics["final"]["wer"]
        assert final_wer is not None, "the same words as before training"
        return final_wer

    def _check_references(self, trainer: ChildSpeechTrainer, sets: Sets) -> None:
        """Refuse a set without a word to recognise."""
        for name, utterances in {**sets.tests, "validation": sets.evaluation}.items():
            if not any(trainer.scoring.normalize(utterance.text).strip() for utterance in utterances):
                key = name if name in ("validation", "test") else f"tests.{name}"
                raise KidasrError(f"data.{key}: every reference is empty after normalization, so WER is undefined")

    def _test_transcripts(self, trainer: ChildSpeechTrainer, sets: Sets, kept_step: int) -> dict[str, list[Prediction]]:
        """Transcripts of each test set by the kept model; a resumed run reads those that it had finished."""
        transcripts = {}
        for name, utterances in sets.tests.items():
            # Beside the weights that they depend on; hidden, because it is not one of the checkpoint's own files.
            path = trainer.checkpoints.planned(kept_step) / f".{predictions_of(name)}"
            heard = trainer.first_process(_read_transcripts(path, utterances) if trainer.args.should_save else None)
            if heard is None:
                log.info("set %s: transcribing with the kept model", name)
                dataset = self._dataset(sets, shortest_first(utterances), trainer.recogniser, self.padding)
                heard = in_order_of(utterances, trainer.transcribe(dataset))
                if trainer.args.should_save and path.parent.is_dir():
                    write_predictions(path, heard)
            transcripts[name] = heard
        return transcripts

    def _before_and_after(self, heard: Sequence[Prediction], before: ZeroShot | None) -> dict[str, Any]:
        """What ``metrics.json`` holds of a set."""
        from kidasr.evidence.before_after import change_of  # scipy, which training has no use for

        return {
            "zero_shot": before.score if before else None,
            "final": score(heard, self.data.buckets),
            "change": change_of(before.errors if before else None, heard),
        }

    def _log_result(self, metrics: Mapping[str, Any]) -> None:
        from kidasr.report.verdict import about_undecided_sets, about_worse_sets

        final, rate, tests = metrics["final"], metrics["rate"], metrics["tests"]
        for name, one in {"": metrics, **tests}.items():
            if empty := one["final"]["empty_references"]:
                log.warning("%s%d references are empty after normalization", _of_set(name), empty)
        table = result_table(metrics["zero_shot"], final, rate)
        if "scored_with" in metrics:
            log.info(metrics["scored_with"])
        log.info("\nvalidation set, zero-shot (before) and fine-tuned (after):\n%s", table.text())
        if tests:
            log.info(
                "\nall sets, before and after; the interval of a change is for other speakers:\n%s",
                sets_table(metrics).text(),
            )
        for doubt in doubts_after(metrics["zero_shot"], final, rate, self.padding.is_short):
            log.warning(doubt)
        for name, one in tests.items():
            for doubt in doubts_after(None, one["final"], rate, self.padding.is_short):
                log.warning("%s%s", _of_set(name), doubt)
        for line in about_undecided_sets(metrics):
            log.info(line)
        if worse := about_worse_sets(metrics):
            log.warning(worse)
        log.info("run folder: %s", self.run_dir)

    def _kept_weights(self, trainer: ChildSpeechTrainer) -> Kept:
        """Train, and put the weights that the run keeps into the model."""
        trainer.train_from(trainer.first_process(trainer.checkpoints.newest() if trainer.args.should_save else None))
        self._report_early_stop(trainer)
        if not self.average.is_on:
            self.checkpoint.report_kept(trainer.state, trainer.scoring.rate)
        return keep(trainer, self.average, self.model, self.checkpoint.kept_step(trainer.state))

    def _gain(
        self, trainer: ChildSpeechTrainer, sets: Sets, kept: Kept, predictions: Sequence[Prediction]
    ) -> dict[str, Any] | None:
        """What an average changed, against the weights of the last evaluation and on its utterances; also logged."""
        evaluations: list[dict[str, Any]] = [entry for entry in trainer.state.log_history if ERRORS in entry]
        if not evaluations:
            log.info("keeping the %s", kept.what)
            return None
        from kidasr.evidence.before_after import change_of

        last = evaluations[-1]
        of_average = in_order_of(trainer.evaluation.utterances, predictions)
        change, words = change_of(last[ERRORS], of_average), sum(one.words for one in of_average)
        if change is None:
            return None
        wer = sum(one.errors for one in of_average) / words
        ends = " to ".join(f"{100 * end:+.1f}" for end in change["ci95"] or ())
        told = log.warning if change["verdict"] == "worse" else log.info
        told(
            "keeping the %s: %s %.1f%% on the %d utterances of evaluations, %.1f%% at step %d (change %+.1f points%s)",
            kept.what,
            trainer.scoring.rate,
            100 * wer,
            len(of_average),
            100 * last["eval_wer"],
            last["step"],
            100 * change["delta_wer"],
            f"; for other speakers {ends}" if ends else "",
        )
        return {"wer": wer, "last_wer": last["eval_wer"], "last_step": last["step"], "change": change}

    def _report_early_stop(self, trainer: ChildSpeechTrainer) -> None:
        """Log that early stopping (H2) has ended the run, if it has."""
        state, stopping = trainer.state, self.early_stopping
        if stopping is None or state.global_step >= state.max_steps:
            return
        evaluations = stopping.early_stopping_patience
        log.info("early stopping: step %d, no lower WER in %d evaluations", state.global_step, evaluations)

    def _record_environment(self, arguments: TrainingArguments) -> None:
        """Write ``environment.json``; warn if a resumed run has a different environment, which may round differently."""
        path = self.run_dir / ENVIRONMENT
        now = environment(self.seed, precision_name(arguments))
        try:
            before = read_json(path) if path.exists() else now
            changed = [f"{key}: {before[key]}, now {now[key]}" for key in DECIDES_BITS if before[key] != now[key]]
        except (ValueError, KeyError):
            changed = [f"{path} can't be read"]
        if changed:
            log.warning("resuming, but the result may not be bit-identical to an uninterrupted run: %s", "; ".join(changed))
        write_json(path, now)

    def _zero_shot(self, trainer: ChildSpeechTrainer, sets: Sets) -> dict[str, ZeroShot]:
        """Each set before training, always on the full window that the checkpoint was trained with."""
        if not self.trainer["zero_shot"]:
            return {}
        depends_on = self._zero_shot_depends_on(trainer.args)
        return {name: self._zero_shot_of(trainer, sets, name, depends_on) for name in sets.scored()}

    def _zero_shot_of(
        self, trainer: ChildSpeechTrainer, sets: Sets, name: str, depends_on: Mapping[str, Any] | None
    ) -> ZeroShot:
        """One set before training: read from the run folder or from beside the sweep's runs, or transcribed."""
        utterances = sets.scored()[name]
        path, shared = self.run_dir / zero_shot_of(name), self._shared_zero_shot(utterances, depends_on)
        known = None
        if trainer.args.should_save:
            for one in (path, *([shared] if shared else [])):
                try:
                    known = known or (read_json(one) if one.exists() else None)
                except ValueError:
                    log.warning("%s can't be read; transcribing again", one)
        known = trainer.first_process(known)
        if known is not None:
            log.info("zero-shot: using the scores in %s", path if path.exists() else shared)
            if trainer.args.should_save:
                write_json(path, known)
            return ZeroShot.of(known)
        log.info("zero-shot: transcribing the %s set before training", name)
        dataset = self._dataset(sets, shortest_first(utterances), trainer.recogniser)
        heard = in_order_of(utterances, trainer.transcribe(dataset))
        zero_shot = ZeroShot(score(heard, self.data.buckets), [one.errors for one in heard])
        for doubt in doubts_before(zero_shot.score, trainer.scoring.rate):
            log.warning("%s%s", "" if name == "validation" else _of_set(name), doubt)
        if trainer.args.should_save:
            for one in (path, *([shared] if shared else [])):
                write_json(one, zero_shot.as_json())
        return zero_shot

    def _zero_shot_depends_on(self, arguments: TrainingArguments) -> dict[str, Any] | None:
        """All that scores before training depend on, besides the set; None for a run by itself, which shares none."""
        if self._sweep_dir is None:
            return None
        config, now = read_json(self.run_dir / CONFIG), environment(0)
        folder = Path(str(config["model"].get("name_or_path")))
        return {
            "model": config["model"],
            "files": sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.glob("*.*")),
            "decoding": [self.trainer[name] for name in OWN_KEYS if name.startswith("generation_")],
            "batch": arguments.per_device_eval_batch_size,
            "precision": [str(half_precision(arguments)), str(arguments.device.type), arguments.tf32],
            "environment": [now[name] for name in DECIDES_BITS],
        }

    def _shared_zero_shot(self, utterances: Sequence[Utterance], depends_on: Mapping[str, Any] | None) -> Path | None:
        """The file, beside the runs of a sweep, with the score of a set before training; None for a run by itself.

        Its name is a checksum of all that the score depends on, so that only the same model and set share it.
        """
        if self._sweep_dir is None or depends_on is None:
            return None
        what = [(one.utterance_id, one.age_bucket, one.audio_key, one.text) for one in utterances]
        content = json.dumps({**depends_on, "utterances": what}, sort_keys=True, default=str)
        return self._sweep_dir / f"zero_shot-{sha256(content.encode()).hexdigest()[:8]}.json"

    def _training_arguments(self) -> TrainingArguments:
        """The Trainer's arguments: config keys have the Trainer's own names and are passed on unchanged."""
        try:
            return self._arguments()
        except (ValueError, ImportError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error

    def _arguments(self) -> TrainingArguments:
        processes = number_of_processes(self.trainer["num_processes"])
        workers = self.trainer["dataloader_num_workers"]
        arguments = TrainingArguments(
            per_device_train_batch_size=math.ceil(self.trainer["train_batch_size"] / processes),  # for log messages only
            output_dir=str(self.run_dir / CHECKPOINTS),
            seed=self.seed,
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,  # ChildSpeechTrainer has its own bars
            # DDP must know that what is frozen gets no gradients.
            ddp_find_unused_parameters=self.freeze.steps != 0,
            activation_checkpointing_kwargs={"use_reentrant": False},
            # A copy to the GPU runs beside the computation only from pinned memory.
            dataloader_pin_memory=not self.trainer["use_cpu"],
            accelerator_config={"non_blocking": not self.trainer["use_cpu"]},
            dataloader_persistent_workers=workers > 0,  # keeps their audio caches
            dataloader_prefetch_factor=self.trainer["dataloader_prefetch_factor"] if workers else None,
            logging_nan_inf_filter=False,  # it reads the loss back from the GPU; a NaN loss stops the run anyway
            **{key: value for key, value in self.trainer.items() if key not in OWN_KEYS},
            **{key: value for key, value in self.optim.items() if key != "layer_decay"},
            **self.schedule,
            **self.checkpoint.training_arguments(),
        )
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1  # otherwise a single process would use all GPUs and multiply the batch
        return arguments

    def _describe(self, sets: Sets) -> None:
        """Log padding, objective, order, augmentation, schedule and early stopping."""
        log.info("padding: %s", self.padding.describe())
        if self.objective is not None:
            log.info("objective: %s", self.objective.describe())
        self.curriculum.describe(TrainingSet(sets.train, self.data.buckets))
        for line in self.augment.describe():
            log.info("augment: %s", line)
        if self.augment.changes_audio and not self.trainer["dataloader_num_workers"]:
            log.info("augment: between the steps; trainer.dataloader_num_workers=1 augments during them")
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
        return EpochBatches(
            TrainingSet(utterances, self.data.buckets, losses),
            self.curriculum,
            self.seed,
            self.padding,
            window_sec,
            self.trainer["train_batch_size"],
            self.trainer["max_batch_sec"],
            self.augment.max_length_factor,
            processes=arguments.world_size,
            process=arguments.process_index,
            joining=self.augment.joining(utterances, self.seed, window_sec),
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
            train_dataset=self._dataset(sets, sets.train, recogniser, self.padding, self.augment),
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

    def _transcriber(self, recogniser: Recogniser, arguments: TrainingArguments) -> partial[Transcriber]:
        return partial(
            Transcriber,
            recogniser,
            arguments.per_device_eval_batch_size,
            self.trainer["generation_num_beams"],
            self.trainer["generation_max_tokens_per_sec"],
            self.trainer["generation_max_length"],
            autocast=half_precision(arguments),
            num_workers=arguments.dataloader_num_workers,
        )

    def _dataset(
        self,
        sets: Sets,
        utterances: Sequence[Utterance],
        recogniser: Recogniser,
        padding: Padding = FULL_WINDOW,
        augment: Augmentations | None = None,
    ) -> ChildSpeechDataset:
        views = self.objective.views if augment is not None and self.objective is not None else 1
        cache_sec = self.data.cache_sec / max(1, self.trainer["dataloader_num_workers"])  # each worker has its own
        return ChildSpeechDataset(
            *(utterances, recogniser, augment, self.seed, sets.lower_case, cache_sec, padding, views),
            age_groups=self._age_groups,
        )

    def _check_audio(self, sets: Sets, arguments: TrainingArguments, window_sec: float) -> tuple[Sets, dict[str, int]]:
        """Leave out bad recordings; see :meth:`kidasr.corpus.audio_check.AudioCheck.check_run`."""
        return self.data.audio_check.check_run(
            sets,
            window_sec,
            self.run_dir / BAD_AUDIO,
            continued=CheckpointFolder(self.run_dir / CHECKPOINTS).newest_name() is not None,
            writes=arguments.should_save,
            gather=gather_object if arguments.world_size > 1 else lambda own: own,
            processes=arguments.world_size,
            process=arguments.process_index,
            shared_in=self._sweep_dir,
        )

    @property
    def _sweep_dir(self) -> Path | None:
        """The folder of the sweep that this run belongs to, for what its runs share; None for a run by itself."""
        return self.run_dir.parent if (self.run_dir.parent / SWEEP).exists() else None

    def _check_utterances(self, sets: Sets, recogniser: Recogniser) -> dict[str, Any]:
        """Refuse what the model can't take; what is odd in the texts, and what was done to them, is logged and returned."""
        self.augment.check(recogniser.mel_bins)
        if self.objective is not None:
            self.objective.check(self.augment)
            if not recogniser.gives_token_logits:
                name = type(recogniser.model).__name__
                raise KidasrError(f"objective: a {name} gives no logits of single tokens; expected: objective=none")
        positions = recogniser.max_tokens
        longest = self.trainer["generation_max_length"]
        if longest is not None and longest > positions:
            raise ConfigError(f"trainer.generation_max_length={longest}: the model's decoder has {positions} positions")
        for utterances in sets.named().values():
            check_text(utterances, recogniser, sets.lower_case)
        cleaning = self.data.cleaning
        odd = report_texts(sets.named(), recogniser.language, recogniser.scoring.normalize, cleaning)
        counts = {name: {"utterances": len(of), **sets.cleaned[name], **odd[name]} for name, of in sets.named().items()}
        return {"clean": cleaning.names, "sets": counts}

    def _write(
        self,
        trainer: ChildSpeechTrainer,
        metrics: Mapping[str, Any],
        transcripts: Mapping[str, Sequence[Prediction]],
    ) -> None:
        from kidasr.evidence.runs import make_run, with_evaluations
        from kidasr.report.ages_drawn import ages_drawn
        from kidasr.report.report import Report  # a tenth of a GB, which training has no use for

        with folder_written(self.run_dir / MODEL) as folder:
            if isinstance(self.adapter, AgeAdapter):
                self.adapter.save_groups(trainer.recogniser.model, folder)
            if self.adapter is not None:
                self.adapter.merge(trainer.recogniser.model)
            trainer.recogniser.save(folder, self.trainer["generation_num_beams"])
            describe_training(folder, read_json(self.run_dir / CONFIG))
        for name, heard in transcripts.items():
            write_predictions(self.run_dir / predictions_of(name), heard)
        write_json(self.run_dir / EVALUATIONS, evaluation_errors(trainer), indent=None)
        runs = {name: make_run(self.run_dir, metrics, map(asdict, heard), name) for name, heard in transcripts.items()}
        validation = with_evaluations(runs.pop("validation"))
        drawn = ages_drawn(trainer.batches, trainer.args.gradient_accumulation_steps, trainer.state.global_step)
        Report(self.report).write_run(self.run_dir, validation, runs, drawn)
        write_json(self.run_dir / METRICS, metrics)  # last: it marks the run as finished


def own_weights(adapter: Adapter | None, model: torch.nn.Module) -> OwnWeights | None:
    """The only weights that checkpoints contain, if the adapter says which; None for all of the model's."""
    return OwnWeights(model, adapter.own_weights(model)) if isinstance(adapter, SmallAdapter) else None


def half_precision(arguments: TrainingArguments) -> torch.dtype | None:
    """The half-precision type of a run; None for full precision."""
    return torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else None


def precision_name(arguments: TrainingArguments) -> str:
    """``float32``, ``bfloat16`` or ``float16``: the type in which most of the arithmetic is done."""
    return str(half_precision(arguments) or torch.float32).removeprefix("torch.")


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


def _read_transcripts(path: Path, utterances: Sequence[Utterance]) -> list[Prediction] | None:
    """The transcripts in a file; None if there are none, or they are of other utterances."""
    try:
        heard = read_predictions(path)
    except (OSError, ValueError, TypeError):
        return None
    is_same = [(one.utterance_id, one.reference) for one in heard] == [(one.utterance_id, one.text) for one in utterances]
    return heard if is_same else None


def _of_set(name: str) -> str:
    """How a warning about a test set begins."""
    return f"set {name}: " if name else ""


def shortest_first(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Sort utterances for transcription: a batch takes as long as its longest utterance and its longest transcript."""
    return sorted(utterances, key=lambda utterance: utterance.known_duration_sec)


def in_order_of(utterances: Sequence[Utterance], predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions of these utterances, in their order."""
    by_id = {prediction.utterance_id: prediction for prediction in predictions}
    return [by_id[utterance.utterance_id] for utterance in utterances]
