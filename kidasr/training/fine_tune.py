"""The training job: from manifests to a fine-tuned model and its scores."""

import atexit
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import broadcast_object_list, gather_object
from transformers import EarlyStoppingCallback, Seq2SeqTrainingArguments

from kidasr.batching.batches import EpochBatches
from kidasr.batching.curriculum import Curriculum
from kidasr.batching.training_set import TrainingSet
from kidasr.config.checks import ConfigError
from kidasr.corpus.audio_check import AudioCheck, read_bad_audio, write_bad_audio
from kidasr.corpus.corpus import Corpus, Sets
from kidasr.corpus.manifest import Utterance
from kidasr.durable import explain_io_errors, folder_written
from kidasr.errors import KidasrError, Stopped
from kidasr.evidence.runs import make_run
from kidasr.features.augment import Augmentations, FeatureAugmentation, WaveformAugmentation
from kidasr.features.dataset import ChildSpeechDataset, check_text
from kidasr.features.padding import FULL_WINDOW, Padding
from kidasr.model.freeze import Freeze
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper, save_model
from kidasr.processes import number_of_processes
from kidasr.recognition.doubts import doubts_after, doubts_before
from kidasr.recognition.predictions import write_predictions
from kidasr.recognition.score import Prediction, Score, score
from kidasr.report.loggers import NoLogger
from kidasr.report.options import ReportOptions
from kidasr.report.report import Report
from kidasr.report.tables import result_table
from kidasr.runs.environment import environment
from kidasr.runs.files import (
    BAD_AUDIO,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    MODEL,
    PREDICTIONS,
    TEST_PREDICTIONS,
    ZERO_SHOT,
    read_json,
    write_json,
)
from kidasr.training.checkpoint import Checkpoint
from kidasr.training.checkpoint_folder import CheckpointFolder
from kidasr.training.run_length import run_length_contradictions, run_length_warnings
from kidasr.training.stopping import StopSignals, end_workers
from kidasr.training.trainer import ChildSpeechTrainer

log = logging.getLogger(__name__)

#: What a learning curve is made of, beside WER, overall and by age.
LEARNING = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_cer")

#: Keys of the ``trainer`` group that are kidasr's; the others are the Trainer's.
OWN_KEYS = ("num_processes", "num_nodes", "train_batch_size", "max_batch_sec", "num_threads", "zero_shot")

#: Of ``environment.json``: what a run must have in common with the one that it continues, to be the same to the last bit.
DECIDES_BITS = ("commit", "packages", "cpu", "threads")


class FineTune:
    """What :class:`kidasr.jobs.train.Train` does when it runs.

    Args:
        run_dir: The run's folder.
        seed ... report: See there.
    """

    def __init__(
        self,
        run_dir: str,
        seed: int,
        data: Corpus,
        model: PretrainedWhisper,
        padding: Padding,
        curriculum: Curriculum,
        augment: Mapping[str, WaveformAugmentation | FeatureAugmentation],
        freeze: Freeze,
        optim: Mapping[str, Any],
        schedule: Mapping[str, Any],
        early_stopping: EarlyStoppingCallback | None,
        checkpoint: Checkpoint,
        trainer: Mapping[str, Any],
        logger: NoLogger,
        report: ReportOptions,
    ):
        self.run_dir = Path(run_dir)
        self.seed = seed
        self.data, self.model, self.padding = data, model, padding
        self.curriculum, self.augment, self.freeze = curriculum, Augmentations(augment), freeze
        self.optim, self.schedule, self.trainer = optim, schedule, trainer
        self.early_stopping, self.checkpoint, self.logger = early_stopping, checkpoint, logger
        self.report = Report(report)

    def run(self) -> float:
        """Train, evaluate, report; returns the validation WER of the model that is kept, as a fraction."""
        with StopSignals() as signals:
            try:
                return self._run(signals)
            except Stopped as stopped:
                stopped.by = signals.received or stopped.by
                log.warning("stopped by %s, nothing is lost; the same command continues: %s", stopped.by, self.run_dir)
                raise
            finally:
                end_workers()

    def _run(self, signals: StopSignals) -> float:
        _quiet_libraries()
        if not torch.cuda.is_available():
            prepare_cpu(self.trainer["num_threads"])
        arguments = self._training_arguments()
        if arguments.world_size > 1:
            atexit.register(_leave_processes)
        # Of several processes each has composed its own, and the time in its name may be another second.
        (run_dir,) = broadcast_object_list([self.run_dir])
        self.run_dir, arguments.output_dir = run_dir, str(run_dir / CHECKPOINTS)
        sets = self.data.load()
        whisper = self.model.load()
        # Saved with the model: transformers' pipeline would take five beams where a checkpoint does not say.
        whisper.model.generation_config.num_beams = self.trainer["generation_num_beams"]
        sets, skipped = self._check_audio(sets, arguments, whisper.window_sec)
        self._describe(sets)
        batches = self._batches(arguments, sets.train, whisper.window_sec)
        self._check_length(arguments, batches)
        self._check_utterances(sets, whisper)
        config = read_json(self.run_dir / CONFIG)

        # Of several processes, one writes.
        logger = self.logger if arguments.should_save else NoLogger()
        if arguments.should_save:
            self._record_environment()
        callbacks = logger.start(self.run_dir, config)
        failed = True
        try:
            trainer = self._trainer(arguments, whisper, sets, batches, callbacks, signals)
            if not any(trainer.scoring.normalize(utterance.text).strip() for utterance in sets.evaluation):
                raise KidasrError("data.validation: no word is left after normalization, so there is no WER to train by")
            zero_shot = self._zero_shot(trainer, sets)
            trainer.train_from(trainer.first_process(trainer.checkpoints.newest() if arguments.should_save else None))
            self.checkpoint.report_kept(trainer.state, trainer.scoring.rate)

            kept_step = self.checkpoint.kept_step(trainer.state)
            heard = trainer.evaluated(kept_step) if sets.evaluation == sets.validation else None
            if heard is None:
                heard = trainer.transcribe(self._dataset(sets, shortest_first(sets.validation), whisper, self.padding))
            predictions = in_order_of(sets.validation, heard)
            final = score(predictions, self.data.buckets)
            metrics: dict[str, Any] = {
                "rate": trainer.scoring.rate,
                "zero_shot": zero_shot,
                "final": final,
                "best_step": kept_step,
                "steps": trainer.state.global_step,
                "frozen_steps": self.freeze.frozen_steps(trainer.state.global_step),
                "history": learning_history(trainer.state.log_history),
                "skipped_audio": skipped,
            }
            test_predictions = []
            if sets.test:
                test_set = self._dataset(sets, shortest_first(sets.test), whisper, self.padding)
                test_predictions = in_order_of(sets.test, trainer.transcribe(test_set))
                metrics["test"] = score(test_predictions, self.data.buckets)
            if arguments.should_save:
                size = sum(parameter.nbytes for parameter in whisper.model.parameters())
                with explain_io_errors(self.run_dir, "the results", size, "all checkpoints are kept"):
                    self._write(trainer, metrics, predictions, test_predictions)
            logger.log_result(metrics, predictions)
            failed = False
        finally:
            logger.close(failed)

        if final["empty_references"]:
            log.warning("%d references have no word after normalization", final["empty_references"])
        table = result_table(zero_shot, final, metrics["rate"])
        log.info("\nvalidation, zero-shot (before) against fine-tuned (after):\n%s", table.text())
        for doubt in doubts_after(zero_shot, final, metrics["rate"], self.padding.is_short):
            log.warning(doubt)
        log.info("run folder: %s", self.run_dir)
        assert final["wer"] is not None, "the same words as before training"
        return final["wer"]

    def _record_environment(self) -> None:
        """Write what the run runs on; say so where a run continues on something that may round otherwise."""
        path = self.run_dir / ENVIRONMENT
        now = environment(self.seed)
        try:
            before = read_json(path) if path.exists() else now
            changed = [f"{key}: {before[key]}, now {now[key]}" for key in DECIDES_BITS if before[key] != now[key]]
        except (ValueError, KeyError):
            changed = [f"{path} can't be read"]
        if changed:
            log.warning("the run continues, but may end with other bits than one never stopped: %s", "; ".join(changed))
        write_json(path, now)

    def _zero_shot(self, trainer: ChildSpeechTrainer, sets: Sets) -> Score | None:
        """The score before training: on the full window, as the checkpoint was trained, whatever this run's padding is."""
        if not self.trainer["zero_shot"]:
            return None
        path = self.run_dir / ZERO_SHOT
        known = None
        if trainer.args.should_save and path.exists():
            try:
                known = read_json(path)
            except ValueError:
                log.warning("%s can't be read; transcribing again", path)
        known = trainer.first_process(known)
        if known is not None:
            log.info("zero-shot: transcribed before, kept in %s", ZERO_SHOT)
            return known
        log.info("zero-shot: transcribing the validation set before training")
        dataset = self._dataset(sets, shortest_first(sets.validation), trainer.whisper)
        zero_shot = score(trainer.transcribe(dataset), self.data.buckets)
        for doubt in doubts_before(zero_shot, trainer.scoring.rate, self.model.language, self.model.task):
            log.warning(doubt)
        if trainer.args.should_save:
            write_json(path, zero_shot)
        return zero_shot

    def _training_arguments(self) -> Seq2SeqTrainingArguments:
        """The groups' keys are the Trainer's own names, so they reach it as they are."""
        try:
            return self._arguments()
        except (ValueError, ImportError) as error:
            raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error

    def _arguments(self) -> Seq2SeqTrainingArguments:
        processes = number_of_processes(self.trainer["num_processes"])
        arguments = Seq2SeqTrainingArguments(
            per_device_train_batch_size=math.ceil(self.trainer["train_batch_size"] / processes),  # for its words alone
            output_dir=str(self.run_dir / CHECKPOINTS),
            seed=self.seed,
            predict_with_generate=True,
            report_to="none",
            disable_tqdm=True,  # ChildSpeechTrainer has its own bars
            # A frozen encoder gets no gradients, which DDP must be told.
            ddp_find_unused_parameters=self.freeze.freeze_encoder_steps != 0,
            activation_checkpointing_kwargs={"use_reentrant": False},
            dataloader_pin_memory=torch.cuda.is_available(),
            dataloader_persistent_workers=self.trainer["dataloader_num_workers"] > 0,  # they keep their audio
            use_cpu=not torch.cuda.is_available(),  # else the Trainer takes several processes on a CPU for as many runs
            **{key: value for key, value in self.trainer.items() if key not in OWN_KEYS},
            **self.optim,
            **self.schedule,
            **self.checkpoint.training_arguments(),
        )
        if arguments.n_gpu > 1:
            arguments._n_gpu = 1  # else one process would multiply the batch by the machine's GPUs
        return arguments

    def _describe(self, sets: Sets) -> None:
        """Log what the run does to its input: its length, its order, its augmentation."""
        log.info("padding: %s", self.padding.describe())
        self.curriculum.describe(TrainingSet(sets.train, self.data.buckets))
        for line in self.augment.describe():
            log.info("augment: %s", line)

    def _batches(
        self, arguments: Seq2SeqTrainingArguments, utterances: Sequence[Utterance], window_sec: float
    ) -> EpochBatches:
        return EpochBatches(
            TrainingSet(utterances, self.data.buckets),
            self.curriculum,
            self.seed,
            self.padding,
            window_sec,
            self.trainer["train_batch_size"],
            self.trainer["max_batch_sec"],
            self.augment.max_length_factor,
            processes=arguments.world_size,
            process=arguments.process_index,
        )

    def _check_length(self, arguments: Seq2SeqTrainingArguments, batches: EpochBatches) -> None:
        """Check the schedule against the run's length in optimizer steps, which is known once the set is read."""
        steps_per_epoch = math.ceil(len(batches) / arguments.gradient_accumulation_steps)
        steps = arguments.max_steps
        if steps <= 0:
            steps = math.ceil(arguments.num_train_epochs * steps_per_epoch)
        mean = len(batches.utterances) / steps_per_epoch
        log.info("run: %d optimizer steps of %.3g utterances, %.1f epochs", steps, mean, steps / steps_per_epoch)
        patience = self.early_stopping.early_stopping_patience if self.early_stopping else 0
        eval_steps, save_steps = self.checkpoint.eval_steps, self.checkpoint.save_steps
        mistakes = list(run_length_contradictions(steps, self.schedule["warmup_steps"], patience, eval_steps))
        if mistakes:
            raise ConfigError("\n".join(mistakes))
        for warning in run_length_warnings(steps, patience, eval_steps, save_steps, self.freeze.freeze_encoder_steps):
            log.warning(warning)

    def _trainer(
        self,
        arguments: Seq2SeqTrainingArguments,
        whisper: Whisper,
        sets: Sets,
        batches: EpochBatches,
        tracking: Sequence[Any],
        signals: StopSignals,
    ) -> ChildSpeechTrainer:
        return ChildSpeechTrainer(
            whisper,
            arguments,
            train_dataset=self._dataset(sets, sets.train, whisper, self.padding, self.augment),
            evaluation=self._dataset(sets, shortest_first(sets.evaluation), whisper, self.padding),
            padding=self.padding,
            batches=batches,
            buckets=self.data.buckets,
            callbacks=[self.freeze.callback(), *([self.early_stopping] if self.early_stopping else []), *tracking],
            signals=signals,
        )

    def _dataset(
        self,
        sets: Sets,
        utterances: Sequence[Utterance],
        whisper: Whisper,
        padding: Padding = FULL_WINDOW,
        augment: Augmentations | None = None,
    ) -> ChildSpeechDataset:
        return ChildSpeechDataset(
            utterances, whisper.processor, augment, self.seed, sets.lower_case, self.data.cache_sec, padding
        )

    def _check_audio(
        self, sets: Sets, arguments: Seq2SeqTrainingArguments, window_sec: float
    ) -> tuple[Sets, dict[str, int]]:
        """The sets without bad recordings, and how many each has lost; a continued run leaves out what it began without."""
        check = AudioCheck(self.data.on_bad_audio, self.data.max_bad_fraction, self.data.decode_check_sec)
        record = self.run_dir / BAD_AUDIO
        continued = CheckpointFolder(self.run_dir / CHECKPOINTS).newest_name() is not None
        sets, bad = check.find(
            sets,
            window_sec,
            decode=not continued,
            gather=gather_object if arguments.world_size > 1 else lambda own: own,
            processes=arguments.world_size,
            process=arguments.process_index,
        )
        if continued:
            recorded = read_bad_audio(record)
            check.check_continued(bad, recorded)
            bad = recorded
        elif arguments.should_save:
            record.unlink(missing_ok=True)
            if bad:
                write_bad_audio(record, bad)
        return check.leave_out(sets, bad, str(record))

    def _check_utterances(self, sets: Sets, whisper: Whisper) -> None:
        mel_bins = whisper.processor.feature_extractor.feature_size
        self.augment.check(mel_bins)
        positions = whisper.model.config.max_target_positions
        longest = self.trainer["generation_max_length"]
        if longest is not None and longest > positions:
            raise ConfigError(f"trainer.generation_max_length={longest}: the model's decoder has {positions} positions")
        for utterances in sets.named().values():
            check_text(utterances, whisper.processor, positions, sets.lower_case)

    def _write(
        self,
        trainer: ChildSpeechTrainer,
        metrics: Mapping[str, Any],
        predictions: Sequence[Prediction],
        test_predictions: Sequence[Prediction],
    ) -> None:
        with folder_written(self.run_dir / MODEL) as folder:
            save_model(folder, trainer.whisper)
        write_predictions(self.run_dir / PREDICTIONS, predictions)
        if test_predictions:
            write_predictions(self.run_dir / TEST_PREDICTIONS, test_predictions)
        self.report.write_run(self.run_dir, make_run(self.run_dir, metrics, map(asdict, predictions)))
        write_json(self.run_dir / METRICS, metrics)  # last: where it is, the run is finished


def learning_history(log_history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """What the Trainer logged at each step, without its timings: losses and learning rates, or WER by age and loss."""
    return [
        # Sorted, as they are in the log of a run that was continued.
        {name: entry[name] for name in sorted(entry) if name in LEARNING or name.startswith("eval_wer")}
        for entry in log_history
        if "loss" in entry or "eval_loss" in entry
    ]


def prepare_cpu(num_threads: int | None) -> None:
    """Settings of this process for training on a CPU: fast, and the same to the last bit each time.

    Args:
        num_threads: Threads that compute; None for PyTorch's own choice, a thread a core.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # a CPU computes with denormals an order of magnitude slower
    # Else the gradient of the decoder's positions depends on the threads' timing.
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def shortest_first(utterances: Sequence[Utterance]) -> list[Utterance]:
    """In the order to transcribe them in: a batch lasts as long as its longest utterance, and its longest transcript."""
    return sorted(utterances, key=lambda utterance: utterance.known_duration_sec)


def in_order_of(utterances: Sequence[Utterance], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Predictions in the order of the manifest."""
    place = {utterance.utterance_id: number for number, utterance in enumerate(utterances)}
    return sorted(predictions, key=lambda prediction: place[prediction.utterance_id])


def _leave_processes() -> None:
    """Part from the other processes in order: else gloo's threads may abort the process as it ends."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _quiet_libraries() -> None:
    """The libraries' warnings go where ours go, also into ``run.log``; those that no user can act on go nowhere."""
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.disable_default_handler()
    transformers.utils.logging.enable_propagation()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers.generation").setLevel(logging.ERROR)  # Whisper's own generate() sets these off
    logging.getLogger("transformers.models.whisper").setLevel(logging.ERROR)
    logging.getLogger("transformers.trainer").addFilter(lambda record: "['proj_out.weight']" not in record.getMessage())
    logging.getLogger("transformers.trainer_utils").addFilter(lambda record: "mtime" not in record.getMessage())
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}"
