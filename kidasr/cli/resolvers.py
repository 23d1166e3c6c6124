"""The OmegaConf resolvers used in ``conf/``."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, ListConfig, OmegaConf

from kidasr.cli.step_scale import step_scale_of
from kidasr.corpus.age import AGE_ORDER, OLDEST_CHILD
from kidasr.installation import program
from kidasr.runs.environment import has_bfloat16_instructions
from kidasr.runs.identity import sweep_name, words_of

EMBEDDED = Path(__file__).parents[1] / "embedded"


def scaled_steps(steps: int, *, _root_: DictConfig) -> int:
    """``steps`` of a long run, multiplied by the run's ``step_scale``; at least 1.

    Only 500 is rounded; other counts are scaled in proportion to the result, so that 1000 remains a multiple of 500.
    """
    unit = max(1, round(500 * step_scale_of(_root_)))
    return max(1, round(steps / 500 * unit))


def bf16_pays(checkpoint: str | None) -> bool:
    """Whether bfloat16 is faster on this CPU: it has instructions for it, and the checkpoint is not the micro model."""
    return checkpoint is not None and not Path(checkpoint).is_relative_to(EMBEDDED) and has_bfloat16_instructions()


#: Files in ``conf/hydra`` that replace plugin configs of the same name.
OVERRIDDEN_PLUGIN_CONFIGS = {"launcher": ("basic", "submitit_local"), "sweeper": ("optuna",)}


def register() -> None:
    """Register the resolvers, and let ``conf/hydra`` replace the plugins' own configs. Can be called more than once."""
    Plugins.instance()  # loads the plugins, which register their configs
    for group, names in OVERRIDDEN_PLUGIN_CONFIGS.items():
        for name in names:
            # Hydra would use the plugin's config as a schema for ours and reject kidasr's keys.
            ConfigStore.instance().repo["hydra"][group].pop(f"{name}.yaml", None)
    OmegaConf.register_new_resolver("embedded", lambda path: str(EMBEDDED / path), replace=True)
    OmegaConf.register_new_resolver("default_age_buckets", lambda: ListConfig(list(AGE_ORDER)), replace=True)
    OmegaConf.register_new_resolver("oldest_child", lambda: OLDEST_CHILD, replace=True)
    OmegaConf.register_new_resolver("all_on", lambda names, factors: ListConfig([*names, *(factors or ())]), replace=True)
    OmegaConf.register_new_resolver("bf16_pays", bf16_pays, replace=True)
    OmegaConf.register_new_resolver("program", program, replace=True)
    OmegaConf.register_new_resolver("scaled_steps", scaled_steps, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("job_name", lambda folder: words_of(Path(folder).name) or "kidasr", replace=True)
    OmegaConf.register_new_resolver("times", lambda value, factor: value * factor, replace=True)
