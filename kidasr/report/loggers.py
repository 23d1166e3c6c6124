"""Experiment loggers: none, Weights & Biases or TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from kidasr.config.schema import Text
from kidasr.durable import write_text
from kidasr.errors import KidasrError
from kidasr.runs.files import WANDB_ID

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from kidasr.recognition.score import Prediction

log = logging.getLogger(__name__)


class NoLogger:
    """Logs to the run folder only; base class of the other loggers."""

    def start(self, run_dir: Path, config: Mapping[str, Any]) -> list[TrainerCallback]:
        """Start; returns callbacks that log losses, learning rate and WER, overall and by age, during training."""
        return []

    def log_result(self, metrics: Mapping[str, Any], predictions: Sequence[Prediction]) -> None:
        """Log the content of ``metrics.json``, and the predictions."""

    def close(self, failed: bool) -> None:
        """Finish; also called if the run failed."""


class WandbLogger(NoLogger):
    """Logs to a Weights & Biases run, one per job of a multirun. A resumed job continues its wandb run.

    Args:
        project, name, group, tags: As in ``wandb.init``.
        max_predictions: Number of rows in the table of predictions.
    """

    def __init__(self, project: Text, name: Text | None, group: Text | None, tags: list[Text], max_predictions: PositiveInt):
        self.project, self.name, self.group, self.tags = project, name, group, list(tags)
        self.max_predictions = max_predictions
        self.is_gone = False

    def start(self, run_dir: Path, config: Mapping[str, Any]) -> list[TrainerCallback]:
        import wandb

        try:
            self._run = wandb.init(
                project=self.project,
                name=self.name,
                group=self.group,
                tags=self.tags,
                dir=run_dir,
                id=_kept_id(run_dir / WANDB_ID),
                resume="allow",
                reinit="finish_previous",
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())
            raise KidasrError(f"logger=wandb: {reason} (WANDB_MODE=offline needs no account)") from error
        from kidasr.report.wandb_callback import WandbRunCallback

        return [WandbRunCallback(self, config)]

    def log_result(self, metrics: Mapping[str, Any], predictions: Sequence[Prediction]) -> None:
        import wandb

        rows = [asdict(replace(prediction, extra=None)) for prediction in predictions[: self.max_predictions]]
        with outlived(self):
            table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
            self._run.log({"predictions": table})
            self._run.summary.update(_flat(metrics))

    def close(self, failed: bool) -> None:
        with outlived(self):
            self._run.finish(exit_code=int(failed))


@contextmanager
def outlived(logger: WandbLogger) -> Iterator[None]:
    """Continue if wandb's service process has died (it receives SLURM's signals too); warn once."""
    try:
        yield
    except (OSError, EOFError) as error:
        if not logger.is_gone:
            log.warning("wandb has stopped, the run continues without it: %s: %s", type(error).__name__, error)
        logger.is_gone = True


def _kept_id(path: Path) -> str:
    """The run's wandb id, created on its first start."""
    known = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if not known:
        known = token_hex(4)
        write_text(path, known + "\n")
    return known


class TensorBoardLogger(NoLogger):
    """Writes TensorBoard event files.

    Args:
        logging_dir: Folder of the event files; relative to the run folder.
    """

    def __init__(self, logging_dir: Text):
        self.logging_dir = logging_dir

    def start(self, run_dir: Path, config: Mapping[str, Any]) -> list[TrainerCallback]:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_dir / self.logging_dir))
        self._writer.add_text("config", f"```\n{dict(config)}\n```")
        from transformers.integrations import TensorBoardCallback

        return [TensorBoardCallback(self._writer)]

    def log_result(self, metrics: Mapping[str, Any], predictions: Sequence[Prediction]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # The callback closes its writer when training ends.
        with SummaryWriter(str(Path(self._writer.get_logdir()))) as writer:
            for name, value in _flat(metrics).items():
                writer.add_scalar(name, value, metrics["steps"])

    def close(self, failed: bool) -> None:
        self._writer.close()


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested numbers: ``{"final/by_age/3-4/wer": 0.2}``."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            flat[prefix + name] = value
    return flat
