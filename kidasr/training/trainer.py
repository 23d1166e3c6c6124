"""The Trainer, with kidasr's order of utterances, objectives and scoring."""

import logging
import math
import sys
import time
from collections.abc import Sequence
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
from kidasr.model.age_groups import AGE_GROUPS
from kidasr.recognition.predictions import read_predictions
from kidasr.recognition.score import Prediction, compare, is_runaway, score
from kidasr.recognition.transcribe import Transcriber, Transcription
from kidasr.training.average import Average
from kidasr.training.checkpoint import ERRORS, RUNAWAYS
from kidasr.training.layer_decay import decay_rates, names_of
from kidasr.training.log import LogCallback, ProgressBar
from kidasr.training.memory import explain_out_of_memory
from kidasr.training.objective import Objective, Step
from kidasr.training.own_weights import OwnWeights
from kidasr.training.resume import TRANSCRIPTS, ExactResumeTrainer
from kidasr.training.stopping import StopSignals, shield_worker

log = logging.getLogger(__name__)


class ChildSpeechTrainer(ExactResumeTrainer):
    """Draws utterances in the curriculum's order, and scores WER by age.

    Args:
        recogniser: The recogniser to train.
        args: ``TrainingArguments``.
        train_dataset, evaluation: The training set, and the set that evaluations transcribe.
        batches: The batches of the training set, in order (H5).
        buckets: The run's age buckets.
        callbacks: Called in this order; freezing (H3) is one of them.
        signals: Checked at every step and every batch of a transcription, to stop the run.
        transcriber: Makes transcripts in evaluations, and before and after training.
        objective: The training loss; None for the recogniser's own.
        eval_loss: Whether evaluations compute the recogniser's own loss as well.
        average: The average of weights that the run keeps; None for the best checkpoint.
        own_weights: The only weights that checkpoints contain; None for all.
        layer_decay: See :mod:`kidasr.training.layer_decay`; 1 for the same learning rate everywhere.
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
        eval_loss: bool = False,
        average: Average | None = None,
        own_weights: OwnWeights | None = None,
        layer_decay: float = 1.0,
    ):
        self.layer_decay = layer_decay
        self.recogniser = recogniser
        self.objective: Objective | None = objective
        self.eval_loss = eval_loss
        self.scoring = recogniser.scoring
        self.evaluation = evaluation
        self.batches = batches
        batches.current_epoch = lambda: int(self.state.epoch or 0)
        self.buckets = buckets
        #: Time spent waiting for data, and time spent in steps.
        self.waited_sec = self.stepped_sec = 0.0
        self.signals = signals
        #: The losses of the step's batches, on the device, each with its epoch and number.
        self._losses: list[tuple[torch.Tensor, int, int]] = []
        super().__init__(
            args,
            average=average,
            model=recogniser.model,
            train_dataset=train_dataset,
            eval_dataset=evaluation,
            data_collator=Collator(recogniser, train_dataset.padding),
            callbacks=[*callbacks, LogCallback(self)],
            own_weights=own_weights,
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

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """As in the Trainer, with a learning rate for each layer if they differ."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new and self.layer_decay != 1.0:
            optimizer.param_groups = decay_rates(optimizer.param_groups, names_of(self.model), self.layer_decay)
            rates = [group["lr"] for group in optimizer.param_groups]
            log.info("layer-wise learning rates: from %.2e in the last layers to %.2e before the first", rates[0], rates[-1])
        return optimizer

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> EpochBatches:
        return self.batches

    def get_batch_samples(self, *arguments: Any) -> Any:
        """As in the Trainer, and measure the time spent waiting for data."""
        start = time.perf_counter()
        samples = super().get_batch_samples(*arguments)
        self.waited_sec += time.perf_counter() - start
        return samples

    def _get_dataloader(self, *arguments: Any, **options: Any) -> DataLoader[Any]:
        loader = super()._get_dataloader(*arguments, **options)
        if loader.num_workers:
            loader.worker_init_fn = shield_worker  # for the loader that skips batches on resume
            getattr(loader, "base_dataloader", loader).worker_init_fn = shield_worker  # for the one that accelerate iterates
        wrapper: Any = loader.batch_sampler
        if getattr(wrapper, "batch_sampler", None) is self.batches:
            wrapper.batch_size = None  # otherwise accelerate skips smaller batches, such as the share of one process
        return loader

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss = super().training_step(*arguments, **options)
        self._losses.append((loss, int(self.state.epoch or 0), self._batches_before() + self._batch))
        self._batch += 1
        return loss

    def _batches_before(self) -> int:
        """Number of this epoch's batches in earlier steps."""
        accumulated = self.args.gradient_accumulation_steps
        return self.state.global_step % math.ceil(len(self.batches) / accumulated) * accumulated

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, *arguments: Any, learning_rate: float | None = None, **options: Any
    ) -> None:
        """As in the Trainer, at the end of a step. This is where a run stops after a signal or a NaN loss."""
        grad_norm, diverged = self._read_step(grad_norm)
        self._logged = {"grad_norm": grad_norm, "learning_rate": learning_rate}
        self._stop_if_diverged(diverged)
        try:
            self.stop_if_asked()
            options["learning_rate"] = learning_rate
            if self.control.should_evaluate and self.control.should_save and not self._evaluation_starts_workers():
                self.begin_checkpoint()  # a thread writes while the evaluation runs
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, *arguments, **options)
            self.stop_if_asked()
        except Stopped:
            step = self.state.global_step
            if not (self.checkpoints.stopped(step).exists() or self.checkpoints.planned(step).exists()):
                self._write_checkpoint(self.checkpoints.stopped(step))
            raise
        finally:
            self.discard_unfinished()

    def _evaluation_starts_workers(self) -> bool:
        """Whether the next evaluation forks its data-loader workers. They would hold a file open that is being written, and
        its space until they end, even if it is deleted."""
        return self.args.dataloader_num_workers > 0 and self.evaluated_last[0] == 0

    def _read_step(self, grad_norm: Any) -> tuple[float | None, list[str]]:
        """The gradient norm, and the utterances of the step's first batch with a NaN or infinite loss.

        They are read together, since each read waits for the GPU. The wait is part of the step.
        """
        start = time.perf_counter()
        norms = [grad_norm] if isinstance(grad_norm, torch.Tensor) else []
        read = [*(loss for loss, _, _ in self._losses), *norms]
        values = torch.stack([one.float() for one in read]).tolist() if read else []
        self.stepped_sec += time.perf_counter() - start
        places = [(epoch, number) for _, epoch, number in self._losses]
        self._losses = []
        first = next((place for place, loss in zip(places, values, strict=False) if not math.isfinite(loss)), None)
        return values[-1] if norms else grad_norm, self.batches.utterance_ids(*first) if first else []

    def stop_if_asked(self) -> None:
        """Stop all processes at the same place if any of them got a signal.

        Raises:
            Stopped: If one did.
        """
        if self._in_any_process(self.signals.received is not None):
            raise Stopped(self.signals.received or "a signal to another process")

    def _stop_if_diverged(self, utterances: list[str]) -> None:
        if not self._in_any_process(bool(utterances)):
            return
        if self.args.world_size > 1:
            utterances = gather_object(utterances)
        self._raise_diverged(f"the loss became NaN or infinite on the batch of utterances {', '.join(utterances)}")

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over all tokens of an optimizer step, however the step is divided into batches.

        Whisper's own loss is the mean over the tokens of one batch. The Trainer assumes that a model whose ``forward`` has
        ``**kwargs`` divides by ``num_items_in_batch`` itself. Whisper does not: accumulated gradients would be too large by
        a factor of the number of batches per step.
        """
        if self.objective is None:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        else:
            loss, outputs = self._objective_loss(model, inputs, num_items_in_batch)
        if num_items_in_batch is not None:
            loss = loss * ((inputs["labels"] != IGNORED_LABEL).sum() / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _objective_loss(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> tuple[torch.Tensor, Any]:
        """The objective's mean over the real tokens of a batch, scaled as the Trainer scales a model's own loss.

        A penalty is added to this mean, and so has the same scale: over the batches and processes of a step, it counts once.
        """
        assert self.objective is not None
        inputs = dict(inputs)
        durations_sec = inputs.pop("durations_sec", None)
        outputs = model(**inputs, token_logits=True)
        labels, views = inputs["labels"], self.objective.views
        step = Step(
            outputs.logits.chunk(views),
            labels[labels != IGNORED_LABEL].chunk(views)[0],
            inputs,
            outputs,
            durations_sec,
            self.state.global_step / self.state.max_steps,
            partial(self._logits_of, inputs),
        )
        loss = self.objective.token_losses(step).mean()
        penalty = self.objective.penalty(self.model)
        if penalty is not None:
            loss = loss + penalty
        if self.args.average_tokens_across_devices and self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return loss, outputs

    def _logits_of(
        self, inputs: dict[str, Any], model: torch.nn.Module, full_window: bool = False
    ) -> Sequence[torch.Tensor]:
        """See :class:`kidasr.training.objective.Step`."""
        assert self.objective is not None
        known = {name: one for name, one in inputs.items() if name != AGE_GROUPS}  # it has no adapters
        with torch.no_grad(), self.accelerator.autocast():
            known = self.recogniser.on_full_window(known) if full_window else known
            logits: torch.Tensor = model(**known, token_logits=True).logits
        return logits.chunk(self.objective.views)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Transcribe and score the evaluation set; log ``eval_wer``, ``eval_cer``, ``eval_wer_3-4``, ``eval_loss``, ..."""
        start = time.time()
        with explain_out_of_memory("transcribing", self.args):
            heard = self.transcriber(self.evaluation, with_loss=self.eval_loss, keep_workers=True)
        found = {"loss": heard.loss, **self._score_evaluation(heard), "runtime": time.time() - start}
        metrics = {f"{metric_key_prefix}_{name}": rate for name, rate in found.items() if rate is not None}
        self.log(metrics)
        # For the checkpoint's state, but not for the loggers, which take single numbers.
        logged: dict[str, Any] = self.state.log_history[-1]
        heard_last = self.evaluated_last[1]
        logged[ERRORS] = [one.errors for one in heard_last]
        looping = (is_runaway(one.normalized_reference, one.normalized_hypothesis) for one in heard_last)
        if runaways := [place for place, loops in enumerate(looping) if loops]:
            logged[RUNAWAYS] = runaways
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _score_evaluation(self, heard: Transcription) -> dict[str, float | None]:
        """Error rates by name. The transcripts are kept for the checkpoint of this step."""
        predictions = compare(self.evaluation.utterances, heard.texts, self.scoring)
        self.evaluated_last = (self.state.global_step, predictions)
        result = score(predictions, self.buckets)
        by_age = {f"wer_{name}": rates["wer"] for name, rates in result["by_age"].items()}
        return {"wer": result["wer"], "cer": result["cer"], **by_age}

    def transcribe(self, dataset: ChildSpeechDataset) -> list[Prediction]:
        """Transcribe a set with the current model, and count the errors."""
        with explain_out_of_memory("transcribing", self.args):
            return compare(dataset.utterances, self.transcriber(dataset).texts, self.scoring)

    def evaluated(self, step: int) -> list[Prediction]:
        """Transcripts of the evaluation at a step; empty if there was no evaluation or no checkpoint at that step."""
        path = self.checkpoints.planned(step) / TRANSCRIPTS
        return list(self.first_process(read_predictions(path) if self.args.should_save and path.exists() else []))
