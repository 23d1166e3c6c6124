"""``python run.py --help``: a job's purpose, its config groups with their choices, and its keys."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import DictConfig

from kidasr.installation import program

USAGE = """\
kidasr: fine-tune Whisper on children's speech, each idea one option.

Usage: python run.py [group=choice ...] [key=value ...]        with --multirun: key=a,b,c runs every combination
"""

ENDING = """\
To inspect the config before a run: --cfg job shows it as composed, --cfg job --resolve with every value.
Each key is documented in conf/<group>/<choice>.yaml. --config-dir=DIR adds groups and choices of your own.
"""

EXAMPLES = """\
Examples:
  python run.py                                        embedded corpus and model: offline, a CPU, minutes
  python run.py augment=specaugment freeze=none        one option per hypothesis
  python run.py --multirun experiment=baseline,h4 seed=1,2
  python run.py --multirun experiment=baseline,h4 seed=1,2 hydra/launcher=slurm         the same on a cluster
  python run.py ablation=half_factorial seeds=1,2      what does each hypothesis change? with a comparison
  python run.py ablation=one_at_a_time                 a first look: each hypothesis by itself
  python run.py ablation=factorial seeds=1,2 factors='{augment: [none, specaugment], optim.learning_rate: [1e-5, 5e-5]}'
  python run.py job=check data=manifest data.train=T.jsonl   what in these data would hurt a training?
  python run.py job=status                             state of the newest sweep
  python run.py job=compare --help                     groups, keys and examples of another job
"""


def help_text(cfg: DictConfig, folders: Sequence[Path]) -> str:
    """The help text of a job.

    Args:
        cfg: The composed config, with its ``hydra`` node.
        folders: Config folders, kidasr's own first.
    """
    chosen = {str(group): str(choice) for group, choice in cfg.hydra.runtime.choices.items() if "/" not in str(group)}
    groups = {group: _choices(folders, group) for group in chosen if not group.startswith("hydra")}
    for group in ("hypotheses",):  # a list: Hydra records no choice for it
        if "experiment" in chosen:
            groups[group] = _choices(folders, group)
    groups = {group: choices for group, choices in sorted(groups.items()) if choices}
    job = next(path for folder in folders if (path := folder / "job" / f"{chosen['job']}.yaml").is_file())
    about, keys = _comments(job)
    lines = [USAGE, f"job={chosen['job']}:", *(f"  {line}" for line in about), ""]
    lines += ["Groups and their choices:", *(f"  {group}: {', '.join(choices)}" for group, choices in groups.items()), ""]
    keys += _comments(folders[0] / "config.yaml")[1]
    lines += ["Keys:", *(f"  {key}{': ' + meaning if meaning else ''}" for key, meaning in keys), ""]
    return "\n".join([*lines, EXAMPLES, ENDING]).replace("python run.py", program())


def _choices(folders: Sequence[Path], group: str) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _comments(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """The first comment of a config file, and its keys with the comment above each."""
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
        key = re.match(r'"?(\w+)"?: ', line)
        if key and key[1] not in ("defaults", "job", "hydra"):
            keys.append((key[1], " ".join(block)))
        block = []
    return first, keys


def folders_of(conf: Path, search_path: Sequence[str]) -> Iterator[Path]:
    """kidasr's config folder, then the user's."""
    yield conf
    for entry in search_path:
        yield Path(entry.removeprefix("file://"))
