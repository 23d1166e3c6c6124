"""The pretrained model's loss on the training set: computed once, and kept for resumed runs and the runs of a sweep."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list

from kidasr.batching.training_set import Values
from kidasr.corpus.manifest import Utterance
from kidasr.runs.files import TRAINING_LOSSES, read_json, write_json

log = logging.getLogger(__name__)


class PretrainedLosses:
    """Computes the losses of a set, unless a file has them.

    Args:
        utterances: The training set.
        run_dir: The folder of the run, whose file a resumed run reads.
        shared_in: The folder of the sweep that the run belongs to; None for a run by itself.
        depends_on: All that the losses depend on, besides the utterances. Only runs with the same share a file.
        writes: Whether this process writes the files.
        processes: The number of processes.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        run_dir: Path,
        shared_in: Path | None,
        depends_on: Mapping[str, Any] | None,
        writes: bool,
        processes: int,
    ):
        self.utterances, self.writes, self.processes = utterances, writes, processes
        self.files = [run_dir / TRAINING_LOSSES]
        if shared_in is not None:
            what = [(one.utterance_id, one.audio_key, one.text) for one in utterances]
            content = json.dumps({**(depends_on or {}), "utterances": what}, sort_keys=True, default=str)
            self.files.append(shared_in / f"training_losses-{sha256(content.encode()).hexdigest()[:8]}.json")

    def __call__(self, compute: Callable[[], Values]) -> Values:
        """The loss of each utterance, in nats per token, shape ``(utterances,)``; the same in all processes.

        Args:
            compute: Computes them, in all processes together.
        """
        known = self._read() if self.writes else None
        if self.processes > 1:
            (known,) = broadcast_object_list([known])
        losses = compute() if known is None else np.array(known, dtype=np.float64)
        if self.writes:
            content = {"utterance_ids": self._ids(), "losses": losses.tolist()}
            for path in self.files:
                if known is None or not path.exists():
                    write_json(path, content, indent=None)
        easiest, middle, hardest = np.quantile(losses, (0.1, 0.5, 0.9))
        log.info(
            "curriculum: the pretrained model's loss on the training set is %.2f nats per token (median); a tenth is below "
            "%.2f, a tenth above %.2f",
            middle,
            easiest,
            hardest,
        )
        return losses

    def _ids(self) -> list[str]:
        return [one.utterance_id for one in self.utterances]

    def _read(self) -> list[float] | None:
        """The losses in the first file that has them."""
        for path in self.files:
            try:
                content = read_json(path) if path.exists() else None
                if content is not None and content["utterance_ids"] == self._ids():
                    log.info("curriculum: using the losses in %s", path)
                    losses: list[float] = content["losses"]
                    return losses
            except (ValueError, KeyError, TypeError):
                log.warning("%s can't be read; computing the losses again", path)
        return None
