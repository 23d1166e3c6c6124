"""The resolvers that ``conf/`` uses, each registered below."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, ListConfig, OmegaConf

from kidasr.cli.designs import swept
from kidasr.corpus.age import AGE_ORDER
from kidasr.runs.identity import sweep_name, words_of

EMBEDDED = Path(__file__).parents[1] / "embedded"


def scaled_steps(steps: int, *, _root_: DictConfig) -> int:
    """``steps`` of a long run, times the run's ``step_scale``; at least 1.

    500 steps are rounded first and the others keep their proportion to them, so that 1000 remains a multiple of 500.
    """
    unit = max(1, round(500 * _root_.step_scale))
    return max(1, round(steps / 500 * unit))


#: Files in ``conf/hydra`` that stand for what plugins bring under the same names.
OVERRIDDEN_PLUGIN_CONFIGS = {"launcher": ("basic", "submitit_local"), "sweeper": ("optuna",)}


def register() -> None:
    """Make the resolvers known to OmegaConf, and ``conf/hydra`` come before the plugins' own; harmless when done twice."""
    Plugins.instance()  # which brings them
    for group, names in OVERRIDDEN_PLUGIN_CONFIGS.items():
        for name in names:
            # Else Hydra would take the plugin's for a schema of ours, in which kidasr's keys are not known.
            ConfigStore.instance().repo["hydra"][group].pop(f"{name}.yaml", None)
    OmegaConf.register_new_resolver("embedded", lambda path: str(EMBEDDED / path), replace=True)
    OmegaConf.register_new_resolver("age_order", lambda: ListConfig(list(AGE_ORDER)), replace=True)
    OmegaConf.register_new_resolver("design", swept, replace=True)
    OmegaConf.register_new_resolver("comma_separated", lambda values: ",".join(map(str, values)), replace=True)
    OmegaConf.register_new_resolver("scaled_steps", scaled_steps, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("job_name", lambda folder: words_of(Path(folder).name) or "kidasr", replace=True)
    OmegaConf.register_new_resolver("times", lambda value, factor: value * factor, replace=True)
