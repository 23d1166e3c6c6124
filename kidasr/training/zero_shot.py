"""Scores before training: found once, and kept for resumed runs and the runs of a sweep."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.features.dataset import ChildSpeechDataset
from kidasr.recognition.doubts import doubts_before
from kidasr.recognition.predictions import in_order_of
from kidasr.recognition.score import Score, score
from kidasr.recognition.transcribe import shortest_first
from kidasr.runs.environment import DECIDES_BITS, environment
from kidasr.runs.files import read_json, write_json, zero_shot_of
from kidasr.training.device import half_precision
from kidasr.training.scorer import Scorer

log = logging.getLogger(__name__)


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


class ZeroShotScores:
    """Scores sets before training, unless a file has their scores.

    Args:
        scorer: Has the model before training.
        dataset: Makes the model's input of utterances: the full window, which the checkpoint was trained with.
        buckets: The run's age buckets.
        run_dir: The folder of the run, whose files a resumed run reads.
        shared_in: The folder of the sweep that the run belongs to; None for a run by itself.
        depends_on: See :func:`what_scores_depend_on`. Only runs with the same share a file.
    """

    def __init__(
        self,
        scorer: Scorer,
        dataset: Callable[[Sequence[Utterance]], ChildSpeechDataset],
        buckets: AgeBuckets,
        run_dir: Path,
        shared_in: Path | None,
        depends_on: Mapping[str, Any] | None,
    ):
        self.scorer, self.dataset, self.buckets = scorer, dataset, buckets
        self.run_dir, self.shared_in, self.depends_on = run_dir, shared_in, depends_on

    def __call__(self, name: str, utterances: Sequence[Utterance]) -> ZeroShot:
        """The score of a set: read from the run folder or from beside the sweep's runs, or found by transcribing it."""
        writes = self.scorer.args.should_save
        path, shared = self.run_dir / zero_shot_of(name), shared_file(self.shared_in, self.depends_on, utterances)
        files = (path, *([shared] if shared else []))
        known = self.scorer.first_process(_read(files) if writes else None)
        if known is not None:
            log.info("zero-shot: using the scores in %s", path if path.exists() else shared)
            if writes:
                write_json(path, known)
            return ZeroShot.of(known)
        log.info("zero-shot: transcribing the %s set before training", name)
        heard = in_order_of(utterances, self.scorer.transcribe(self.dataset(shortest_first(utterances))))
        zero_shot = ZeroShot(score(heard, self.buckets), [one.errors for one in heard])
        for doubt in doubts_before(zero_shot.score, self.scorer.scoring.rate):
            log.warning("%s%s", "" if name == "validation" else f"set {name}: ", doubt)
        if writes:
            for one in files:
                write_json(one, zero_shot.as_json())
        return zero_shot


def shared_file(
    shared_in: Path | None, depends_on: Mapping[str, Any] | None, utterances: Sequence[Utterance]
) -> Path | None:
    """The file, beside the runs of a sweep, with the score of a set before training; None for a run by itself.

    Its name is a checksum of all that the score depends on, so that only the same model and set share it.
    """
    if shared_in is None or depends_on is None:
        return None
    what = [(one.utterance_id, one.age_bucket, one.audio_key, one.text) for one in utterances]
    content = json.dumps({**depends_on, "utterances": what}, sort_keys=True, default=str)
    return shared_in / f"zero_shot-{sha256(content.encode()).hexdigest()[:8]}.json"


def what_scores_depend_on(
    config: Mapping[str, Any], trainer: Mapping[str, Any], arguments: TrainingArguments
) -> dict[str, Any]:
    """All that the pretrained model's scores and losses depend on, besides the set.

    Args:
        config: The run's config, as stored in ``config.json``.
        trainer: The keys of the ``trainer`` group.
        arguments: Batch size, device and precision.
    """
    now, folder = environment(0), Path(str(config["model"].get("name_or_path")))
    return {
        "model": config["model"],
        "files": sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.glob("*.*")),
        "decoding": [value for name, value in trainer.items() if name.startswith("generation_")],
        "batch": arguments.per_device_eval_batch_size,
        "precision": [str(half_precision(arguments)), str(arguments.device.type), arguments.tf32],
        "environment": [now[name] for name in DECIDES_BITS],
    }


def _read(files: Sequence[Path]) -> Any:
    """The content of the first file that can be read; None if there is none."""
    for path in files:
        try:
            if path.exists():
                return read_json(path)
        except ValueError:
            log.warning("%s can't be read; transcribing again", path)
    return None
