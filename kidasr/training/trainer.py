"""The Trainer, with kidasr's order, its scores and its log."""

import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch.utils.data import DataLoader, Dataset
from transformers import (
    EvalPrediction,
    PrinterCallback,
    ProgressCallback,
    Seq2SeqTrainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from kidasr.batching.batches import EpochBatches
from kidasr.batching.collator import IGNORED_LABEL, Collator
from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.audio import SAMPLE_RATE_HZ
from kidasr.durable import explain_io_errors
from kidasr.errors import KidasrError, Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.log_mel import Padding
from kidasr.model.components import components
from kidasr.model.whisper import Whisper
from kidasr.recognition.decode import transcripts
from kidasr.recognition.predictions import read_predictions, write_predictions
from kidasr.recognition.score import Prediction, compare, score, scoring
from kidasr.report.tables import component_table, percent
from kidasr.runs.files import PREDICTIONS, read_json, write_json
from kidasr.runs.record import write_progress
from kidasr.seeding import seed_for
from kidasr.training.checkpoint_folder import CheckpointFolder, damage
from kidasr.training.memory import explain_out_of_memory
from kidasr.training.stopping import StopSignals, shield_worker

log = logging.getLogger(__name__)

#: What a checkpoint holds beside the Trainer's files: where between two entries of the log it was written, and what the
#: evaluation of its step heard.
LOOP_STATE, HEARD = "loop_state.json", PREDICTIONS


#: How often it is written how far training is.
TOLD_SEC = 1.0


class ChildSpeechTrainer(Seq2SeqTrainer):
    """``Seq2SeqTrainer`` that draws utterances in the curriculum's order and scores WER by age.

    A run continued from a checkpoint is, on a CPU, the same to the last bit as one that was never stopped. What is random in
    a step, dropout above all, is a pure function of (seed, step, process): the Trainer's own way, to save the state of the
    generators and set it again, is off by what data-loader workers and evaluations draw from them when they start.

    Args:
        whisper: The model and its processor.
        args: ``Seq2SeqTrainingArguments``.
        train_dataset, evaluation: What is trained on and what the evaluations transcribe.
        padding: How long the model's input is, in both.
        batches: The training set in its order (H5).
        buckets: The run's age buckets.
        callbacks: In the order in which they are to be called; freezing (H3) is one.
        signals: Asked at every step, and at every batch of a transcription, whether the run is to stop.
    """

    train_dataset: ChildSpeechDataset

    def __init__(
        self,
        whisper: Whisper,
        args: TrainingArguments,
        train_dataset: ChildSpeechDataset,
        evaluation: ChildSpeechDataset,
        padding: Padding,
        batches: EpochBatches,
        buckets: AgeBuckets,
        callbacks: list[TrainerCallback],
        signals: StopSignals,
    ):
        self.whisper = whisper
        self.processor = whisper.processor
        self.scoring = scoring(whisper.processor, whisper.language)
        self.evaluation = evaluation
        self.padding = padding
        self.batches = batches
        batches.current_epoch = lambda: int(self.state.epoch or 0)
        self.buckets = buckets
        #: How long training has waited for its data, and how long its steps have taken.
        self.waited_sec = self.stepped_sec = 0.0
        self.signals = signals
        self.checkpoints = CheckpointFolder(Path(args.output_dir or ""))
        self.run_dir = self.checkpoints.path.parent
        self._with_loss = True
        self._heard: tuple[int, list[Prediction]] = (0, [])  # by the newest evaluation, and its step
        self._batch = 0  # in the step, where gradients are accumulated
        self._diverged: list[str] | None = None
        self._continued_from: Path | None = None
        self._logged: dict[str, float | None] = {}  # gradient norm and learning rate of the newest step
        super().__init__(
            model=whisper.model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=evaluation,
            data_collator=Collator(whisper.model.config.decoder_start_token_id, padding.mask),
            processing_class=whisper.processor,
            compute_metrics=self._eval_metrics,
            callbacks=[*callbacks, LogCallback(self), ContinueCallback(self)],
        )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        if sys.stderr.isatty():
            self.add_callback(ProgressBar())

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> EpochBatches:
        return self.batches

    def get_batch_samples(self, *arguments: Any) -> Any:
        """As in the Trainer; the time that training waits for its data is added up."""
        start = time.perf_counter()
        samples = super().get_batch_samples(*arguments)
        self.waited_sec += time.perf_counter() - start
        return samples

    def _get_dataloader(self, *arguments: Any, **options: Any) -> DataLoader[Any]:
        loader = super()._get_dataloader(*arguments, **options)
        if loader.num_workers:
            loader.worker_init_fn = shield_worker  # what a loader that skips batches is made from
            getattr(loader, "base_dataloader", loader).worker_init_fn = shield_worker  # what accelerate's loader iterates
        wrapper: Any = loader.batch_sampler
        if getattr(wrapper, "batch_sampler", None) is self.batches:
            wrapper.batch_size = None  # else accelerate passes over batches that are smaller, as the share of a process is
        return loader

    def first_process(self, value: Any) -> Any:
        """What the first of several processes has, in all of them."""
        if self.args.world_size > 1:
            (value,) = broadcast_object_list([value])
        return value

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end, from the start or from a checkpoint; afterwards the model is the one that the run keeps.

        A checkpoint at which training had already ended, by its length or by early stopping, is not trained any further.

        Raises:
            Stopped: After a signal; what is trained is saved.
            KidasrError: If the loss becomes NaN or infinite, a checkpoint can't be written, or memory does not suffice.
        """
        # Zero-shot transcription has left the model prepared for evaluation, and accelerate prepares none twice: of several
        # processes each would train on its own.
        setattr(self.whisper.model, "_is_accelerate_prepared", False)  # noqa: B010, of no type that mypy knows
        self.accelerator._models.clear()
        self._continued_from = checkpoint
        with explain_out_of_memory("training", self.args):
            if checkpoint is None:
                self.train()
                return
            log.info("continuing from %s", checkpoint)
            self._check_processes(checkpoint)
            state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
            if checkpoint != self.checkpoints.planned(state.global_step) or not self._had_ended(state):
                self.train(resume_from_checkpoint=str(checkpoint))
                return
        log.info("training had ended at step %d", state.global_step)
        best = self.checkpoints.best_of(checkpoint)
        state.best_model_checkpoint = str(best) if best else None
        self.state = state
        self._load_from_checkpoint(str(best or checkpoint))

    def _check_processes(self, checkpoint: Path) -> None:
        processes = read_json(checkpoint / LOOP_STATE)["processes"]
        if processes != self.args.world_size:
            raise KidasrError(
                f"{checkpoint}: trained by {processes} process(es), continued by {self.args.world_size}, whose batches are "
                "others; expected: as many"
            )

    def _init_training_state(self, *arguments: Any) -> Any:
        """As in the Trainer; the best model so far is looked for where the run's folder is now."""
        started = super()._init_training_state(*arguments)
        if self._continued_from is not None:
            best = self.checkpoints.best_of(self._continued_from)
            self.state.best_model_checkpoint = str(best) if best else None
        return started

    def continue_within_step(self) -> None:
        """Take up the sum of the losses since the last entry of the log, and do what the stopped step had left to do:
        log, evaluate, save. For a run that continues."""
        if self._continued_from is None:
            return
        progress = read_json(self._continued_from / LOOP_STATE)
        self._tr_loss = torch.tensor(progress["loss_sums"][self.args.process_index], device=self.args.device)
        self._globalstep_last_logged = progress["last_logged_step"]
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            rest = (progress["grad_norm"], self.model_wrapped, None, int(self.state.epoch), None, time.time())
            self._maybe_log_save_evaluate(self._tr_loss, *rest, learning_rate=progress["learning_rate"])

    def _run_epoch(self, *arguments: Any, **options: Any) -> None:
        if not self.control.should_training_stop:  # by what was left to do of the step before
            super()._run_epoch(*arguments, **options)

    def begin_step(self) -> None:
        """Make what is random in the step a pure function of (seed, step, process)."""
        self._batch = 0
        set_seed(seed_for("step", self.args.seed, self.state.global_step, self.args.process_index) % 2**32)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """None is saved; see :meth:`begin_step`."""

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **options)
        if self._diverged is None and not math.isfinite(loss.item()):
            self._diverged = self.batches.utterance_ids(int(self.state.epoch or 0), self._batches_before() + self._batch)
        self._batch += 1
        return loss

    def _batches_before(self) -> int:
        """Batches of this epoch in the steps before this one."""
        accumulated = self.args.gradient_accumulation_steps
        return self.state.global_step % math.ceil(len(self.batches) / accumulated) * accumulated

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, *arguments: Any, learning_rate: float | None = None, **options: Any
    ) -> None:
        """As in the Trainer, where a step has ended; here a run stops, by a signal or since its loss is no number."""
        grad_norm = grad_norm.item() if isinstance(grad_norm, torch.Tensor) else grad_norm
        self._logged = {"grad_norm": grad_norm, "learning_rate": learning_rate}
        self._stop_if_diverged()
        try:
            self.stop_if_asked()
            options["learning_rate"] = learning_rate
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, *arguments, **options)
            self.stop_if_asked()
        except Stopped:
            step = self.state.global_step
            if not (self.checkpoints.stopped(step).exists() or self.checkpoints.planned(step).exists()):
                self._write_checkpoint(self.checkpoints.stopped(step))
            raise

    def stop_if_asked(self) -> None:
        """Stop all processes at the same place if one of them was asked to.

        Raises:
            Stopped: If so.
        """
        if self._in_any_process(self.signals.received is not None):
            raise Stopped(self.signals.received or "a signal to another process")

    def _in_any_process(self, fact: bool) -> bool:
        if self.args.world_size == 1:
            return fact
        facts = self.accelerator.reduce(torch.tensor(float(fact), device=self.args.device), reduction="sum")
        return bool(facts > 0)

    def _stop_if_diverged(self) -> None:
        if not self._in_any_process(self._diverged is not None):
            return
        utterances = self._diverged or []
        if self.args.world_size > 1:
            utterances = gather_object(utterances)
        self._raise_diverged(f"the loss became NaN or infinite on the batch of utterances {', '.join(utterances)}")

    def _raise_diverged(self, what: str) -> None:
        raise KidasrError(
            f"step {self.state.global_step}: {what}; {self._last_good()}; expected: a lower optim.learning_rate, a longer "
            "schedule.warmup_steps, a lower optim.max_grad_norm, trainer.fp16=false"
        )

    def _last_good(self) -> str:
        newest = self.checkpoints.newest_name()
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As in the Trainer, but whole or not at all, and written by the first process alone."""
        planned = self.checkpoints.planned(self.state.global_step)
        # The Trainer's rule: the best evaluation's model is the best if that step was saved.
        best = self.checkpoints.planned(self.state.best_global_step or 0)
        if best == planned or best.exists():
            self.state.best_model_checkpoint = str(best)
        self.control.should_save = False  # it is done, as far as a run is concerned that continues from it
        self._write_checkpoint(planned)
        if self.args.should_save:
            kept = self.state.best_model_checkpoint
            self.checkpoints.rotate(self.args.save_total_limit or 1, Path(kept) if kept else None)

    def _write_checkpoint(self, path: Path) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.whisper.model.parameters()):
            self._raise_diverged("the weights became NaN or infinite")
        self.store_flos()
        progress = {
            "processes": self.args.world_size,
            "loss_sums": self.accelerator.gather(self._tr_loss.reshape(1)).tolist(),
            "last_logged_step": self._globalstep_last_logged,
            **self._logged,
        }
        with self._first_process_writes(f"checkpoint of step {self.state.global_step}"):
            if self.args.should_save:
                with self.checkpoints.written(path) as folder:
                    self._save(str(folder))
                    self._save_optimizer_and_scheduler(str(folder))
                    self._save_scaler(str(folder))
                    write_json(folder / LOOP_STATE, progress)
                    if self._heard[0] == self.state.global_step:
                        write_predictions(folder / HEARD, self._heard[1])
                    callbacks = [*self.callback_handler.callbacks, self.control]
                    states: Any = {type(one).__name__: one.state() for one in callbacks if isinstance(one, ExportableState)}
                    self.state.stateful_callbacks = states
                    self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

    @contextmanager
    def _first_process_writes(self, what: str) -> Iterator[None]:
        """All processes wait until the first has written, and fail where it does."""
        error: KidasrError | None = None
        try:
            with explain_io_errors(self.checkpoints.path, what, self._checkpoint_bytes(), self._last_good()):
                yield
        except KidasrError as told:
            error = told
        text = self.first_process(str(error) if error else None)
        if text is not None:
            raise error or KidasrError(text)

    def _checkpoint_bytes(self) -> int:
        """About what a checkpoint takes: the weights and what the optimizer keeps of each."""
        assert self.optimizer is not None, "there is one as long as it trains"
        tensors = [one for state in self.optimizer.state.values() for one in state.values() if torch.is_tensor(one)]
        return sum(one.numel() * one.element_size() for one in (*self.whisper.model.parameters(), *tensors))

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint or "")
        fault = self.first_process(damage(best) if self.args.should_save else None)
        if fault is not None:
            raise KidasrError(f"{best}, the best model, is damaged: {fault}; the same command trains it again")
        super()._load_best_model()

    @staticmethod
    def _had_ended(state: TrainerState) -> bool:
        callbacks: Any = state.stateful_callbacks  # as read from a file: by name
        stopping = callbacks.get("EarlyStoppingCallback")
        out_of_patience = isinstance(stopping, dict) and (
            stopping["attributes"]["early_stopping_patience_counter"] >= stopping["args"]["early_stopping_patience"]
        )
        return out_of_patience or state.global_step >= state.max_steps

    def _eval_metrics(self, output: EvalPrediction) -> dict[str, float]:
        predictions = self._compare(self.evaluation, output.predictions)
        self._heard = (self.state.global_step, predictions)  # goes into the checkpoint of this step; see evaluated()
        result = score(predictions, self.buckets)
        by_age = {f"wer_{name}": rates["wer"] for name, rates in result["by_age"].items()}
        metrics = {"wer": result["wer"], "cer": result["cer"], **by_age}
        return {name: rate for name, rate in metrics.items() if rate is not None}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over all tokens of an optimizer step, whatever batches the step is made of.

        Whisper's own loss is the mean over the tokens of one batch. The Trainer takes a model whose ``forward`` has
        ``**kwargs`` to divide by ``num_items_in_batch`` itself, which Whisper does not do: accumulated gradients would be
        as many times too large as there are batches in a step.
        """
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * ((inputs["labels"] != IGNORED_LABEL).sum() / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **_: Any) -> Any:
        if not self._with_loss:  # the loss takes the encoder a second time
            inputs = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        self.stop_if_asked()
        with explain_out_of_memory("transcribing", self.args):
            return super().prediction_step(model, inputs, *arguments, **self._bound(inputs["input_features"].shape[-1]))

    def _bound(self, frames: int) -> dict[str, Any]:
        """Arguments of ``generate`` that bound the transcripts of a batch shorter than the window."""
        extractor = self.processor.feature_extractor
        if frames == extractor.nb_max_frames:
            return {}
        bound = math.ceil(frames * extractor.hop_length / SAMPLE_RATE_HZ * self.padding.max_new_tokens_per_sec)
        longest = self._gen_kwargs.get("max_length") or self.whisper.model.config.max_target_positions
        return {**self._gen_kwargs, "max_length": None, "max_new_tokens": min(bound, longest - len(self.whisper.prompt))}

    def transcribe(self, dataset: ChildSpeechDataset) -> list[Prediction]:
        """Transcribe a set with the model as it is now, greedily, and count the errors."""
        self.compute_metrics, metrics = None, self.compute_metrics
        self._with_loss = False
        try:
            output = self.predict(dataset)
        finally:
            self.compute_metrics, self._with_loss = metrics, True
        return self._compare(dataset, output.predictions)

    def evaluated(self, step: int) -> list[Prediction] | None:
        """What the evaluation at a step heard; None if there was none, or no checkpoint of its step."""
        path = self.checkpoints.planned(step) / HEARD
        return self.first_process(read_predictions(path) if self.args.should_save and path.exists() else None)

    def _compare(self, dataset: ChildSpeechDataset, token_ids: Any) -> list[Prediction]:
        # Several processes transcribe as many each: what fills up the last batch comes after all others.
        own = np.asarray(token_ids)[: len(dataset)]
        return compare(dataset.utterances, transcripts(own, self.processor), self.scoring)


class ContinueCallback(TrainerCallback):
    """Calls the trainer where a run begins that continues, and where a step does.

    Args:
        trainer: Whose run it is.
    """

    def __init__(self, trainer: ChildSpeechTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.continue_within_step()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.begin_step()


class LogCallback(TrainerCallback):
    """Logs in words: what trains, losses, learning rate, WER at every evaluation, and how long a step took.

    Args:
        trainer: Whose run it is.
    """

    def __init__(self, trainer: ChildSpeechTrainer):
        self.trainer = trainer
        self._first_step, self._begun = 0, 0.0
        self._wer: float | None = None  # of the newest evaluation
        self._told = float("-inf")  # when it was written how far training is

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            log.info("%s", component_table(components(model), args.learning_rate).text())
        self._first_step = state.global_step
        self._wer = next((row["eval_wer"] for row in reversed(state.log_history) if "eval_wer" in row), None)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        now = time.perf_counter()
        self.trainer.stepped_sec += now - self._begun
        if state.is_world_process_zero and now - self._told > TOLD_SEC:
            self._told = now
            self._write_progress(state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        steps = state.global_step - self._first_step
        if state.is_world_process_zero:
            self._write_progress(state)
        if state.is_world_process_zero and steps:
            waited_sec = self.trainer.waited_sec
            total_sec = self.trainer.stepped_sec + waited_sec
            log.info(
                "training: %.2f s a step, %s of it waiting for data", total_sec / steps, percent(waited_sec / total_sec)
            )

    def _write_progress(self, state: TrainerState) -> None:
        rate = self.trainer.scoring.rate
        write_progress(self.trainer.run_dir, step=state.global_step, max_steps=state.max_steps, wer=self._wer, rate=rate)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        where = f"step {state.global_step}/{state.max_steps}"
        if "eval_wer" in logs:
            by_age = ", ".join(
                f"{name.removeprefix('eval_wer_')}: {percent(rate)}"
                for name, rate in logs.items()
                if name.startswith("eval_wer_")
            )
            self._wer = logs["eval_wer"]
            rate = self.trainer.scoring.rate
            log.info("%s: %s %s (%s), loss %.3f", where, rate, percent(logs["eval_wer"]), by_age, logs["eval_loss"])
        elif "loss" in logs:
            log.info("%s: training loss %.3f, learning rate %.2e", where, logs["loss"], logs["learning_rate"])


class ProgressBar(ProgressCallback):
    """transformers' progress bars; what is logged is :class:`LogCallback`'s to write."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        pass
