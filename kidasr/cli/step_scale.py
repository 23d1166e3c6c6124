"""``step_scale=auto``: step counts that fit the length of the run.

The scale is found when the config is composed, from the training set as the run will read it (split, held-out speakers,
limits), so that all that follows sees plain numbers: the checks, ``config.json``, the identity of a run, ``--cfg job``. The
same data give the same counts, in a resumed run and in every run of a sweep.
"""

import contextlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kidasr.errors import KidasrError

AUTO = "auto"

#: The length of the run that the checklist's counts (500, 1000) are written for, in optimizer steps: ten evaluations, a
#: warm-up of a tenth, a freeze of a fifth. Longer runs keep these counts.
LONG_RUN_STEPS = 5000

#: Sizes of training sets, by the config and the state of their files.
_known: dict[str, int] = {}


def step_scale_of(cfg: DictConfig) -> float:
    """The factor of a run's step counts.

    1 if ``auto`` can't be resolved: :func:`check_step_scale`, the other checks or the run itself say why.

    Args:
        cfg: The whole config.
    """
    scale = cfg.step_scale
    if scale != AUTO:
        return float(scale)
    try:
        steps = planned_steps(cfg)
    except KidasrError:
        return 1.0
    return 1.0 if steps is None else min(1.0, float(f"{steps / LONG_RUN_STEPS:.3g}"))


def planned_steps(cfg: DictConfig) -> int | None:
    """The length of a run in optimizer steps, if no recording is left out and no batch is made smaller by its seconds.

    None if the job does not train, or a key that decides it is invalid.

    Raises:
        KidasrError: If the training set can't be read.
    """
    trainer = OmegaConf.select(cfg, "trainer", default=None)
    if not isinstance(trainer, DictConfig) or "data" not in cfg or "schedule" not in cfg:
        return None
    names = ("max_steps", "num_train_epochs", "train_batch_size", "gradient_accumulation_steps")
    max_steps, epochs, batch, accumulated = (OmegaConf.select(trainer, name, default=None) for name in names)
    if isinstance(max_steps, int) and max_steps > 0:
        return max_steps
    if not all(isinstance(one, int | float) and 0 < one < math.inf for one in (epochs, batch, accumulated)):
        return None
    utterances = _training_utterances(cfg.data)
    if utterances is None:
        return None
    return math.ceil(epochs * math.ceil(math.ceil(utterances / batch) / accumulated))


def check_step_scale(cfg: DictConfig) -> None:
    """Read what ``auto`` needs. Resolving an interpolation would hide the reason if it can't be read.

    Raises:
        KidasrError: If the training set can't be read.
    """
    if cfg.get("step_scale") == AUTO:
        planned_steps(cfg)


def describe_step_scale(cfg: DictConfig) -> str | None:
    """A line for the log with the counts that ``auto`` chose; None for other scales."""
    steps = planned_steps(cfg) if cfg.get("step_scale") == AUTO else None
    if steps is None:
        return None
    counts = {
        "evaluation every": "checkpoint.eval_steps",
        "checkpoint every": "checkpoint.save_steps",
        "log entry every": "trainer.logging_steps",
        "warm-up": "schedule.warmup_steps",
        "frozen encoder": "freeze.freeze_encoder_steps",
    }
    said = [f"{what} {count}" for what, key in counts.items() if (count := OmegaConf.select(cfg, key, default=0)) > 0]
    return f"step_scale=auto: {step_scale_of(cfg):g} for {steps} steps: {', '.join(said)}"


def _training_utterances(data: DictConfig) -> int | None:
    """Number of utterances of the training set; None if the ``data`` group is invalid."""
    plain: Any = OmegaConf.to_container(data, resolve=True)
    paths = [value for name in ("train", "validation", "test") if isinstance(value := plain.get(name), str)]
    paths += [value for value in (plain.get("tests") or {}).values() if isinstance(value, str)]
    key = json.dumps([plain, [_state(Path(one)) for one in paths]], default=str)
    if key not in _known:
        try:
            with _quiet():  # the run says it all
                _known[key] = len(instantiate(data).load().train)
        except InstantiationException:  # a key of the wrong type, which the checks of the config will name
            return None
    return _known[key]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
