"""Transcribing sets with a model and counting the errors, with one process or several."""

import sys
from functools import partial
from typing import Any, Protocol

from accelerate.utils import broadcast_object_list, gather_object
from transformers import TrainingArguments

from kidasr.errors import Stopped
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.recogniser import Recogniser, Scoring
from kidasr.recognition.score import Prediction, compare
from kidasr.recognition.transcribe import Transcriber
from kidasr.training.memory import explain_out_of_memory
from kidasr.training.stopping import StopSignals, shield_worker


class Scorer(Protocol):
    """What scores a model; the Trainer of a run is one, too."""

    args: TrainingArguments
    recogniser: Recogniser
    scoring: Scoring

    def first_process(self, value: Any) -> Any:
        """Broadcast a value from the first process to all."""

    def transcribe(self, dataset: ChildSpeechDataset) -> list[Prediction]:
        """Transcribe a set with the model, and count the errors."""


class ModelScorer:
    """Scores a model that is not trained.

    Args:
        recogniser: The model. It is moved to the device.
        args: Device and processes.
        transcriber: Makes the transcripts.
        signals: Checked before each batch, to stop the run.
    """

    def __init__(
        self, recogniser: Recogniser, args: TrainingArguments, transcriber: partial[Transcriber], signals: StopSignals
    ):
        self.recogniser, self.args, self.scoring = recogniser, args, recogniser.scoring
        recogniser.model.to(args.device)
        self.transcriber = transcriber(
            device=args.device,
            processes=args.world_size,
            process=args.process_index,
            stop=lambda: stop_if_asked(signals, args),
            show_progress=sys.stderr.isatty() and args.process_index == 0,
            worker_init=shield_worker,
        )

    def first_process(self, value: Any) -> Any:
        """Broadcast a value from the first process to all."""
        if self.args.world_size > 1:
            (value,) = broadcast_object_list([value])
        return value

    def transcribe(self, dataset: ChildSpeechDataset) -> list[Prediction]:
        """Transcribe a set with the model, and count the errors."""
        with explain_out_of_memory("transcribing", self.args):
            return compare(dataset.utterances, self.transcriber(dataset).texts, self.scoring)


def stop_if_asked(signals: StopSignals, args: TrainingArguments) -> None:
    """Stop all processes at the same place if any of them got a signal.

    Raises:
        Stopped: If one did.
    """
    received = [signals.received]
    if args.world_size > 1:
        received = gather_object(received)
    if by := next(filter(None, received), None):
        raise Stopped(by)
