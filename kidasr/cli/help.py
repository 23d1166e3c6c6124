"""``python run.py --help``: what a job does, its groups with their choices, its keys."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

USAGE = """\
kidasr: fine-tune Whisper on children's speech, each idea one option.

Usage: python run.py [group=choice ...] [key=value ...]        with --multirun: key=a,b,c runs every combination
"""

ENDING = """\
Look before you run: --cfg job shows the composed config, --cfg job --resolve with every value filled in.
What each key means stands beside it in conf/<group>/<choice>.yaml. --config-dir=DIR adds groups and choices of your own.
"""

EXAMPLES = """\
Examples:
  python run.py                                        embedded corpus and model: offline, a CPU, minutes
  python run.py augment=specaugment freeze=none        one option a hypothesis
  python run.py --multirun experiment=baseline,h4 seed=1,2
  python run.py --multirun experiment=baseline,h4 seed=1,2 hydra/launcher=slurm         the same on a cluster
  python run.py ablation=one_at_a_time seeds=1,2       each hypothesis by itself, and a report that compares them
  python run.py job=status                             how the newest sweep is doing
  python run.py job=compare --help                     groups, keys and an example of another job
"""


def help_text(cfg: DictConfig, folders: Sequence[Path]) -> str:
    """The help for a job.

    Args:
        cfg: As composed, with its ``hydra`` node.
        folders: Of configs, kidasr's first.
    """
    chosen = {str(group): str(choice) for group, choice in cfg.hydra.runtime.choices.items() if "/" not in str(group)}
    groups = {group: _choices(folders, group) for group in chosen if not group.startswith("hydra")}
    for group in ("hypotheses",):  # a list, of which Hydra notes no choice
        if "experiment" in chosen:
            groups[group] = _choices(folders, group)
    groups = {group: choices for group, choices in sorted(groups.items()) if choices}
    job = next(path for folder in folders if (path := folder / "job" / f"{chosen['job']}.yaml").is_file())
    about, keys = _comments(job)
    lines = [USAGE, f"job={chosen['job']}:", *(f"  {line}" for line in about), ""]
    lines += ["Groups and their choices:", *(f"  {group}: {', '.join(choices)}" for group, choices in groups.items()), ""]
    keys += _comments(folders[0] / "config.yaml")[1]
    lines += ["Keys:", *(f"  {key}{': ' + meaning if meaning else ''}" for key, meaning in keys), ""]
    return "\n".join([*lines, EXAMPLES, ENDING])


def _choices(folders: Sequence[Path], group: str) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _comments(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """What a config's first comment says, and its keys with the comment above each."""
    first: list[str] = []
    keys: list[tuple[str, str]] = []
    block: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            block.append(line.lstrip("# "))
            continue
        if block and not first:
            first = [one for one in block if not one.startswith("@package")]
            block = []
        key = re.match(r"(\w+): ", line)
        if key and key[1] not in ("defaults", "job", "hydra"):
            keys.append((key[1], " ".join(block)))
        block = []
    return first, keys


def folders_of(conf: Path, search_path: Sequence[str]) -> Iterator[Path]:
    """kidasr's folder of configs, and those of the user."""
    yield conf
    for entry in search_path:
        yield Path(entry.removeprefix("file://"))
