"""The Trainer, with kidasr's order of utterances, its objective and its scores."""

import logging
import math
import sys
import time
from functools import partial
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments

from kidasr.batching.batches import EpochBatches
from kidasr.batching.collator import Collator
from kidasr.corpus.age import AgeBuckets
from kidasr.errors import Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.recogniser import IGNORED_LABEL, Recogniser
from kidasr.recognition.predictions import read_predictions
from kidasr.recognition.score import Prediction, compare, score
from kidasr.recognition.transcribe import Transcriber, Transcription
from kidasr.training.log import LogCallback, ProgressBar
from kidasr.training.memory import explain_out_of_memory
from kidasr.training.objective import Objective
from kidasr.training.resume import TRANSCRIPTS, ExactResumeTrainer
from kidasr.training.stopping import StopSignals, shield_worker

log = logging.getLogger(__name__)


class ChildSpeechTrainer(ExactResumeTrainer):
    """Draws utterances in the curriculum's order, and scores WER by age.

    Args:
        recogniser: What is trained.
        args: ``TrainingArguments``.
        train_dataset, evaluation: What is trained on and what the evaluations transcribe.
        batches: The training set in its order (H5).
        buckets: The run's age buckets.
        callbacks: In the order in which they are to be called; freezing (H3) is one.
        signals: Asked at every step, and at every batch of a transcription, whether the run is to stop.
        transcriber: Makes transcripts, in evaluations and before and after training.
        objective: What is minimised; None for the recogniser's own loss.
    """

    train_dataset: ChildSpeechDataset

    def __init__(
        self,
        recogniser: Recogniser,
        args: TrainingArguments,
        train_dataset: ChildSpeechDataset,
        evaluation: ChildSpeechDataset,
        batches: EpochBatches,
        buckets: AgeBuckets,
        callbacks: list[TrainerCallback],
        signals: StopSignals,
        transcriber: partial[Transcriber],
        objective: Objective | None = None,
    ):
        self.recogniser = recogniser
        self.objective: Objective | None = objective
        self.scoring = recogniser.scoring
        self.evaluation = evaluation
        self.batches = batches
        batches.current_epoch = lambda: int(self.state.epoch or 0)
        self.buckets = buckets
        #: How long training has waited for its data, and how long its steps have taken.
        self.waited_sec = self.stepped_sec = 0.0
        self.signals = signals
        self._diverged: list[str] | None = None
        super().__init__(
            args,
            model=recogniser.model,
            train_dataset=train_dataset,
            eval_dataset=evaluation,
            data_collator=Collator(recogniser, train_dataset.padding),
            callbacks=[*callbacks, LogCallback(self)],
        )
        self.transcriber = transcriber(
            device=args.device,
            processes=args.world_size,
            process=args.process_index,
            stop=self.stop_if_asked,
            show_progress=sys.stderr.isatty() and args.process_index == 0,
            worker_init=shield_worker,
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

    def _stop_if_diverged(self) -> None:
        if not self._in_any_process(self._diverged is not None):
            return
        utterances = self._diverged or []
        if self.args.world_size > 1:
            utterances = gather_object(utterances)
        self._raise_diverged(f"the loss became NaN or infinite on the batch of utterances {', '.join(utterances)}")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over all tokens of an optimizer step, whatever batches the step is made of.

        Whisper's own loss is the mean over the tokens of one batch. The Trainer takes a model whose ``forward`` has
        ``**kwargs`` to divide by ``num_items_in_batch`` itself, which Whisper does not do: accumulated gradients would be
        as many times too large as there are batches in a step.
        """
        if self.objective is None:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        else:
            loss, outputs = self._objective_loss(model, inputs, num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * ((inputs["labels"] != IGNORED_LABEL).sum() / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _objective_loss(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> tuple[torch.Tensor, Any]:
        """The mean of the objective over the real tokens of a batch, scaled as the Trainer scales a model's own loss."""
        assert self.objective is not None
        outputs = model(**inputs, token_logits=True)
        labels = inputs["labels"]
        targets = labels[labels != IGNORED_LABEL].chunk(self.objective.views)[0]
        loss = self.objective(outputs.logits.chunk(self.objective.views), targets).mean()
        if self.args.average_tokens_across_devices and self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return loss, outputs

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Transcribe the evaluation set, score it, log it: ``eval_wer``, ``eval_cer``, ``eval_wer_3-4``, ``eval_loss``."""
        start = time.time()
        with explain_out_of_memory("transcribing", self.args):
            heard = self.transcriber(self.evaluation, with_loss=True, keep_workers=True)
        found = {"loss": heard.loss, **self._score_evaluation(heard), "runtime": time.time() - start}
        metrics = {f"{metric_key_prefix}_{name}": rate for name, rate in found.items() if rate is not None}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _score_evaluation(self, heard: Transcription) -> dict[str, float | None]:
        """The rates by name; the transcripts go into the checkpoint of this step."""
        predictions = compare(self.evaluation.utterances, heard.texts, self.scoring)
        self.evaluated_last = (self.state.global_step, predictions)
        result = score(predictions, self.buckets)
        by_age = {f"wer_{name}": rates["wer"] for name, rates in result["by_age"].items()}
        return {"wer": result["wer"], "cer": result["cer"], **by_age}

    def transcribe(self, dataset: ChildSpeechDataset) -> list[Prediction]:
        """Transcribe a set with the model as it is now, and count the errors."""
        with explain_out_of_memory("transcribing", self.args):
            return compare(dataset.utterances, self.transcriber(dataset).texts, self.scoring)

    def evaluated(self, step: int) -> list[Prediction] | None:
        """Transcripts of the evaluation at a step; None if there was none, or no checkpoint of its step."""
        path = self.checkpoints.planned(step) / TRANSCRIPTS
        return self.first_process(read_predictions(path) if self.args.should_save and path.exists() else None)
