"""What was compared: model, data, settings, command, commit, date and machine of the runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kidasr.evidence.runs import Run
from kidasr.installation import program
from kidasr.runs.files import ENVIRONMENT
from kidasr.runs.identity import identity, key_of

#: Settings that are always named, where all runs share them.
SETTINGS = (
    "padding",
    "optim.learning_rate",
    "trainer.train_batch_size",
    "trainer.num_train_epochs",
    "trainer.max_steps",
    "checkpoint.eval_steps",
    "trainer.generation_num_beams",
    "trainer.bf16",
)


def about(runs: Sequence[Run]) -> dict[str, str]:
    """What the runs have in common, in words; what is not recorded is left out."""
    configs = [run.config for run in runs if run.config and not run.own_name]
    environments = [one for run in runs if (one := _environment(Path(run.folder)))]
    published = [run.sums.made_by for run in runs if run.sums and run.sums.made_by]
    days = [str(one["started"])[:10] for one in environments if one.get("started")]
    found = {
        "model": _shared(configs, "model.name_or_path"),
        "other recognisers": _all([_files(run) for run in runs if run.own_name]),
        "training data": _data(configs, runs, "train"),
        "compared on": _set(runs),
        "transcripts": "none: runs are published ones, or compared with such" if any(run.sums for run in runs) else "",
        "settings": _settings(configs),
        "command": _command(runs),
        "commit": _all(
            [
                f"{one.get('commit') or 'unknown'}{' with uncommitted changes' if one.get('uncommitted_changes') else ''}"
                for one in environments
            ]
            + [one["commit"] for one in published if "commit" in one]
        ),
        "date": _dates(days + [day for one in published for day in one.get("date", "").split(" to ") if day]),
        "machine": _all([_machine(one) for one in environments] + [one["machine"] for one in published if "machine" in one]),
    }
    return {name: text for name, text in found.items() if text}


def _set(runs: Sequence[Run]) -> str:
    first = runs[0]
    words, ages = int(first.words.sum()), ", ".join(first.age_buckets)
    speakers = "unknown" if first.speakers_unknown else str(len(set(first.speakers)))
    marks = dict.fromkeys(mark for run in runs if (mark := run.metrics.get("filtered_sets", {}).get(first.set_name)))
    scored_with = next((text for run in runs if (text := run.metrics.get("scored_with"))), None)
    return (
        f"the {first.set_name} set: {first.utterances.sum()} utterances of {speakers} speakers, {words} words, ages {ages}"
        + "".join(f"; filtered: {mark}" for mark in marks)
        + (f"; runs with adapter=age: {scored_with}" if scored_with else "")
    )


def _data(configs: Sequence[Mapping[str, Any]], runs: Sequence[Run], name: str) -> str:
    path = " / ".join(one for one in _shared(configs, f"data.{name}").split(" / ") if one != "None")  # of an evaluation
    limit = _shared(configs, f"data.limit_{name}")
    return path + (f", {limit} utterances of it" if path and limit not in ("", "None") else "")


def _shared(configs: Sequence[Mapping[str, Any]], key: str) -> str:
    """A value that all runs share, or all of them; empty if not recorded."""
    values = [OmegaConf.select(OmegaConf.create(dict(config)), key) for config in configs if key.split(".")[0] in config]
    return "" if all(value is None for value in values) else " / ".join(dict.fromkeys(map(str, values)))


def _settings(configs: Sequence[Mapping[str, Any]]) -> str:
    if not configs:
        return ""
    plain = [identity(config) for config in configs]
    shared = []
    for key in SETTINGS:
        values = {json.dumps(one.get(key)) for one in plain}
        if len(values) == 1 and (value := values.pop()) not in ("null", "false", "-1"):
            shared.append(f"{key}={value}")
    return ", ".join(shared)


def _command(runs: Sequence[Run]) -> str:
    """What was typed for all of the runs, without what only some of them have."""
    typed = [run.overrides for run in runs if run.overrides is not None and not run.own_name]
    if not typed:
        return ""
    common = frozenset.intersection(*typed)
    differ = sorted({key_of(one) for one in frozenset.union(*typed) - common})
    return " ".join([program(), *sorted(common), *(f"{key}=..." for key in differ)])


def _files(run: Run) -> str:
    """The files of another recogniser that were scored."""
    files = ", ".join(one["path"] for one in run.metrics["transcripts"].values())
    return f"{run.own_name} ({files})"


def _environment(folder: Path) -> dict[str, Any]:
    try:
        recorded = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _machine(one: Mapping[str, Any]) -> str:
    gpus = ", ".join(one.get("gpus") or []) or "no GPU"
    return f"{one.get('cpus')} x {one.get('cpu')}, {one.get('threads')} threads, {gpus}"


def _dates(days: Iterable[str]) -> str:
    ordered = sorted(days)
    return " to ".join(dict.fromkeys([ordered[0], ordered[-1]])) if ordered else ""


def _all(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(part for value in values for part in value.split(" / ")))
