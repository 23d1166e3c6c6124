"""The pretrained model's loss on the training set: computed once, and kept for resumed runs and the runs of a sweep."""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainingArguments

from kidasr.batching.training_set import Values
from kidasr.corpus.manifest import Utterance
from kidasr.features.augment import Augmentations
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.features.padding import Padding
from kidasr.features.recogniser import Recogniser
from kidasr.recognition.token_loss import token_losses
from kidasr.runs.files import TRAINING_LOSSES, read_json, write_json
from kidasr.training.memory import explain_out_of_memory
from kidasr.training.scorer import stop_if_asked
from kidasr.training.stopping import StopSignals, shield_worker

log = logging.getLogger(__name__)


class PretrainedLosses:
    """Computes the losses of a training set, unless a file has them.

    Args:
        run_dir: The folder of the run, whose file a resumed run reads.
        shared_in: The folder of the sweep that the run belongs to; None for a run by itself.
        depends_on: The model, precision and environment. Only runs with the same share a file.
        arguments: Batch size, device and processes.
        autocast: Half-precision type; None for full precision.
        signals: Checked before each batch, to stop the run.
    """

    def __init__(
        self,
        run_dir: Path,
        shared_in: Path | None,
        depends_on: Mapping[str, Any] | None,
        arguments: TrainingArguments,
        autocast: torch.dtype | None,
        signals: StopSignals,
    ):
        self.run_dir, self.shared_in, self.depends_on = run_dir, shared_in, depends_on
        self.arguments, self.autocast, self.signals = arguments, autocast, signals

    def __call__(
        self, utterances: Sequence[Utterance], recogniser: Recogniser, padding: Padding, lower_case: bool
    ) -> Values:
        """The loss of each utterance, in nats per token, shape ``(utterances,)``; the same in all processes.

        Raises:
            Stopped: After a signal.
        """
        writes, files = self.arguments.should_save, self._files(utterances, padding, lower_case)
        ids = [one.utterance_id for one in utterances]
        known = _read(files, ids) if writes else None
        if self.arguments.world_size > 1:
            (known,) = broadcast_object_list([known])
        losses = self._compute(utterances, recogniser, padding, lower_case) if known is None else np.array(known)
        if writes:
            for path in files:
                if known is None or not path.exists():
                    write_json(path, {"utterance_ids": ids, "losses": losses.tolist()}, indent=None)
        log.info(
            "curriculum: the pretrained model's loss on the training set is %.2f nats per token (median); a tenth is below "
            "%.2f, a tenth above %.2f",
            *np.quantile(losses, (0.5, 0.1, 0.9)),
        )
        return losses

    def _files(self, utterances: Sequence[Utterance], padding: Padding, lower_case: bool) -> list[Path]:
        """The run's own file and that of the sweep, whose name is a checksum of all that the losses depend on."""
        own = self.run_dir / TRAINING_LOSSES
        if self.shared_in is None:
            return [own]
        what = {
            **(self.depends_on or {}),
            "padding": vars(padding),
            "lower_case": lower_case,
            "utterances": [(one.utterance_id, one.audio_key, one.text) for one in utterances],
        }
        checksum = sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:8]
        return [own, self.shared_in / f"training_losses-{checksum}.json"]

    def _compute(
        self, utterances: Sequence[Utterance], recogniser: Recogniser, padding: Padding, lower_case: bool
    ) -> Values:
        log.info("curriculum: computing the pretrained model's loss on the training set")
        shortest_first = np.argsort([one.known_duration_sec for one in utterances], kind="stable")
        # With no augmentation rather than without one, so that the features are not kept for other runs.
        dataset = ChildSpeechDataset(
            [utterances[place] for place in shortest_first],
            recogniser,
            Augmentations({}),
            lower_case=lower_case,
            padding=padding,
        )
        arguments = self.arguments
        with explain_out_of_memory("transcribing", arguments):
            found = token_losses(
                dataset,
                recogniser,
                arguments.per_device_eval_batch_size,
                arguments.device,
                self.autocast,
                arguments.dataloader_num_workers,
                shield_worker,
                arguments.world_size,
                arguments.process_index,
                lambda: stop_if_asked(self.signals, arguments),
                show_progress=sys.stderr.isatty() and arguments.process_index == 0,
            )
        losses = np.empty(len(utterances))
        losses[shortest_first] = found
        return losses


def _read(files: Sequence[Path], utterance_ids: Sequence[str]) -> list[float] | None:
    """The losses in the first file that has those of these utterances."""
    for path in files:
        try:
            content = read_json(path) if path.exists() else None
            if content is not None and content["utterance_ids"] == utterance_ids:
                losses: list[float] = content["losses"]
                log.info("curriculum: using the losses in %s", path)
                return losses
        except (ValueError, KeyError, TypeError):
            log.warning("%s can't be read; computing the losses again", path)
    return None
