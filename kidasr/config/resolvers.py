"""The resolvers that ``conf/`` uses, each registered below."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from kidasr.corpus.age import AGE_ORDER

EMBEDDED = Path(__file__).parents[1] / "embedded"


def scaled_steps(steps: int, *, _root_: DictConfig) -> int:
    """``steps`` of a long run, times the run's ``step_scale``; at least 1.

    500 steps are rounded first and the others keep their proportion to them, so that 1000 remains a multiple of 500.
    """
    unit = max(1, round(500 * _root_.step_scale))
    return max(1, round(steps / 500 * unit))


def register() -> None:
    """Make the resolvers known to OmegaConf; harmless when done twice."""
    OmegaConf.register_new_resolver("embedded", lambda path: str(EMBEDDED / path), replace=True)
    OmegaConf.register_new_resolver("age_order", lambda: ListConfig(list(AGE_ORDER)), replace=True)
    OmegaConf.register_new_resolver("comma_separated", lambda values: ",".join(map(str, values)), replace=True)
    OmegaConf.register_new_resolver("scaled_steps", scaled_steps, replace=True)
