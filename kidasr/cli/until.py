"""The stopping rule of an ablation that adds seeds until its questions are answered."""

import re
from dataclasses import dataclass

from omegaconf import DictConfig

from kidasr.config.checks import ConfigError

#: Before this many seeds an interval may be narrow by luck.
FEWEST_SEEDS_FOR_WIDTH = 4


@dataclass(frozen=True)
class Until:
    """When to stop adding seeds: the keys of ``ablation`` in ``conf/ablation``."""

    #: Half the width in points that every interval must reach, or None to stop when every question has a verdict.
    width: float | None
    max_runs: int | None
    max_hours: float | None
    looks: int
    #: Keys that do not change a result: ``identity.ignored_keys``.
    ignored: tuple[str, ...] = ()

    def first_look(self, seeds: int) -> int:
        """The number of seeds at the first look.

        Args:
            seeds: How many seeds the command names.
        """
        return max(seeds, 2 if self.width is None else FEWEST_SEEDS_FOR_WIDTH)


def read_until(cfg: DictConfig, seeds: int, configurations: int) -> Until | None:
    """The stopping rule of an ablation; None if it has none.

    Args:
        cfg: The config of the multirun, with its ``hydra`` node.
        seeds: How many seeds the command names.
        configurations: Number of runs of one seed.

    Raises:
        ConfigError: If it is malformed, has no end, or allows fewer runs than its first look needs.
    """
    node = cfg.get("ablation")
    if not isinstance(node, DictConfig) or node.until is None:
        if isinstance(node, DictConfig) and (node.max_runs is not None or node.max_hours is not None):
            raise ConfigError("ablation.max_runs, ablation.max_hours: need a rule to stop; expected: ablation.until=decided")
        return None
    said = str(node.until)
    match = re.fullmatch(r"width:(\d+(?:\.\d+)?)", said)
    if said != "decided" and not (match and float(match[1]) > 0):
        raise ConfigError(f"ablation.until={said}: should be decided, or width:POINTS, e.g. ablation.until=width:0.8")
    if node.max_runs is None and node.max_hours is None:
        raise ConfigError(
            f"ablation.until={said}: may never end; expected: ablation.max_runs=64 or ablation.max_hours=24 as well"
        )
    if cfg.hydra.launcher.get("wait", True) is False:
        raise ConfigError(f"ablation.until={said}: needs the results of earlier runs; expected: hydra.launcher.wait=true")
    ignored = tuple(map(str, cfg.identity.ignored_keys))
    until = Until(float(match[1]) if match else None, node.max_runs, node.max_hours, node.looks, ignored)
    needed = until.first_look(seeds) * configurations
    if until.max_runs is not None and until.max_runs < needed:
        raise ConfigError(
            f"ablation.max_runs={until.max_runs}: the first look needs {until.first_look(seeds)} seeds of {configurations} "
            f"configurations; expected: at least {needed}"
        )
    return until
