"""Finished runs: their predictions as arrays, and which of them share a configuration."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from kidasr.errors import KidasrError
from kidasr.recognition.score import is_runaway
from kidasr.runs.files import EVALUATIONS, METRICS, PREDICTIONS, predictions_of
from kidasr.runs.folder import OVERRIDES, read_config, typed_overrides
from kidasr.runs.identity import configuration, ignored_keys, key_of, measured_keys, overrides_with_effect
from kidasr.runs.record import failure
from kidasr.runs.sweeps import SWEEP

#: Fields of a prediction that a comparison needs.
TEXTS = ("utterance_id", "speaker_id", "age_bucket", "normalized_reference", "normalized_hypothesis")
#: Fields that the pages show where they are recorded.
OPTIONAL_TEXTS = ("audio_path", "reference", "hypothesis")
#: The part of a recording, which the pages play.
PART = ("start_sec", "end_sec")
COUNTS = ("words", "characters", "substitutions", "deletions", "insertions", "character_errors")


@dataclass(frozen=True)
class Evaluations:
    """What a run measured during its training."""

    utterance_ids: list[str]
    #: By step, the errors in each of the utterances.
    errors: Mapping[int, list[int]]


@dataclass(frozen=True)
class Sums:
    """What there is of a run that is known by speaker: see :mod:`kidasr.evidence.by_speaker`.

    The arrays have one entry for each speaker at an age, as those of the run.
    """

    utterances: np.ndarray
    runaways: np.ndarray
    #: The word errors in runaways.
    runaway_errors: np.ndarray
    #: A checksum of its transcripts.
    said: str
    #: Checksums of the training loss by step.
    losses: Mapping[int, str]
    #: The run's folder, or where that was when it was published.
    folder: str
    hours: float | None
    #: The luck in the choice of its checkpoint, as :func:`kidasr.evidence.choice.choice_of` finds it.
    choice: Mapping[str, Any] | None
    #: Commit, date and machine, of a published run.
    made_by: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder. Arrays and lists have one entry per utterance, sorted by utterance id."""

    folder: str
    #: The resolved config that the run has recorded; None for a folder that holds none.
    config: Mapping[str, Any] | None
    #: What was typed for it; None where it is not known.
    overrides: frozenset[str] | None
    seed: int | None
    #: What ``metrics.json`` holds.
    metrics: Mapping[str, Any]
    utterance_ids: list[str]
    speakers: np.ndarray
    ages: np.ndarray
    references: list[str]
    hypotheses: list[str]
    #: Empty strings if the run did not record them. The texts are as they were before normalization.
    audio_paths: list[str]
    raw_references: list[str]
    raw_hypotheses: list[str]
    words: np.ndarray
    characters: np.ndarray
    #: Substitutions, deletions, insertions, shape ``(3, utterances)``.
    kinds: np.ndarray
    character_errors: np.ndarray
    #: The set that was scored: ``"validation"`` or the name of a test set.
    set_name: str = "validation"
    #: Start and end of the part of each recording, in seconds, where one is recorded.
    audio_parts: Sequence[Any] = ()
    #: The evaluations that chose the checkpoint; None if they are not recorded.
    evaluations: Evaluations | None = None
    #: The validation set, on which the checkpoint was chosen.
    validation_ids: Sequence[str] = ()
    validation_speakers: np.ndarray = field(default_factory=lambda: np.array([]))
    validation_words: np.ndarray = field(default_factory=lambda: np.array([]))
    #: Whether utterances stand for speakers, who are unknown (``data.speakers=unknown``). Intervals are too narrow.
    speakers_unknown: bool = False
    #: Of a run that is known by speaker alone; arrays and lists then have one entry for each speaker at an age.
    sums: Sums | None = None

    @property
    def own_name(self) -> str:
        """The name of the recogniser whose file was scored; empty for a run of kidasr."""
        return str(self.metrics.get("name") or "")

    @property
    def is_fixed(self) -> bool:
        """Whether it is one system as it is, with no seed that could have been another: a stock model, a scored file."""
        return self.config is not None and self.config.get("seed") is None

    @cached_property
    def losses(self) -> dict[int, Any]:
        """The training loss by step, or a checksum of it; empty if it is not recorded."""
        if self.sums is not None:
            return dict(self.sums.losses)
        history = self.metrics.get("history") or []
        return {entry["step"]: (entry["loss"], entry.get("grad_norm")) for entry in history if "loss" in entry}

    @property
    def saved_steps(self) -> Collection[int]:
        """The evaluated steps that had a checkpoint, among which one was chosen."""
        config = self.config or {}
        steps = (config.get("checkpoint") or {}).get("save_steps") or 1
        evaluated = self.evaluations.errors if self.evaluations else {}
        return {step for step in evaluated if step % steps == 0 or step == self.metrics.get("steps")}

    @cached_property
    def errors(self) -> np.ndarray:
        """Word errors of each utterance."""
        total: np.ndarray = self.kinds.sum(axis=0)
        return total

    @cached_property
    def utterances(self) -> np.ndarray:
        """Number of utterances in each entry."""
        return np.ones_like(self.words) if self.sums is None else self.sums.utterances

    @property
    def said(self) -> list[str] | str:
        """What tells its transcripts from those of another run."""
        return self.hypotheses if self.sums is None else self.sums.said

    @cached_property
    def runaway_errors(self) -> np.ndarray:
        """Word errors in runaways."""
        return self.errors * self.runaways if self.sums is None else self.sums.runaway_errors

    @cached_property
    def runaways(self) -> np.ndarray:
        """Number of hypotheses in each entry that are runaways: the model repeats itself without end."""
        if self.sums is not None:
            return self.sums.runaways
        pairs = zip(self.references, self.hypotheses, strict=True)
        return np.array([int(is_runaway(reference, hypothesis)) for reference, hypothesis in pairs])

    @cached_property
    def age_buckets(self) -> list[str]:
        """The age buckets in the set, youngest first, unknown last."""
        labels = [str(label) for label in _data(self.config).get("age_order") or ()]

        def place(age: str) -> tuple[bool, int, str]:
            first_year = int("".join(filter(str.isdigit, age.split("-")[0])) or 0)
            return age == "unknown", labels.index(age) if age in labels else first_year, age

        return sorted(set(map(str, self.ages)), key=place)


def _data(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    data = (config or {}).get("data")
    return data if isinstance(data, Mapping) else {}


def has_unknown_speakers(run: Run) -> bool:
    """Whether a run's own config says that speakers are unknown, or a scored file has none."""
    return "unknown" in (_data(run.config).get("speakers"), run.metrics.get("speakers"))


def without_speakers(run: Run) -> Run:
    """The run with each utterance as a speaker of its own."""
    return replace(
        run,
        speakers_unknown=True,
        speakers=np.array(run.utterance_ids),
        validation_speakers=np.array(run.validation_ids),
    )


def read_run(folder: Path, set_name: str = "validation") -> Run:
    """Read a run folder: its predictions of a set, its metrics and its config.

    Raises:
        KidasrError: If it is not a run folder, the run is not finished, it did not score the set, or its files can't be
            read.
    """
    if not folder.is_dir() and (folder.parent / SWEEP).is_file():
        raise KidasrError(f"{folder}: not started")
    if not folder.is_dir():
        raise KidasrError(f"{folder}: no such folder; expected: run folders, or patterns such as 'outputs/multirun/*/*/*'")
    if not (folder / METRICS).is_file():
        failed = failure(folder)
        how = f"failed: {failed.get('error')}" if failed else f"not finished: it has no {METRICS}"
        raise KidasrError(f"{folder}: {how}")
    metrics = _read_json(folder / METRICS)
    path = folder / predictions_of(set_name)
    if not path.is_file() and (set_name != "validation" or sets_in(folder)):
        raise KidasrError(f"{folder}: no transcripts of the set {set_name!r} ({path.name}); expected: {_options(folder)}")
    rows = _read_rows(path)
    try:
        run = make_run(folder, metrics, rows, set_name)
        if set_name == "validation" or not (folder / EVALUATIONS).is_file():
            return with_evaluations(run)
        return with_evaluations(run, make_run(folder, metrics, _read_rows(folder / PREDICTIONS)))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise KidasrError(f"{path}: not predictions: {type(error).__name__} {error}") from error


def on_set(run: Run, set_name: str) -> Run:
    """The same run on another set that it was scored on, without the evaluations that chose its checkpoint.

    Raises:
        KidasrError: If its transcripts can't be read.
    """
    folder = Path(run.folder)
    return make_run(folder, run.metrics, _read_rows(folder / predictions_of(set_name)), set_name)


def _options(folder: Path) -> str:
    return ", ".join(f"on={name}" for name in sets_in(folder)) or "a finished run"


def sets_in(folder: Path) -> list[str]:
    """The sets that a run has transcripts of; validation comes first."""
    tests = [path.stem.removeprefix("predictions_") for path in sorted(folder.glob("predictions_*.jsonl"))]
    return [*(["validation"] if (folder / PREDICTIONS).is_file() else []), *tests]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KidasrError(f"{path}: can't be read: {error}") from error


def _read_rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        # Not splitlines(), which also splits at characters that are valid inside a JSON string.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KidasrError(f"{path}: can't be read: {error}") from error
    for line, text in enumerate(lines, start=1):
        if not text:
            continue
        try:
            row = json.loads(text)
            optional = {name: row.get(name, "") for name in OPTIONAL_TEXTS} | {name: row.get(name) for name in PART}
            rows.append({name: row[name] for name in TEXTS + COUNTS} | optional)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise KidasrError(f"{path}:{line}: not a prediction: {type(error).__name__} {error}") from error
    if not rows:
        raise KidasrError(f"{path}: no prediction in it")
    return rows


def make_run(
    folder: Path, metrics: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], set_name: str = "validation"
) -> Run:
    """A run from what is in its files.

    Args:
        folder: Its folder, whose config and overrides are read.
        metrics: What ``metrics.json`` holds.
        rows: Predictions, as in ``predictions.jsonl``.
        set_name: The set that they are of.
    """
    in_order = sorted(rows, key=lambda row: str(row["utterance_id"]))
    words, characters, *kinds, character_errors = np.array([[int(row[name]) for name in COUNTS] for row in in_order]).T
    config = read_config(folder)
    overrides = _of_soup(config) or _overrides(folder)
    run = Run(
        folder=str(folder),
        config=config,
        overrides=overrides,
        seed=config.get("seed") if config else _typed_seed(overrides),
        metrics=metrics,
        utterance_ids=[str(row["utterance_id"]) for row in in_order],
        speakers=np.array([str(row["speaker_id"]) for row in in_order]),
        ages=np.array([str(row["age_bucket"]) for row in in_order]),
        references=[str(row["normalized_reference"]) for row in in_order],
        hypotheses=[str(row["normalized_hypothesis"]) for row in in_order],
        audio_paths=[str(row.get("audio_path") or "") for row in in_order],
        audio_parts=[tuple(map(row.get, PART)) for row in in_order],
        raw_references=[str(row.get("reference") or "") for row in in_order],
        raw_hypotheses=[str(row.get("hypothesis") or "") for row in in_order],
        words=words,
        characters=characters,
        kinds=np.array(kinds),
        character_errors=character_errors,
        set_name=set_name,
    )
    return without_speakers(run) if has_unknown_speakers(run) else run


def with_evaluations(run: Run, validation: Run | None = None) -> Run:
    """A run with the evaluations that its folder records, if it does.

    Args:
        run: The run.
        validation: The same run on the validation set; None if it is that.
    """
    path = Path(run.folder) / EVALUATIONS
    if not path.is_file():
        return run
    recorded, of = _read_json(path), validation or run
    errors = {int(step): errors for step, errors in recorded["errors"].items()}
    return replace(
        run,
        evaluations=Evaluations(list(map(str, recorded["utterance_ids"])), errors),
        validation_ids=of.utterance_ids,
        validation_speakers=of.speakers,
        validation_words=of.words,
    )


def _typed_seed(overrides: frozenset[str] | None) -> int | None:
    typed = next((one.partition("=")[2] for one in overrides or () if key_of(one) == "seed"), "")
    return int(typed) if typed.isdigit() else None


def _overrides(folder: Path) -> frozenset[str] | None:
    try:
        typed = typed_overrides(folder)
        return None if typed is None else frozenset(typed)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise KidasrError(f"{folder / OVERRIDES}: can't be read: {' '.join(str(error).split())}") from error


def _of_soup(config: Mapping[str, Any] | None) -> frozenset[str] | None:
    """What was typed for the runs of a soup; None if it is none, or an old one that does not say."""
    soup = (config or {}).get("soup")
    return frozenset([*map(str, soup["typed"]), "job=soup"]) if isinstance(soup, Mapping) and "typed" in soup else None


def name_configurations(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by their configuration, which is named by the overrides that not all of them have, or is the default.

    ``hypotheses=[h1,h4]`` is named ``h1+h4``, and none of them ``baseline``; a factor of an ablation is named by its level
    where it is on. The sets that were scored are no part of it (``identity.measured_keys``). Where no config is recorded,
    the overrides are the configuration. Files of other recognisers (``job=score``) have names of their own: those of one
    name are one configuration if they have seeds, otherwise each is a system by itself. Beside them, runs are named by their
    ``experiment=`` too.
    """
    # One list for all, also where it was extended between two of them.
    configs = [run.config or {} for run in runs]
    ignored = frozenset[str]().union(*map(ignored_keys, configs), *map(measured_keys, configs))
    typed = {run.folder: _typed(run, ignored) for run in runs if not run.own_name}
    grouped: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        what: Any = sorted(typed[run.folder]) if run.config is None else configuration(run.config, ignored)
        if run.own_name:
            what = [run.own_name, _files(run) if run.is_fixed else None]
        grouped[json.dumps(what, sort_keys=True)].append(run)
    common = frozenset.intersection(*typed.values()) if typed else frozenset()
    if len(typed) < len(runs):  # beside others, the recipe's name says more than "default"
        common = frozenset(one for one in common if key_of(one) != "experiment")
    named: dict[str, list[Run]] = {}
    for members in grouped.values():
        if members[0].own_name:
            named[_not_in(members[0].own_name, named)] = members
            continue
        words = sorted(typed[members[0].folder] - common)
        short = [_short(one) for one in words]
        if len(short) > 1:
            short = [one for one in short if one != "baseline"]
        name = " ".join(short) or ("baseline" if factors_of(members[0]) else "default")
        named[_not_in(name, named)] = members  # there may be the same words, but with other files in conf/
    return named


def _files(run: Run) -> Any:
    """The checksums of another recogniser's files."""
    recorded = run.metrics.get("transcripts")
    return {name: one["sha256"] for name, one in recorded.items()} if isinstance(recorded, Mapping) else recorded


def _not_in(name: str, names: Collection[str]) -> str:
    """A name with a number, if it is there already."""
    number = 1
    while (numbered := name if number == 1 else f"{name} ({number})") in names:
        number += 1
    return numbered


def distinct(configurations: Mapping[str, Sequence[Run]]) -> tuple[dict[str, list[Run]], list[dict[str, str]]]:
    """Each configuration's runs, each seed once.

    Returns:
        The runs, and what was left out: ``path`` and ``reason``.

    Raises:
        KidasrError: If a seed is there twice with different transcripts, or two soups share a run: neither repetitions nor
            the same run.
    """
    kept: dict[str, list[Run]] = {}
    dropped = []
    for name, members in configurations.items():
        kept[name] = []
        in_soup: dict[str, str] = {}
        for run in members:
            same = next((one for one in kept[name] if one.said == run.said and one.seed == run.seed), None)
            if same is not None:
                seed = "an unknown seed" if run.seed is None else f"seed {run.seed}"
                dropped.append(
                    {"path": run.folder, "reason": f"{run.folder}: {seed} of {name} again, as in {same.folder}: one run"}
                )
                continue
            twice = next((one for one in kept[name] if run.seed is not None and one.seed == run.seed), None)
            if twice is not None:
                raise KidasrError(
                    f"{run.folder}: seed {run.seed} of {name} is in {twice.folder} too, with other transcripts; expected: "
                    "each seed once (leave one of the two out of runs=)"
                )
            for one in ((run.config or {}).get("soup") or {}).get("runs", ()):
                if in_soup.setdefault(one, run.folder) != run.folder:
                    raise KidasrError(
                        f"{run.folder}: a soup that shares {one} with {in_soup[one]}; expected: soups of different runs, "
                        "since others are no repetitions (leave one of the two out of runs=)"
                    )
            kept[name].append(run)
    return kept, dropped


def _typed(run: Run, ignored: frozenset[str]) -> frozenset[str]:
    """What was typed for a configuration; where that is not known, its folder stands for it."""
    if run.overrides is None:
        return frozenset([run.folder if run.sums is None else run.sums.folder])
    factors = factors_of(run)
    return frozenset(
        one for one in overrides_with_effect(run.overrides, ignored) if key_of(one) != "seed" and not _is_off(one, factors)
    )


def _is_off(override: str, factors: Mapping[str, Sequence[Any]]) -> bool:
    """Whether an override sets a factor to its first level."""
    levels = factors.get(key_of(override))
    return levels is not None and bool(OverridesParser.create().parse_override(override).value() == levels[0])


def _short(override: str) -> str:
    override = re.sub(r"^augment\.\w+\.", "augment.", override)  # as it may be typed
    key, _, value = override.partition("=")
    if key == "hypotheses":
        return "+".join(part.strip() for part in value.strip("[]").split(",") if part.strip()) or "baseline"
    if re.fullmatch(r"-?\d+\.\d{7,}(e[+-]?\d+)?", value):  # drawn by a search
        return f"{key}={float(value):.3g}"
    return value if key == "experiment" else override


def factors_of(run: Run) -> dict[str, list[Any]]:
    """The factors of the ablation that a run belongs to, besides its hypotheses: their levels by name, the first is off."""
    recorded = (run.config or {}).get("factors")
    if not isinstance(recorded, Mapping):
        return {}
    return {str(name): list(levels) for name, levels in recorded.items() if isinstance(levels, list) and levels}


def factors_on(run: Run) -> frozenset[str] | None:
    """What an ablation has switched on in a run: hypotheses by name, factors as ``key=level``. None for a run of none."""
    factors = factors_of(run)
    on = _hypotheses_on(run)
    if on is None and not factors:
        return None
    levels = {one for one in run.overrides or () if key_of(one) in factors and not _is_off(one, factors)}
    return (on or frozenset()) | levels


def _hypotheses_on(run: Run) -> frozenset[str] | None:
    recorded = (run.config or {}).get("hypotheses")
    if isinstance(recorded, list):
        return frozenset(map(str, recorded))
    for override in run.overrides or ():
        key, _, value = override.partition("=")
        if key == "hypotheses":
            return frozenset(part.strip() for part in value.strip("[]").split(",") if part.strip())
    return None


def check_same_set(one: Run, other: Run) -> None:
    """Check that two runs were scored on the same utterances.

    Raises:
        KidasrError: Says how the sets differ.
    """
    if one.utterance_ids != other.utterance_ids:
        ours, theirs = set(one.utterance_ids), set(other.utterance_ids)
        what = "utterances" if one.sums is None else "speakers at an age"
        raise KidasrError(
            f"{other.folder}: another set than {one.folder}: {len(ours - theirs)} of its {len(ours)} {what} are "
            f"not there, {len(theirs - ours)} others are; expected: runs on the same utterances"
        )
    for what, values, others in (
        ("references", one.references, other.references),
        ("numbers of words", one.words.tolist(), other.words.tolist()),
        ("numbers of utterances", one.utterances.tolist(), other.utterances.tolist()),
        ("speakers", one.speakers, other.speakers),
        ("ages", one.ages, other.ages),
    ):
        changed = [place for place, (a, b) in enumerate(zip(values, others, strict=True)) if a != b]
        if changed:
            raise KidasrError(
                f"{other.folder}: another set than {one.folder}: {len(changed)} {what} differ, first that of "
                f"{one.utterance_ids[changed[0]]}; expected: runs on the same {what}"
            )
