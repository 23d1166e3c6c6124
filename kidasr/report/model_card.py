"""The model card of a run: ``README.md`` in its model folder, in the format of the Hugging Face hub.

It is written from what the run has measured and recorded. What is not known is left out of the metadata, and the text says
"unknown" or "not stated". Paths of this machine and secrets are left out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kidasr.config.secrets import hidden
from kidasr.durable import write_text
from kidasr.evidence.rates import describe
from kidasr.evidence.runs import Run
from kidasr.features.padding import Padding
from kidasr.model.as_trained import padding_as_trained, read_description
from kidasr.report.options import Card
from kidasr.report.tables import Table, interval, percent, rates_table, result_table, sets_table, speakers_of
from kidasr.report.verdict import (
    TOO_NARROW,
    about_choice,
    about_full_window,
    about_kept,
    about_undecided_sets,
    about_worse_sets,
)
from kidasr.runs.files import ENVIRONMENT, MODEL, read_json
from kidasr.runs.folder import typed_overrides
from kidasr.runs.identity import ignored_keys, overrides_with_effect
from kidasr.runs.record import duration_sec, elapsed_sec

#: The name that the hub shows first.
CARD = "README.md"

#: An age with fewer speakers is named: its rate says little about others.
FEW_SPEAKERS = 5

#: The task's name on the hub.
TASK = "automatic-speech-recognition"

#: Whisper's window; faster-whisper and others take no model with another.
WHISPER_SEC = 30.0

#: Licences of base models that are known for sure, by the beginning of their names on the hub.
LICENCES = {"openai/whisper-": "MIT, as OpenAI released Whisper's weights; its page on the hub may state another"}

#: A path of this machine, in an override.
_PATH = re.compile(r"(?<![\w.~/-])(?:~|\.\.?)?/[^\s,\]}'\"]*")

EMBEDDED = Path(__file__).parents[1] / "embedded"


def write_card(run_dir: Path, run: Run, tests: Mapping[str, Run], options: Card) -> None:
    """Write the card of a run, whose model, transcripts and records are in its folder.

    Args:
        run_dir: The run folder.
        run: The run on the validation set, with its metrics.
        tests: The same run on each test set, by name.
        options: The keys ``report.card``.
    """
    write_text(run_dir / MODEL / CARD, card_of(run_dir, run, tests, options))


def card_of(run_dir: Path, run: Run, tests: Mapping[str, Run], options: Card) -> str:
    """The card's text, with its metadata; the arguments are those of :func:`write_card`."""
    facts = _Facts(run_dir, run, tests, options, describe(run), run.metrics.get("rate", "WER"))
    loader = PackageLoader("kidasr.report")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return environment.get_template("model_card.md").render(metadata=_metadata(facts), card=_text(facts))


@dataclass(frozen=True)
class _Facts:
    run_dir: Path
    run: Run
    tests: Mapping[str, Run]
    options: Card
    #: See :func:`kidasr.evidence.rates.describe`.
    described: Mapping[str, Any]
    rate: str

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.run.metrics

    @property
    def config(self) -> Mapping[str, Any]:
        return self.run.config or {}

    @property
    def model(self) -> Path:
        return self.run_dir / MODEL

    @property
    def base(self) -> str:
        """The base model as the config names it."""
        return str(self.config.get("model", {}).get("name_or_path") or "unknown")

    @property
    def base_on_hub(self) -> str | None:
        """The base model's name on the hub; None if it came from a folder."""
        local = Path(self.base).expanduser().exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", self.base)
        return None if local or self.base == "unknown" else self.base

    @property
    def base_name(self) -> str:
        """The last part of the base model's name; of the model of a run, the name of the run's folder."""
        path = Path(self.base)
        return path.parent.name if path.name == MODEL and path.parent.name else path.name

    @property
    def environment(self) -> Mapping[str, Any]:
        path = self.run_dir / ENVIRONMENT
        content: Mapping[str, Any] = read_json(path) if path.exists() else {}
        return content

    @property
    def language(self) -> str | None:
        code: str | None = read_description(self.model).get("writes")
        return code

    @property
    def padding(self) -> Padding:
        return padding_as_trained(str(self.model))

    @property
    def window_sec(self) -> float | None:
        """The model's window; None for a model that is not Whisper."""
        path = self.model / "preprocessor_config.json"
        if not path.is_file():
            return None
        extractor = json.loads(path.read_text(encoding="utf-8"))
        return float(extractor["n_samples"] / extractor["sampling_rate"])


def _metadata(facts: _Facts) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    datasets = facts.options.datasets
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="unknown",
            dataset_name=f"{name} set of the run",
            dataset_config=f"{name}, {'all ages' if age == 'all' else f'age {age}'}",
            dataset_split="validation" if name == "validation" else "test",
            metric_type=kind,
            metric_value=round(100 * rates[kind], 2),
            metric_name=f"{kind.upper()}, %",
        )
        for name, one in {"validation": facts.metrics, **facts.metrics["tests"]}.items()
        for age, rates in {"all": one["final"], **one["final"]["by_age"]}.items()
        for kind in (("cer",) if facts.rate == "CER" else ("wer", "cer"))
        if rates[kind] is not None
    ]
    data = ModelCardData(
        language=facts.language,
        license=facts.options.license,
        base_model=facts.base_on_hub,
        base_model_relation="finetune" if facts.base_on_hub else None,
        datasets=datasets or None,
        library_name="transformers" if facts.window_sec else None,
        pipeline_tag=TASK,
        tags=["kidasr", "children", TASK, *(["whisper"] if facts.window_sec else [])],
        metrics=["cer"] if facts.rate == "CER" else ["wer", "cer"],
        model_name=f"{facts.base_name}-kidasr",
        eval_results=results,
    )
    text: str = data.to_yaml()
    return text


def _text(facts: _Facts) -> Mapping[str, Any]:
    metrics = facts.metrics
    return {
        "title": f"{facts.base_name}, fine-tuned on children's speech",
        "about": list(_about(facts)),
        "is_short": facts.padding.is_short,
        "silence_sec": f"{facts.padding.trailing_silence_sec:g}",
        "window_sec": f"{facts.window_sec:g}" if facts.window_sec else None,
        "full_window": _full_window(facts),
        "sets": _sets(metrics.get("sets") or {}),
        "data": list(_data(facts)),
        "rate": facts.rate,
        "intervals": _intervals(facts),
        "by_age": rates_table(facts.described, facts.rate),
        "language": read_description(facts.model).get("language"),
        "task": read_description(facts.model).get("task"),
        "exports": facts.window_sec is not None and facts.window_sec >= WHISPER_SEC,
        "before_after": result_table(metrics["zero_shot"], metrics["final"], facts.rate) if metrics["zero_shot"] else None,
        "tests": sets_table(metrics) if metrics["tests"] else None,
        "costs": list(_costs(facts)),
        "of_tests": {name: rates_table(describe(run), facts.rate) for name, run in facts.tests.items()},
        "training": _training(facts),
        "limits": list(_limits(facts)),
        "license": _license(facts),
        "citation": facts.options.citation,
        "version": _versions(facts).get("kidasr", "unknown"),
    }


def _about(facts: _Facts) -> Iterator[str]:
    metrics, described = facts.metrics, facts.described
    trained = (metrics.get("sets") or {}).get("train")
    on = f", on {_amount(trained)}" if trained else ""
    base = f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.base_on_hub else f"`{facts.base_name}`"
    yield (
        f"{base}, fine-tuned with kidasr {_versions(facts).get('kidasr', '(version unknown)')}, a framework to fine-tune "
        f"Whisper on children's speech{on}. {about_kept(metrics)}"
    )
    if soup := facts.config.get("soup"):
        yield f"It is the mean of the weights of {len(soup['runs'])} runs that differ in their seeds: a model soup."
    before = metrics["zero_shot"]
    yield (
        f"**{percent(described['wer'])} {facts.rate}** on the validation set, {described['utterances']} utterances of "
        f"{speakers_of(described)} other speakers (95% interval {interval(described['ci95'])}, {_intervals(facts)})"
        + (f"; {percent(before['wer'])} before training." if before else "; before training: not measured.")
    )
    yield from (f"**Doubt**: {_sentence(doubt)}" for doubt in metrics.get("doubts") or ())
    if described["choice"]:
        yield about_choice(described["choice"], facts.rate)
    if "scored_with" in metrics:
        yield f"{_sentence(metrics['scored_with'])} The model in this folder is the one for unknown ages."


def _intervals(facts: _Facts) -> str:
    return TOO_NARROW if facts.run.speakers_unknown else "for other speakers"


def _full_window(facts: _Facts) -> str | None:
    """What padding costs; None for a model that is trained with it."""
    if not facts.padding.is_short:
        return None
    found = facts.metrics.get("full_window")
    return _sentence(about_full_window(found, facts.rate)) if found else "What that costs was not measured."


def _sets(sizes: Mapping[str, Any]) -> Table:
    table = Table(["set", "utterances", "speakers", "hours", "speakers by age"])
    for name, one in sizes.items():
        ages = ", ".join(f"{age}: {speakers_of(of_age)}" for age, of_age in one["ages"].items())
        hours = "unknown" if one["hours"] is None else f"{one['hours']:.2f}"
        table.add(name, str(one["utterances"]), speakers_of(one), hours, ages)
    return table


def _data(facts: _Facts) -> Iterator[str]:
    metrics, data = facts.metrics, facts.config.get("data", {})
    names = ", ".join(facts.options.datasets)
    manifests = ", ".join(Path(path).name for key in ("train", "validation", "test") if (path := data.get(key)))
    yield f"Data sets: {names or 'not stated'}. Manifests: {manifests or 'unknown'}."
    if Path(str(data.get("train"))).is_relative_to(EMBEDDED):
        yield "These are kidasr's synthetic children. No figure here says anything about real ones."
    texts = metrics.get("texts") or {}
    clean = ", ".join(texts.get("clean", []))
    stripped = f"Transcripts were cleaned by `data.clean=[{clean}]`." if clean else "Transcripts were not cleaned."
    yield stripped
    for name, mark in (metrics.get("filtered_sets") or {}).items():
        yield f"The {name} set was filtered: {mark}. A filtered set is easier."
    if not metrics.get("filtered_sets"):
        yield "No set is marked as filtered."
    skipped = {name: number for name, number in (metrics.get("skipped_audio") or {}).items() if number}
    if skipped:
        left_out = ", ".join(f"{number} of {name}" for name, number in skipped.items())
        yield f"Recordings that could not be used were left out: {left_out}."
    else:
        yield "No recording was left out as unusable."


def _costs(facts: _Facts) -> Iterator[str]:
    if worse := about_worse_sets(facts.metrics):
        yield _sentence(worse)
    yield from map(_sentence, about_undecided_sets(facts.metrics))


def _training(facts: _Facts) -> Mapping[str, str]:
    metrics, config, environment = facts.metrics, facts.config, facts.environment
    trainer, optim, schedule = (config.get(group, {}) for group in ("trainer", "optim", "schedule"))
    typed = overrides_with_effect(typed_overrides(facts.run_dir) or [], ignored_keys(config))
    uncommitted = " with uncommitted changes" if environment.get("uncommitted_changes") else ""
    gpus = ", ".join(environment.get("gpus") or []) or "no GPU"
    return {
        "options besides the defaults": " ".join(f"`{_private(one)}`" for one in typed) or "none recorded",
        "hypotheses": ", ".join(map(str, config.get("hypotheses") or [])) or "none",
        "input": facts.padding.describe(),
        "steps": f"{metrics['steps']}, {_epochs(metrics)} epochs" if metrics["steps"] else "none of its own",
        "utterances per step": str(trainer.get("train_batch_size", 0) * trainer.get("gradient_accumulation_steps", 1)),
        "learning rate": f"{optim.get('learning_rate', 'unknown')} at most, {schedule.get('lr_scheduler_type', 'unknown')}, "
        f"warm-up {schedule.get('warmup_steps', 'unknown')} steps",
        "optimizer": str(optim.get("optim", "unknown")),
        "precision": str(environment.get("precision", "unknown")),
        "seed": str(config.get("seed", "unknown")),
        "normalizer of scores": str(read_description(facts.model).get("normalizer", "unknown")),
        "kidasr commit": f"{environment.get('commit') or 'unknown'}{uncommitted}",
        "versions": ", ".join(f"{name} {version}" for name, version in _versions(facts).items()) or "unknown",
        "started": str(environment.get("started", "unknown")),
        "hours": _hours(facts),
        "machine": f"{environment['cpus']} x {environment['cpu']}, {gpus}" if environment else "unknown",
    }


def _epochs(metrics: Mapping[str, Any]) -> str:
    epochs = [entry["epoch"] for entry in metrics.get("history") or [] if "epoch" in entry]
    return f"{epochs[-1]:.3g}" if epochs else "unknown"


def _hours(facts: _Facts) -> str:
    """The time of all attempts, evaluations included; that of a soup's runs counts."""
    own = elapsed_sec(facts.run_dir)
    if soup := facts.config.get("soup"):
        of_runs = [duration_sec(Path(run)) for run in soup["runs"]]
        if own is None or None in of_runs:
            return "unknown"
        total = own[0] + sum(one for one in of_runs if one is not None)
        return f"{total / 3600:.2f}, of which its {len(of_runs)} runs {(total - own[0]) / 3600:.2f}"
    if own is None:
        return "unknown"
    total, is_all = own
    return f"{total / 3600:.2f}{'' if is_all else ' or more: an attempt was killed'}"


def _limits(facts: _Facts) -> Iterator[str]:
    metrics, described, data = facts.metrics, facts.described, facts.config.get("data", {})
    by_age = described["by_age"]
    known = [age for age in by_age if age != "unknown"]
    order = data.get("age_order") or data.get("age_buckets") or []
    missing = [str(age) for age in order if str(age) not in by_age]
    ages = f"Ages: scored on {', '.join(known)}" if known else "Ages: those of the validation set are unknown"
    absent = f"; not on {', '.join(missing)}" if missing else ""
    yield f"{ages}{absent}. No other age was tested."
    few = [f"{age} ({one['speakers']})" for age, one in by_age.items() if (one["speakers"] or FEW_SPEAKERS) < FEW_SPEAKERS]
    if few:
        yield f"Few speakers: {', '.join(few)}. These rates say little about other children of that age."
    yield (
        f"Speakers: {speakers_of(described)} in the validation set. The intervals are for other speakers who are recorded "
        "in the same way, and for this model: another seed would have given another one."
    )
    if described["choice"]:
        yield "The validation set chose the checkpoint, so rates on it are a little too low."
    yield (
        "Speech: whether it is read or spontaneous, and how it was recorded, is unknown. Other speech than that of these "
        "sets was not tested."
    )
    language = facts.language or "unknown"
    yield f"Language: {language} alone. What training did to other languages of the base model was not tested."
    if trained := read_description(facts.model).get("trained_sec"):
        stops = " A model of short input leaves out much of longer ones: give other programs no longer pieces."
        yield (
            f"Length: trained on utterances of {trained['median']:.1f} s (median), 95% of them up to "
            f"{trained['p95']:.1f} s. Longer pieces of speech were not tested.{stops if facts.padding.is_short else ''}"
        )
    if not metrics["tests"]:
        yield "Adults: what training cost on their speech was not measured."
    if facts.padding.is_short and not metrics.get("full_window"):
        yield "Padding to the full window, as other programs do: not measured."
    yield "Times: trained without timestamps. Those that other programs ask the model for were not tested."
    yield (
        "Children's voices are personal data. Whether the model gives away anything about its training recordings was not "
        "tested; transcripts of children deserve the same care as their recordings. The error rate of a single child may be "
        "far from the mean, so this is no basis for judging one."
    )


def _license(facts: _Facts) -> str:
    if facts.options.license:
        return f"{facts.options.license}."
    known = (
        next((text for name, text in LICENCES.items() if facts.base.startswith(name)), None) if facts.base_on_hub else None
    )
    card = Path(facts.base).expanduser() / CARD
    if not facts.base_on_hub and card.is_file():
        from huggingface_hub import ModelCard

        known = ModelCard.load(card, ignore_metadata_errors=True).data.license
    of_base = f"The base model's: {known}." if known else "The base model's is not recorded here."
    return f"Licence: not stated. {of_base} The data may have terms of their own."


def _versions(facts: _Facts) -> Mapping[str, str]:
    versions: Mapping[str, str] = facts.environment.get("packages", {})
    return versions


def _amount(size: Mapping[str, Any]) -> str:
    hours = f" ({size['hours']:.2f} hours)" if size["hours"] is not None else ""
    ages = [age for age in size["ages"] if age != "unknown"]
    of_ages = f", ages {', '.join(ages)}" if ages else ", ages unknown"
    return f"{size['utterances']} utterances{hours} of {speakers_of(size)} speakers{of_ages}"


def _private(override: str) -> str:
    """An override without secrets and without the folders of this machine."""
    return _PATH.sub(lambda found: f".../{Path(found[0]).name}", hidden(override)).replace("`", "'").replace("\n", " ")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}".rstrip(".") + "."
