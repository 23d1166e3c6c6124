"""A model soup: the mean of the weights of several runs, scored as a run is."""

import inspect
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from kidasr.batching.curriculum import Curriculum
from kidasr.errors import KidasrError
from kidasr.evidence.finished import finished_configurations
from kidasr.evidence.runs import Run
from kidasr.model.age_lora import AGE_ADAPTERS
from kidasr.report.options import ReportOptions
from kidasr.runs.files import CONFIG, MODEL, write_json, zero_shot_of
from kidasr.runs.folder import read_config
from kidasr.training.average import Average
from kidasr.training.averaging import Kept, add_to_mean, put_into
from kidasr.training.fine_tune import FineTune
from kidasr.training.trainer import ChildSpeechTrainer

log = logging.getLogger(__name__)

#: Groups that only training uses, and what they are here.
OF_TRAINING: dict[str, Any] = {
    "adapter": None,
    "objective": None,
    "early_stopping": None,
    "augment": {},
    "curriculum": Curriculum(),
    "average": Average(pretrained=0),
}


class SoupOfRuns(FineTune):
    """A run that, instead of training, takes the mean of the weights of finished runs.

    Args:
        members: The runs.
        config: Their config; the groups become the arguments of :class:`kidasr.training.fine_tune.FineTune`.
        run_dir: The folder to write to.
        report: The keys of the ``report`` group.
    """

    def __init__(self, members: Sequence[Run], config: Mapping[str, Any], run_dir: str, report: ReportOptions):
        self.members, self._model = members, config["model"]
        groups: dict[str, Any] = {
            name: OF_TRAINING[name] if name in OF_TRAINING else _made(config[name])
            for name in inspect.signature(FineTune.__init__).parameters
            if name not in ("self", "run_dir", "report")
        }
        super().__init__(run_dir=run_dir, report=report, **groups)
        self.optim = {**self.optim, "layer_decay": 1.0}  # of no use here, and older runs do not have it
        self.trainer = {**self.trainer, "num_processes": None}  # as many as were started, however many trained the runs

    def _kept_weights(self, trainer: ChildSpeechTrainer) -> Kept:
        mean: Any = {}
        for number, run in enumerate(self.members, 1):
            folder = Path(run.folder) / MODEL
            loaded = _made({**self._model, "name_or_path": str(folder)}).load()
            add_to_mean(mean, dict(loaded.model.named_parameters()), 1 / number)
        put_into(trainer.model, mean)
        return Kept(None, 0, f"mean of {len(self.members)} runs")

    def _log_result(self, metrics: Mapping[str, Any]) -> None:
        super()._log_result(metrics)
        wers = [run.metrics["final"]["wer"] for run in self.members]
        log.info(
            "soup: %s %.1f%%; its %d runs: %.1f to %.1f%%, mean %.1f%%",
            metrics["rate"],
            100 * metrics["final"]["wer"],
            len(wers),
            100 * min(wers),
            100 * max(wers),
            100 * sum(wers) / len(wers),
        )


def _made(value: Any) -> Any:
    """What a group of a config stands for; other values are themselves."""
    return instantiate(value, _convert_="all") if isinstance(value, Mapping) else value


def soup_of(patterns: str | Sequence[str], run_dir: str, report: ReportOptions) -> SoupOfRuns:
    """Prepare a soup, and its run folder.

    Args:
        patterns: Run folders, folders of sweeps or of runs, or glob patterns.
        run_dir: The folder to write to. Its config becomes that of the runs, with the key ``soup``, so that a comparison
            sees another configuration, of which soups of as many other seeds are repetitions.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If there are fewer than two finished runs with a model, or they are of several configurations.
    """
    configurations, _ = finished_configurations(patterns, "validation")
    if len(configurations) > 1:
        raise KidasrError(
            f"runs: {len(configurations)} configurations: {', '.join(configurations)}; expected: one, with several seeds"
        )
    members = [run for runs in configurations.values() for run in runs]
    if len(members) < 2:
        raise KidasrError(f"runs: {len(members)} finished run(s); expected: two or more of one configuration")
    for run in members:
        if not (Path(run.folder) / MODEL).is_dir():
            raise KidasrError(f"{run.folder}: has no model folder; expected: runs as they were written")
        if (Path(run.folder) / MODEL / AGE_ADAPTERS).is_dir():
            raise KidasrError(
                f"{run.folder}: has an adapter for each age group, which a soup can't average; expected: others"
            )
    first, folder = Path(members[0].folder), Path(run_dir)
    config = read_config(first)
    if config is None:
        raise KidasrError(f"{first}: has no {CONFIG}; expected: runs as they were written")
    typed = sorted(members[0].overrides or ())
    soup = {"number": len(members), "runs": [str(Path(run.folder).resolve()) for run in members], "typed": typed}
    keys = config.get("identity") or {}
    # Soups of other seeds are repetitions; the first run's seed stands for theirs.
    keys = {**keys, "ignored_keys": [*keys.get("ignored_keys", ()), "soup.runs", "soup.typed"]}
    write_json(folder / CONFIG, {**config, "identity": keys, "soup": soup})
    for name in ("validation", *(config["data"].get("tests") or {}), "test"):
        if (first / zero_shot_of(name)).exists():  # the same model on the same sets
            shutil.copy(first / zero_shot_of(name), folder)
    return SoupOfRuns(members, config, run_dir, report)
