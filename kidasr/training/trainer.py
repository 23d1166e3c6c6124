"""The Trainer, with kidasr's order, its scores and its log."""

import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from transformers import (
    EvalPrediction,
    PrinterCallback,
    ProgressCallback,
    Seq2SeqTrainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from kidasr.corpus.age import AgeBuckets
from kidasr.features.audio import SAMPLE_RATE_HZ
from kidasr.features.batch import IGNORED_LABEL, Collator, EpochBatches
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.log_mel import Padding
from kidasr.model.components import components
from kidasr.model.whisper import Whisper
from kidasr.recognition.decode import transcripts
from kidasr.recognition.score import Prediction, compare, score, whisper_normalizer
from kidasr.report.tables import component_table, percent

log = logging.getLogger(__name__)

#: What Whisper's transcripts begin with, at most: start, language, task, no timestamps.
PREFIX_TOKENS = 4


class ChildSpeechTrainer(Seq2SeqTrainer):
    """``Seq2SeqTrainer`` that draws utterances in the curriculum's order and scores WER by age.

    Args:
        whisper: The model and its processor.
        args: ``Seq2SeqTrainingArguments``.
        train_dataset, evaluation: What is trained on and what the evaluations transcribe.
        padding: How long the model's input is, in both.
        batches: The training set in its order (H5).
        buckets: The run's age buckets.
        callbacks: In the order in which they are to be called; freezing (H3) is one.
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
    ):
        self.whisper = whisper
        self.processor = whisper.processor
        self.normalize: Callable[[str], str] = whisper_normalizer(whisper.processor, whisper.is_english)
        self.evaluation = evaluation
        self.padding = padding
        self.batches = batches
        batches.current_epoch = lambda: int(self.state.epoch or 0)
        self.buckets = buckets
        #: How long training has waited for its data, and how long its steps have taken.
        self.waited_sec = self.stepped_sec = 0.0
        self._with_loss = True
        self._evaluated: dict[int, list[Prediction]] = {}
        super().__init__(
            model=whisper.model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=evaluation,
            data_collator=Collator(whisper.model.config.decoder_start_token_id, padding.mask),
            processing_class=whisper.processor,
            compute_metrics=self._eval_metrics,
            callbacks=[*callbacks, LogCallback(self)],
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

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end, from the start or from a checkpoint; afterwards the model is the one that the run keeps.

        A checkpoint at which training had already ended, by its length or by early stopping, is not trained any further.
        """
        # Zero-shot transcription has left the model prepared for evaluation, and accelerate prepares none twice: of several
        # processes each would train on its own.
        setattr(self.whisper.model, "_is_accelerate_prepared", False)  # noqa: B010, of no type that mypy knows
        self.accelerator._models.clear()
        if checkpoint is None:
            self.train()
            return
        log.info("continuing from %s", checkpoint)
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        if not self._had_ended(state):
            self.train(resume_from_checkpoint=str(checkpoint))
            return
        log.info("training had ended at step %d", state.global_step)
        self.state = state
        self._load_from_checkpoint(state.best_model_checkpoint or str(checkpoint))

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
        # Of the evaluations whose checkpoint is kept one may turn out the best; see evaluated().
        checkpoints = Path(self.args.output_dir or "")
        kept = {step: old for step, old in self._evaluated.items() if (checkpoints / f"checkpoint-{step}").is_dir()}
        self._evaluated = {**kept, self.state.global_step: predictions}
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
        return super().prediction_step(model, inputs, *arguments, **self._bound(inputs["input_features"].shape[-1]))

    def _bound(self, frames: int) -> dict[str, Any]:
        """Arguments of ``generate`` that bound the transcripts of a batch shorter than the window."""
        extractor = self.processor.feature_extractor
        if frames == extractor.nb_max_frames:
            return {}
        bound = math.ceil(frames * extractor.hop_length / SAMPLE_RATE_HZ * self.padding.max_new_tokens_per_sec)
        longest = self._gen_kwargs.get("max_length") or self.whisper.model.config.max_target_positions
        return {**self._gen_kwargs, "max_length": None, "max_new_tokens": min(bound, longest - PREFIX_TOKENS)}

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
        """What the evaluation at a step heard; None if there was none, or it was before a resume."""
        return self._evaluated.get(step)

    def _compare(self, dataset: ChildSpeechDataset, token_ids: Any) -> list[Prediction]:
        # Several processes transcribe as many each: what fills up the last batch comes after all others.
        own = np.asarray(token_ids)[: len(dataset)]
        return compare(dataset.utterances, transcripts(own, self.processor), self.normalize)


class LogCallback(TrainerCallback):
    """Logs in words: what trains, losses, learning rate, WER at every evaluation, and how long a step took.

    Args:
        trainer: Whose run it is.
    """

    def __init__(self, trainer: ChildSpeechTrainer):
        self.trainer = trainer
        self._first_step, self._begun = 0, 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            log.info("%s", component_table(components(model), args.learning_rate).text())
        self._first_step = state.global_step

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.stepped_sec += time.perf_counter() - self._begun

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        steps = state.global_step - self._first_step
        if state.is_world_process_zero and steps:
            waited_sec = self.trainer.waited_sec
            total_sec = self.trainer.stepped_sec + waited_sec
            log.info(
                "training: %.2f s a step, %s of it waiting for data", total_sec / steps, percent(waited_sec / total_sec)
            )

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
            log.info("%s: WER %s (%s), loss %.3f", where, percent(logs["eval_wer"]), by_age, logs["eval_loss"])
        elif "loss" in logs:
            log.info("%s: training loss %.3f, learning rate %.2e", where, logs["loss"], logs["learning_rate"])


class ProgressBar(ProgressCallback):
    """transformers' progress bars; what is logged is :class:`LogCallback`'s to write."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        pass
