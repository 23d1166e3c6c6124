"""The functions of the package ``kidasr``, in a module of their own to keep ``import kidasr`` light."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra import compose as compose_config
from hydra import initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kidasr.cli.launch import add_config_dirs, in_one_line
from kidasr.cli.shorthand import written_out
from kidasr.config import check_config
from kidasr.config.checks import ConfigError, check_used
from kidasr.corpus.age import AgeBuckets, is_in_years
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.sets import Sets
from kidasr.installation import CONF
from kidasr.recognition.score import Score
from kidasr.runs.files import METRICS, read_json
from kidasr.runs.folder import lock_run_folder, prepare_run_folder

#: Longest recording accepted when no model is loaded, which would know its window: Whisper's own.
WINDOW_SEC = 30.0


def load_corpus(train: str | Path, validation: str | Path | None, *overrides: str) -> Sets:
    """See :func:`kidasr.load_corpus`."""
    where = [f"data.train={train}", *([f"data.validation={validation}"] if validation else [])]
    cfg = _composed("data=manifest", *where, *overrides)
    check_config(cfg)
    corpus = instantiate(cfg.data)
    check = corpus.audio_check
    check.decode_check_sec = None
    sets, bad = check.find(corpus.load(), WINDOW_SEC)
    return check.leave_out(sets, bad, "no file")[0]


class Config(DictConfig):
    """A composed config that prints as YAML."""

    def __repr__(self) -> str:
        return OmegaConf.to_yaml(self)


def compose(*overrides: str) -> Config:
    """See :func:`kidasr.compose`."""
    cfg = _composed(*overrides)
    check_config(cfg)
    return Config(cfg)


def train(*overrides: str | DictConfig, run_dir: str | Path) -> dict[str, Any]:
    """See :func:`kidasr.train`."""
    composed = [one for one in overrides if isinstance(one, DictConfig)]
    if composed and len(overrides) > 1:
        raise TypeError("kidasr.train: one composed config, or overrides")
    cfg = deepcopy(composed[0]) if composed else _composed(*map(str, overrides))
    folder = Path(run_dir)
    cfg.job.run_dir = str(folder)
    check_used(cfg, [] if composed else map(str, overrides))
    check_config(cfg)
    lock_run_folder(folder)
    if not prepare_run_folder(folder, cfg):
        instantiate(cfg.job).run()
    metrics: dict[str, Any] = read_json(folder / METRICS)
    return metrics


def evaluate(model: str | Path, *overrides: str, run_dir: str | Path) -> dict[str, Any]:
    """See :func:`kidasr.evaluate`."""
    return train("job=evaluate", f"model.name_or_path={model}", *overrides, run_dir=run_dir)


def transcribe(model: str | Path, utterances: Sequence[Utterance], *overrides: str) -> list[str]:
    """See :func:`kidasr.transcribe`."""
    from kidasr.features.dataset import ChildSpeechDataset
    from kidasr.recognition.transcribe import Transcriber
    from kidasr.training.device import check_device, half_precision, prepare_cpu, prepare_gpu

    cfg = _composed("model=whisper", f"model.name_or_path={model}", *_as_trained(Path(model)), *overrides)
    check_config(cfg)
    options = cfg.trainer
    check_device(options["use_cpu"], options["tf32"])
    device = "cpu" if options["use_cpu"] else "cuda"
    if options["use_cpu"]:
        prepare_cpu(options["num_threads"])
    else:
        prepare_gpu()
    recogniser, padding = instantiate(cfg.model).load(), instantiate(cfg.padding)
    recogniser.model.to(device)
    transcriber = Transcriber.configured(recogniser, options, device=device, autocast=half_precision(options))
    order = sorted(range(len(utterances)), key=lambda place: utterances[place].known_duration_sec)
    found = transcriber(ChildSpeechDataset([utterances[place] for place in order], recogniser, padding=padding))
    return [text for _, text in sorted(zip(order, found.texts, strict=True))]


def score(utterances: Sequence[Utterance], transcripts: Sequence[str], language: str) -> Score:
    """See :func:`kidasr.score`."""
    from kidasr.model.scoring import scoring
    from kidasr.recognition.score import compare as compare_with_references
    from kidasr.recognition.score import score as score_predictions

    names = {one.age_bucket for one in utterances} - {"unknown"}
    in_years = all(map(is_in_years, names))
    buckets = AgeBuckets(sorted(names, key=_first_year)) if in_years else AgeBuckets(order=sorted(names))
    return score_predictions(compare_with_references(utterances, transcripts, scoring(language)), buckets)


def compare(runs: Sequence[str | Path], output_dir: str | Path, baseline: str | None, on: str | None) -> dict[str, Any]:
    """See :func:`kidasr.compare`."""
    from kidasr.jobs.compare import Compare

    options = instantiate(_composed().report, _convert_="all")
    Compare(str(output_dir), [str(run) for run in runs], baseline, on, options).run()
    comparison: dict[str, Any] = read_json(Path(output_dir) / "comparison.json")
    return comparison


def _composed(*overrides: str) -> DictConfig:
    arguments, own = add_config_dirs(overrides, CONF)
    arguments = written_out(arguments, [CONF, *own])
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose_config("config", arguments)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(in_one_line(error, CONF, arguments)) from error


def _as_trained(model: Path) -> list[str]:
    """The padding that a model was trained with."""
    from kidasr.model.as_trained import padding_as_trained

    return [f"padding={'longest' if padding_as_trained(str(model)).is_short else 'max_length'}"]


def _first_year(bucket: str) -> int:
    return int(bucket.rstrip("+").split("-")[0])
