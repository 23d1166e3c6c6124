"""An Optuna search that can be interrupted and continued."""

import logging
import warnings
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kidasr.errors import KidasrError, truncate

log = logging.getLogger(__name__)


def continue_study(sweeper: Any, config: DictConfig) -> None:
    """Make the sweeper continue the study on disk: finished trials count, interrupted ones are run again.

    Args:
        sweeper: Hydra's ``OptunaSweeperImpl`` after its setup.
        config: The config of the multirun.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    Path(str(config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            study_name=sweeper.study_name, storage=sweeper.storage, directions=sweeper._get_directions(), load_if_exists=True
        )
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error).splitlines()[0]
        raise KidasrError(f"hydra.sweeper.storage={sweeper.storage}: {reason}; expected: sqlite:///FILE") from error
    State = optuna.trial.TrialState  # noqa: N806, a class
    trials = study.get_trials(deepcopy=False)
    finished = sum(trial.state == State.COMPLETE for trial in trials)
    for trial in trials:
        if trial.state == State.RUNNING:  # its run resumes in its folder
            study.tell(trial.number, state=State.FAIL)
            with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
                study.enqueue_trial(trial.params)
    if not trials:
        return
    log.info("continuing the study: %d of %d trials finished", finished, sweeper.n_trials)
    sweeper.n_trials = max(0, sweeper.n_trials - finished)
    sampler = OmegaConf.to_container(config.hydra.sweeper.sampler, resolve=True)
    if isinstance(sampler, dict) and sampler.get("seed") is not None:
        # The same seed would draw the same trials again.
        sweeper.sampler = instantiate({**sampler, "seed": int(sampler["seed"]) + len(trials)})


def search(sweeper: Any, arguments: list[str]) -> None:
    """Run the missing trials of the study.

    Raises:
        KidasrError: If no trial finished.
    """
    try:
        sweeper.sweep(arguments)
    except ValueError as error:
        reason = " ".join(str(error).split())
        if "No trials are completed yet" in reason:
            reason = "no trial finished; the errors are above and in each run.log"
        raise KidasrError(f"hydra/sweeper=optuna: {truncate(reason)}") from error
