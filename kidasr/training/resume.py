"""Exact resume: on a CPU, a resumed run is bit-identical to an uninterrupted one."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from kidasr.durable import explain_io_errors
from kidasr.errors import KidasrError
from kidasr.recognition.predictions import write_predictions
from kidasr.recognition.score import Prediction
from kidasr.runs.files import PREDICTIONS, read_json, write_json
from kidasr.seeding import seed_for
from kidasr.training.average import Average
from kidasr.training.averaging import add_to_mean
from kidasr.training.checkpoint_folder import CheckpointFolder, UnfinishedCheckpoint, damage
from kidasr.training.memory import explain_out_of_memory
from kidasr.training.own_weights import OwnWeights

log = logging.getLogger(__name__)

#: Extra checkpoint files: logging state, evaluation transcripts.
LOOP_STATE, TRANSCRIPTS = "loop_state.json", PREDICTIONS


class ExactResumeTrainer(Trainer):
    """A Trainer whose checkpoints are complete or absent, and whose resumed runs are bit-identical to uninterrupted ones.

    Randomness within a step, mainly dropout, is a pure function of (seed, step, process). The Trainer itself saves and
    restores the state of the random generators. That is not exact, because data-loader workers and evaluations draw from
    them when they start.

    Args:
        args: ``TrainingArguments``; ``output_dir`` is the folder of the checkpoints.
        average: The average of weights that the run keeps; None for the best checkpoint.
        own_weights: The only weights that checkpoints contain, with an adapter; None for all of the model's.
        options: Other arguments of the Trainer.
    """

    model: torch.nn.Module

    def __init__(
        self,
        args: TrainingArguments,
        average: Average | None = None,
        own_weights: OwnWeights | None = None,
        **options: Any,
    ):
        average = average or Average(pretrained=0)
        self.average = average.mean()
        self._averaged_checkpoints = average.checkpoints
        self.own_weights = own_weights
        self.checkpoints = CheckpointFolder(Path(args.output_dir or ""))
        self.run_dir = self.checkpoints.path.parent
        #: Step and transcripts of the newest evaluation.
        self.evaluated_last: tuple[int, list[Prediction]] = (0, [])
        self._batch = 0  # index within the step, with gradient accumulation
        self._continued_from: Path | None = None
        self._begun = False  # whether this step's checkpoint is begun
        self._unfinished: UnfinishedCheckpoint | None = None  # that checkpoint, in the process that writes it
        self._logged: dict[str, float | None] = {}  # gradient norm and learning rate of the newest step
        super().__init__(args=args, **options)
        self.add_callback(ResumeCallback(self))
        self.add_callback(self.average)

    def first_process(self, value: Any) -> Any:
        """Broadcast a value from the first process to all."""
        if self.args.world_size > 1:
            (value,) = broadcast_object_list([value])
        return value

    def train_from(self, checkpoint: Path | None) -> None:
        """Train to the end, from scratch or from a checkpoint. Afterwards, the model is the one that the run keeps.

        If training had already ended at the checkpoint, by its length or by early stopping, it is not trained further.

        Raises:
            Stopped: After a signal; a checkpoint has been saved.
            KidasrError: If the loss becomes NaN or infinite, a checkpoint can't be written, or memory runs out.
        """
        self._continued_from = checkpoint
        with explain_out_of_memory("training", self.args):
            if checkpoint is None:
                self.train()
                return
            log.info("resuming from %s", checkpoint)
            self._check_processes(checkpoint)
            self.average.load(checkpoint, self.args.device)
            state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
            if checkpoint != self.checkpoints.planned(state.global_step) or not self._had_ended(state):
                self.train(resume_from_checkpoint=str(checkpoint))
                return
        log.info("training had already ended at step %d", state.global_step)
        best = self.checkpoints.best_of(checkpoint)
        state.best_model_checkpoint = str(best) if best else None
        self.state = state
        self._load_from_checkpoint(str(best or checkpoint))

    def _check_processes(self, checkpoint: Path) -> None:
        processes = read_json(checkpoint / LOOP_STATE)["processes"]
        if processes != self.args.world_size:
            raise KidasrError(
                f"{checkpoint}: trained by {processes} process(es), resumed by {self.args.world_size}, which would "
                f"change the batches; expected: trainer.num_processes={processes}"
            )

    def _init_training_state(self, *arguments: Any) -> Any:
        """As in the Trainer, but look up the best model in the run folder's current place."""
        started = super()._init_training_state(*arguments)
        if self._continued_from is not None:
            best = self.checkpoints.best_of(self._continued_from)
            self.state.best_model_checkpoint = str(best) if best else None
        return started

    def continue_within_step(self) -> None:
        """For a resumed run: restore the sum of losses since the last log entry, and finish the step that was interrupted
        (log, evaluate, save)."""
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
        if not self.control.should_training_stop:  # set when the interrupted step was finished
            super()._run_epoch(*arguments, **options)

    def begin_step(self) -> None:
        """Seed all generators with a pure function of (seed, step, process)."""
        self._batch = 0
        set_seed(seed_for("step", self.args.seed, self.state.global_step, self.args.process_index) % 2**32)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Does nothing: no generator state is saved, see :meth:`begin_step`."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As in the Trainer, but written completely or not at all, and only by the first process."""
        planned = self.checkpoints.planned(self.state.global_step)
        # The Trainer's rule: the best evaluation is the best model only if its step was saved.
        best = self.checkpoints.planned(self.state.best_global_step or 0)
        if best == planned or best.exists():
            self.state.best_model_checkpoint = str(best)
        self.control.should_save = False  # a run resumed from this checkpoint must not save it again
        self._write_checkpoint(planned)
        if self.args.should_save:
            kept = self.state.best_model_checkpoint
            names = [*([Path(kept).name] if kept else []), *(one.name for one in self._best_checkpoints())]
            self.checkpoints.rotate(self.args.save_total_limit or 1, names)

    def _best_checkpoints(self) -> list[Path]:
        """The checkpoints with the lowest WER, best first, as many as are averaged."""
        evaluations = {entry["step"]: entry["eval_wer"] for entry in self.state.log_history if "eval_wer" in entry}
        ranked = sorted(evaluations, key=lambda step: (evaluations[step], step))
        saved = [one for step in ranked if (one := self.checkpoints.planned(int(step))).exists()]
        return saved[: self._averaged_checkpoints]

    def average_best_checkpoints(self) -> None:
        """After training: load the checkpoints with the lowest WER one by one, and make their mean the average."""
        paths = self.first_process(self._best_checkpoints() if self.args.should_save else [])
        for path in sorted(paths, key=lambda one: int(one.name.rpartition("-")[2])):
            fault = self.first_process(damage(path) if self.args.should_save else None)
            if fault is not None:
                log.warning("%s is damaged: %s; the average is made without it", path, fault)
                continue
            self._load_from_checkpoint(str(path))
            steps = self.average.steps
            add_to_mean(self.average.mean, dict(self.model.named_parameters()), 1 / (len(steps) + 1))
            steps.append(int(path.name.rpartition("-")[2]))

    def _raise_diverged(self, what: str) -> None:
        raise KidasrError(
            f"step {self.state.global_step}: {what}; {self._last_good()}; expected: a lower optim.learning_rate, a longer "
            "schedule.warmup_steps, a lower optim.max_grad_norm, trainer.fp16=false"
        )

    def begin_checkpoint(self) -> None:
        """Write the files of this step's checkpoint that an evaluation doesn't change; a thread writes the optimizer state.

        The thread only reads tensors and writes a file. Calls into transformers stay in the main thread: saving a model sets
        fields of its config, and saving a schedule replaces Python's warning filters. The optimizer state must not be
        sharded, since gathering it takes all processes.

        Raises:
            KidasrError: If the weights are NaN or infinite, or a file can't be written.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            self._raise_diverged("the weights became NaN or infinite")
        assert self.optimizer is not None and self.lr_scheduler is not None, "exist during training"
        self._begun = True
        with self._first_process_writes():
            if self.args.should_save:
                self._unfinished = UnfinishedCheckpoint(self.checkpoints.planned(self.state.global_step))
                folder = self._unfinished.folder
                self._save(str(folder))
                self._save_scaler(str(folder))
                torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER_NAME)
                optimizer_state = self.optimizer.state_dict()

                def write() -> None:
                    torch.save(optimizer_state, folder / OPTIMIZER_NAME)
                    self.average.save(folder)

                self._unfinished.write_in_thread(write)

    def discard_unfinished(self) -> None:
        """Discard the checkpoint that was begun, if it is not finished: an evaluation failed."""
        self._begun = False
        if self._unfinished is not None:
            self._unfinished.discard()
            self._unfinished = None

    def _write_checkpoint(self, path: Path) -> None:
        if not self._begun:
            self.begin_checkpoint()
        self.store_flos()
        progress = {
            "processes": self.args.world_size,
            "loss_sums": self.accelerator.gather(self._tr_loss.reshape(1)).tolist(),
            "last_logged_step": self._globalstep_last_logged,
            **self._logged,
        }
        with self._first_process_writes():
            if self._unfinished is not None:
                self._unfinished.wait()
                folder = self._unfinished.folder
                write_json(folder / LOOP_STATE, progress)
                if self.evaluated_last[0] == self.state.global_step:
                    write_predictions(folder / TRANSCRIPTS, self.evaluated_last[1])
                callbacks = [*self.callback_handler.callbacks, self.control]
                states: Any = {type(one).__name__: one.state() for one in callbacks if isinstance(one, ExportableState)}
                self.state.stateful_callbacks = states
                self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
                self._unfinished.finish(path)
        self._begun, self._unfinished = False, None

    @contextmanager
    def _first_process_writes(self) -> Iterator[None]:
        """Let all processes wait until the first has written, and fail if it fails."""
        error: KidasrError | None = None
        what = f"checkpoint of step {self.state.global_step}"
        try:
            with explain_io_errors(self.checkpoints.path, what, self._checkpoint_bytes(), self._last_good()):
                try:
                    yield
                except BaseException:
                    self.discard_unfinished()  # before the free space is measured
                    raise
        except KidasrError as told:
            error = told
        text = self.first_process(str(error) if error else None)
        if text is not None:
            raise error or KidasrError(text)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.own_weights is None:
            super()._save(output_dir, state_dict)
        elif output_dir is not None:
            self.own_weights.save(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        if self.own_weights is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.own_weights.load(Path(resume_from_checkpoint))

    @property
    def weights_bytes(self) -> int:
        """Size of the weights in a checkpoint."""
        tensors = self.model.parameters() if self.own_weights is None else self.own_weights.tensors()
        return sum(tensor.nbytes for tensor in tensors)

    def _checkpoint_bytes(self) -> int:
        """Approximate size of a checkpoint: weights, their average and optimizer state."""
        assert self.optimizer is not None, "exists during training"
        tensors = [one for state in self.optimizer.state.values() for one in state.values() if torch.is_tensor(one)]
        tensors += self.average.mean.values()
        return self.weights_bytes + sum(one.nbytes for one in tensors)

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint or "")
        fault = self.first_process(damage(best) if self.args.should_save else None)
        if fault is not None:
            raise KidasrError(f"{best}, the best model, is damaged: {fault}; run the same command again to retrain it")
        if self.own_weights is None:
            super()._load_best_model()
        else:
            self.own_weights.load(best)

    @staticmethod
    def _had_ended(state: TrainerState) -> bool:
        callbacks: Any = state.stateful_callbacks  # read from a file: by name
        stopping = callbacks.get("EarlyStoppingCallback")
        out_of_patience = isinstance(stopping, dict) and (
            stopping["attributes"]["early_stopping_patience_counter"] >= stopping["args"]["early_stopping_patience"]
        )
        return out_of_patience or state.global_step >= state.max_steps

    def _last_good(self) -> str:
        newest = self.checkpoints.newest_name()
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"

    def _in_any_process(self, fact: bool) -> bool:
        if self.args.world_size == 1:
            return fact
        facts = self.accelerator.reduce(torch.tensor(float(fact), device=self.args.device), reduction="sum")
        return bool(facts > 0)


class ResumeCallback(TrainerCallback):
    """Calls the trainer at the start of training and of each step.

    Args:
        trainer: The run's Trainer.
    """

    def __init__(self, trainer: ExactResumeTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.continue_within_step()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.begin_step()
