"""The page of an idea: its written part, how it is switched on and off, its config and its code."""

import re
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from sphinx.errors import ExtensionError

from extension.configs import CONF, Setting, chain, settings, targets

#: Ideas without a file in conf/hypotheses, and what switches them on.
OTHERS = {
    "average_best": "average=best",
    "average_ema": "average=ema",
    "short_input": "padding=longest",
    "soup": "job=soup 'runs=[outputs/multirun/mine/*]'",
    "wise_ft": "average.pretrained=0.3",
}

#: What else is typed.
NEEDED = {"adamw_8bit": " trainer=gpu"}

#: The sections that each idea has, in this order.
WRITTEN = ("What", "Why", "Source", "Evidence")


def names() -> list[str]:
    """All hypotheses, and the other ideas."""
    return sorted([*(path.stem for path in (CONF / "hypotheses").glob("*.yaml")), *OTHERS])


def completed(text: str, name: str) -> str:
    """The page of an idea with its generated sections, after the written ones that all have."""
    if name not in names():
        raise ExtensionError(f"ideas/{name}.md: neither a file in conf/hypotheses nor one of extension.ideas.OTHERS")
    sections = re.split(r"(?m)^(?=## )", text)
    headings = [one.partition("\n")[0].removeprefix("## ").strip() for one in sections[1:]]
    if tuple(headings[: len(WRITTEN)]) != WRITTEN:
        raise ExtensionError(f"ideas/{name}.md: the sections are {', '.join(headings)}; expected: {', '.join(WRITTEN)}, ...")
    for heading, section in zip(WRITTEN, sections[1:], strict=False):
        if not section.partition("\n")[2].strip():
            raise ExtensionError(f"ideas/{name}.md: the section {heading} is empty")
    after = 1 + len(WRITTEN)
    return "".join([*sections[:after], "\n", _generated(name), *sections[after:]])


def on(name: str) -> list[str]:
    """What is typed to switch an idea on."""
    if name in OTHERS:
        return [OTHERS[name]]
    content = OmegaConf.load(CONF / "hypotheses" / f"{name}.yaml")
    assert isinstance(content, DictConfig)
    typed = []
    for default in content.pop("defaults", []):
        if isinstance(default, str):
            group, _, choice = default.strip("/").rpartition("/")
            typed.append(f"{group}={choice}")
        else:
            ((key, choice),) = default.items()
            typed.append(f"{str(key).removeprefix('override ').strip('/')}={choice}")
    return typed + [f"{key}={value}" for key, value in _leaves(OmegaConf.to_container(content))]


def off(name: str) -> list[str]:
    """What is typed to switch it off, at whatever else is on."""
    if name == "soup":
        return []
    if name == "short_input":
        return ["padding=max_length"]
    found = []
    for key in dict.fromkeys(one.partition("=")[0] for one in on(name)):
        if "." in key:
            found.append(f"{key}={OmegaConf.select(_baseline(), key)}")
        else:
            found.append(f"{key}={_baseline().hydra.runtime.choices.get(key)}")
    return found


def commands(name: str) -> list[str]:
    """The commands of its page."""
    typed = [f"python run.py {' '.join(on(name))}{NEEDED.get(name, '')}"]
    if name not in OTHERS:
        typed.append(f"python run.py ablation=one_at_a_time hypotheses=[{name}] seeds=1,2{NEEDED.get(name, '')}")
    elif name != "soup":
        key, _, value = OTHERS[name].partition("=")
        (before,) = (one.partition("=")[2] for one in off(name))
        typed.append(f"python run.py ablation=one_at_a_time 'factors={{{key}: [{before}, {value}]}}' seeds=1,2")
    return typed


def _generated(name: str) -> str:
    switched_off = f"\n\nOff: `{' '.join(off(name))}`" if off(name) else ""
    parts = ["## On and off\n\n```bash\n" + "\n".join(commands(name)) + f"\n```{switched_off}\n", "## Config\n"]
    paths = [] if name in OTHERS else [f"hypotheses/{name}"]
    for one in on(name):
        key, _, value = one.partition("=")
        if "." in key:
            paths.append(f"{key.partition('.')[0]}/{'adamw' if key.startswith('optim.') else 'none'}")
        else:
            paths += chain(key, value.split(" ")[0])
    parts += [
        f"[conf/{path}.yaml](../../conf/{path}.yaml)\n\n```yaml\n{(CONF / f'{path}.yaml').read_text('utf-8')}```\n"
        for path in dict.fromkeys(paths)
    ]
    documented = dict.fromkeys(target for path in paths if not path.startswith("hypotheses") for target in targets(path))
    if name in ("h3", "decoder_all", "encoder_all"):
        documented["kidasr.model.unfreeze.UnfreezeCallback"] = None
    if name == "layer_decay":
        documented = {"kidasr.training.layer_decay": None}
    if name == "kids":
        documented = {}
    if documented:
        parts.append("## Code\n")
    for target in documented:
        kind = "automodule" if target == "kidasr.training.layer_decay" else _kind(target)
        members = "" if kind == "autofunction" else "   :no-members:\n"
        parts.append(f"```{{eval-rst}}\n.. {kind}:: {target}\n   :no-index:\n{members}```\n")
    return "\n".join(parts) + "\n"


def _kind(target: str) -> str:
    from kidasr.config.signature import load_target

    return "autoclass" if isinstance(load_target(target), type) else "autofunction"


@cache
def _baseline() -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["experiment=baseline"], return_hydra_config=True)


def _leaves(node: Any, prefix: str = "") -> "list[tuple[str, Any]]":
    if not isinstance(node, dict):
        return [(prefix, node)]
    return [leaf for key, value in node.items() for leaf in _leaves(value, f"{prefix}.{key}" if prefix else str(key))]


__all__ = ["OTHERS", "Setting", "commands", "completed", "names", "off", "on", "settings"]
