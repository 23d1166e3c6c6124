"""From a recipe's utterances to manifests: durations, split, filters, files and summary. The same for every corpus."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from kidasr.corpus.age import AGE_ORDER, AgeBuckets
from kidasr.corpus.audio import TOLERANCE_SEC, AudioError, measured_sec
from kidasr.corpus.filters import MARK, MARKED, Filters, reasons
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.recipes.recipe import Found, LeftOut, Recipe, SetName, read_lines
from kidasr.corpus.segment import Segmenter, in_words, segmented
from kidasr.corpus.set_names import SPLIT_NAMES, set_of
from kidasr.corpus.split import create_train_val_split
from kidasr.durable import write_text
from kidasr.errors import KidasrError, truncate
from kidasr.runs.files import write_json, write_jsonl

#: The sets, in the order of all tables.
SETS: tuple[SetName, ...] = ("train", "validation", "test")

#: The list of what is not in the manifests, which is written first, and the summary, which is written last.
LEFT_OUT, SUMMARY, README = "left_out.jsonl", "summary.json", "README.md"

#: Whisper's window.
WINDOW_SEC = 30.0

#: Recordings that a thread measures at a time.
CHUNK = 256


@dataclass(frozen=True)
class Options:
    """The keys of ``job=prepare`` that are the same for every corpus; see ``conf/job/prepare.yaml``."""

    ages: list[float] | None
    split: Literal["own", "speakers"]
    split_lists: str | None
    validation_fraction: float
    test_fraction: float
    split_seed: int
    paths: Literal["auto", "relative", "absolute"]
    filters: Filters
    segmenter: Segmenter | None


def prepare(recipe: Recipe, output_dir: Path, options: Options) -> dict[str, Any]:
    """Write ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``, the list of what was left out, and the summary.

    Each file is written completely or not at all, and the summary last. The same corpus and options give the same bytes.

    Returns:
        The content of ``summary.json``.

    Raises:
        KidasrError: If the folder has other files of these names, the corpus is not there, its split has a speaker in two
            sets, or nothing is left.
    """
    output_dir = output_dir.absolute()
    _check_folder(output_dir)
    found: list[Found] = []
    left_out: list[LeftOut] = []
    for one in tqdm(recipe.utterances(output_dir), "reading the corpus", unit="utterance", disable=None, leave=False):
        if isinstance(one, Found):
            found.append(one)
        else:
            left_out.append(one)
    found = _unique(found, left_out)
    if options.ages is not None:
        found = _of_ages(found, options.ages, left_out)
    found = _measured(found, left_out)
    if not found:
        why = ", ".join(f"{count} {reason}" for reason, count in _counts(left_out).items())
        raise recipe.wrong(f"no utterances are left{f': {why}' if why else ''}")
    buckets = AgeBuckets(recipe.about.age_buckets or tuple(AGE_ORDER))
    sets, how = _split(found, options, buckets, left_out)
    _check_speakers_disjoint(sets)
    sets, cut = segmented(sets, options.segmenter, left_out)
    whole = {name: len(utterances) for name, utterances in sets.items()}
    sets, filtered = _filtered(sets, options.filters, left_out)
    if not sets["train"] and not sets["test"]:
        raise recipe.wrong("no utterances are left after the filters")
    told = {name: [in_words(cut[name])] if name in cut else [] for name in sets}
    marks = {name: "; ".join([*told[name], *([filtered[name]] if name in filtered else [])]) for name in sets}
    summary = _summary(recipe, options, how, sets, whole, marks, left_out, buckets) | ({"segmented": cut} if cut else {})
    _write(sets, marks, output_dir, recipe, options, left_out, summary)
    return summary


def _check_folder(folder: Path) -> None:
    """Refuse a folder with somebody else's files of the same names, which would be replaced."""
    names = (*(f"{name}.jsonl" for name in SETS), SUMMARY, README)
    if not (folder / LEFT_OUT).is_file() and (there := [name for name in names if (folder / name).exists()]):
        raise KidasrError(
            f"hydra.run.dir={truncate(folder)}: it has files that would be replaced: {', '.join(there)}; expected: a new "
            "folder, or one that job=prepare wrote"
        )


def _unique(found: Sequence[Found], left_out: list[LeftOut]) -> list[Found]:
    seen: dict[str, Found] = {}
    for one in found:
        if one.utterance_id in seen:
            first = seen[one.utterance_id].audio_path
            left_out.append(_left_out(one, "utterance id is there twice", f"kept: {first}"))
        else:
            seen[one.utterance_id] = one
    return list(seen.values())


def _of_ages(found: Sequence[Found], ages: Sequence[float], left_out: list[LeftOut]) -> list[Found]:
    kept = []
    for one in found:
        if one.age is not None and ages[0] <= one.age < ages[1] + 1:
            kept.append(one)
        else:
            reason = "age not known" if one.age is None else f"age outside {ages[0]:g} to {ages[1]:g}"
            left_out.append(_left_out(one, reason, "" if one.age is None else f"{one.age:g}"))
    return kept


def _measured(found: Sequence[Found], left_out: list[LeftOut]) -> list[Found]:
    """The utterances with their lengths, from the headers of the recordings. One whose corpus gives it only has to exist."""
    first = {str(one.audio_path): one for one in reversed(found)}
    lengths: dict[str, tuple[float, str]] = {}
    paths = list(first)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    pool = ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1)))
    try:
        with tqdm(desc="reading headers", total=len(paths), unit="recording", disable=None, leave=False) as bar:
            for chunk in pool.map(lambda names: [(name, _length(first[name])) for name in names], chunks):
                lengths.update(chunk)
                bar.update(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)
    kept = []
    for one in found:
        length_sec, error = lengths[str(one.audio_path)]
        if error:
            missing = not one.audio_path.is_file()
            left_out.append(_left_out(one, "recording is missing" if missing else "unusable recording", error))
        elif one.start_sec is None:
            kept.append(replace(one, duration_sec=round(length_sec, 3)))
        elif one.start_sec >= length_sec or (one.end_sec or 0) > length_sec + TOLERANCE_SEC:
            end = "the end" if one.end_sec is None else f"{one.end_sec:g}"
            outside = f"{one.start_sec:g} to {end} of {length_sec:.2f} s"
            left_out.append(_left_out(one, "segment is outside its recording", outside))
        else:
            end_sec = length_sec if one.end_sec is None else min(one.end_sec, length_sec)
            kept.append(replace(one, end_sec=end_sec, duration_sec=round(end_sec - one.start_sec, 3)))
    return kept


def _length(one: Found) -> tuple[float, str]:
    """Length in seconds, and what is wrong with the recording."""
    if one.duration_sec is not None and one.audio_path.is_file():
        return one.duration_sec, ""
    try:
        return measured_sec(_utterance(one, AgeBuckets(), str(one.audio_path)), inf), ""
    except AudioError as error:
        return 0.0, str(error)


def _split(
    found: Sequence[Found], options: Options, buckets: AgeBuckets, left_out: list[LeftOut]
) -> tuple[dict[str, list[Found]], str]:
    """The sets, and in words where the split is from."""
    sets: dict[str, list[Found]] = {name: [] for name in SETS}
    if options.split_lists is not None:
        lists = _read_lists(Path(options.split_lists).expanduser())
        for one in found:
            name = lists.get(one.utterance_id, lists.get(one.speaker_id))
            if name is None:
                left_out.append(_left_out(one, "in none of split_lists"))
            else:
                sets[name].append(one)
        return sets, f"the lists in {options.split_lists}"
    if options.split == "own" and any(one.set for one in found):
        for one in found:
            name = set_of(one.set)
            if name is None:
                left_out.append(_left_out(one, "in no set of the corpus"))
            else:
                sets[name].append(one)
        return sets, "the corpus's own"
    light = [_utterance(one, buckets, one.utterance_id) for one in found]
    named = {one.utterance_id: one for one in found}
    test, validation = options.test_fraction, options.validation_fraction
    rest, test_set = _held_out(light, test, f"test_fraction={test:g}", buckets, options.split_seed)
    share = validation / (1 - test)
    key = f"validation_fraction={validation:g}"
    train, validation_set = _held_out(rest, share, key, buckets, options.split_seed)
    for name, utterances in zip(SETS, (train, validation_set, test_set), strict=True):
        sets[name] = [named[one.utterance_id] for one in utterances]
    how = f"speakers held out, the same share of each age bucket (split_seed={options.split_seed})"
    return sets, how


def _held_out(
    utterances: list[Utterance], fraction: float, key: str, buckets: AgeBuckets, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    if not fraction:
        return utterances, []
    try:
        return create_train_val_split(utterances, fraction, buckets, seed)
    except KidasrError as error:
        speakers = len({one.speaker_id for one in utterances})
        raise KidasrError(
            f"{key}: no speakers can be held out of {speakers}, since no age bucket has two of them; expected: "
            f"{key.partition('=')[0]}=0, which makes no such set"
        ) from error


def _read_lists(folder: Path) -> dict[str, str]:
    """The set of each utterance or speaker, from ``train.list``, ``dev.list`` and ``test.list``."""
    found: dict[str, str] = {}
    files = [(folder / f"{name}.list", set_name) for name, set_name in SPLIT_NAMES.items()]
    for path, set_name in files:
        for number, line in read_lines(path) if path.is_file() else ():
            name = line.split()[0]
            if found.setdefault(name, set_name) != set_name:
                raise KidasrError(f"{truncate(path)}:{number}: {truncate(name)} is in {found[name]} too; expected: one set")
    if not found:
        expected = "train.list, dev.list and test.list with an utterance or a speaker in each line"
        raise KidasrError(f"split_lists={truncate(folder)}: no lists; expected: a folder with {expected}")
    return found


def _check_speakers_disjoint(sets: Mapping[str, Sequence[Found]]) -> None:
    speakers = {name: {one.speaker_id for one in utterances} for name, utterances in sets.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if shared := sorted(speakers[one] & speakers[other]):
            raise KidasrError(
                f"split: {len(shared)} speaker(s) are in both {one} and {other}, the first {truncate(shared[0])}; expected: "
                "split=speakers, which holds out whole speakers instead"
            )


def _filtered(
    sets: Mapping[str, list[Found]], filters: Filters, left_out: list[LeftOut]
) -> tuple[dict[str, list[Found]], dict[str, str]]:
    """The sets after the filters, and for each filtered set the filters and what they left out, in words."""
    described = filters.described()
    on = [name for name in SETS if name in filters.on and sets[name]] if described else []
    reason = reasons(filters, {name: sets[name] for name in on})
    kept = dict(sets)
    said: dict[str, str] = {}
    for name in on:
        kept[name] = []
        for one in sets[name]:
            why = reason(one)
            if why is None:
                kept[name].append(one)
            else:
                left_out.append(replace(_left_out(one, why), set=name))
        said[name] = f"{described}: {len(sets[name]) - len(kept[name])} of {len(sets[name])} {MARKED}"
    return kept, said


def _summary(
    recipe: Recipe,
    options: Options,
    how: str,
    sets: Mapping[str, Sequence[Found]],
    whole: Mapping[str, int],
    filtered: Mapping[str, str],
    left_out: Sequence[LeftOut],
    buckets: AgeBuckets,
) -> dict[str, Any]:
    about = recipe.about
    sizes = {name: _sizes(utterances, buckets) for name, utterances in sets.items() if utterances}
    for name, size in sizes.items():
        size["filtered"] = filtered.get(name) or None
    everyone = [one for utterances in sets.values() for one in utterances]
    compared = "split_lists" if options.split_lists else "filters" if options.filters.described() else "whole"
    return {
        "corpus": about.name,
        "root": str(recipe.root),
        "licence": about.licence,
        "citation": about.citation,
        "obtain": about.obtain,
        "ages": about.ages,
        "transcripts": about.transcripts,
        "split": how,
        "only_ages": options.ages,
        "age_buckets": about.age_buckets,
        "sets": sizes,
        "all": _sizes(everyone, buckets),
        "before_filters": dict(whole),
        "filters": {"on": options.filters.on, "described": options.filters.described() or None},
        "left_out": _counts(left_out),
        "left_out_by_set": {
            name: _counts([one for one in left_out if one.set == name])
            for name in SETS
            if any(one.set == name for one in left_out)
        },
        "published": {
            source: _against(told.sets, sizes, everyone)
            for source, told in about.published.items()
            if options.ages is None and options.segmenter is None and told.when == compared
        },
    }


def _sizes(utterances: Sequence[Found], buckets: AgeBuckets) -> dict[str, Any]:
    ages = [one.age for one in utterances if one.age is not None]
    by_age = Counter(_bucket(one, buckets) for one in utterances)
    return {
        "utterances": len(utterances),
        "speakers": len({one.speaker_id for one in utterances}),
        "hours": round(sum(one.duration_sec or 0 for one in utterances) / 3600, 2),
        "age_range": [min(ages), max(ages)] if ages else None,
        "by_age": {name: by_age[name] for name in buckets.names if by_age[name]},
        f"over_{WINDOW_SEC:g}_sec": sum((one.duration_sec or 0) > WINDOW_SEC for one in utterances),
    }


def _against(
    told: Mapping[Any, Mapping[Any, int]], sizes: Mapping[str, Mapping[str, Any]], everyone: Sequence[Found]
) -> dict[str, Any]:
    """Published sizes beside those found."""
    whole = {"utterances": len(everyone), "speakers": len({one.speaker_id for one in everyone})}
    rows = {}
    for name, expected in told.items():
        here = whole if name == "all" else sizes.get(name, {})
        found = {what: int(here.get(what, 0)) for what in expected}
        rows[name] = {"published": dict(expected), "found": found}
    return {"as_published": all(row["published"] == row["found"] for row in rows.values()), "sets": rows}


def _write(
    sets: Mapping[str, Sequence[Found]],
    filtered: Mapping[str, str],
    output_dir: Path,
    recipe: Recipe,
    options: Options,
    left_out: Sequence[LeftOut],
    summary: Mapping[str, Any],
) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / SUMMARY).unlink(missing_ok=True)
    write_jsonl(output_dir / LEFT_OUT, left_out)
    relative = options.paths == "relative" or (options.paths == "auto" and _is_near(output_dir, recipe.root))
    for name, utterances in sets.items():
        path = output_dir / f"{name}.jsonl"
        mark = filtered.get(name)
        if utterances:
            rows = (_row(one, name, output_dir, relative, mark) for one in utterances)
            write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        else:
            path.unlink(missing_ok=True)
    write_json(output_dir / SUMMARY, summary)


def _row(one: Found, set_name: str, output_dir: Path, relative: bool, mark: str | None) -> dict[str, Any]:
    path = os.path.abspath(one.audio_path)  # noqa: PTH100, unlike resolve() it keeps the user's links
    if relative:
        path = os.path.relpath(os.path.realpath(path), os.path.realpath(output_dir))
    row: dict[str, Any] = {
        "utterance_id": one.utterance_id,
        "speaker_id": one.speaker_id,
        "age": one.age,
        "gender": one.gender,
        "split": set_name,
        "audio_path": path,
        "duration_sec": one.duration_sec,
        "text": one.text,
    }
    if one.start_sec is not None:
        row |= {"start": one.start_sec, "end": one.end_sec}
    before = one.extra.get(MARK)  # a manifest that was prepared already
    return row | dict(one.extra) | ({MARK: "; ".join(filter(None, (before, mark)))} if mark else {})


def _is_near(output_dir: Path, root: Path) -> bool:
    """Whether the manifests lie within the corpus, beside it, or above it, and so would be moved with it."""
    here, there = Path(os.path.realpath(output_dir)), Path(os.path.realpath(root))
    return there == here or there in here.parents or here in there.parents or here.parent == there.parent


def _utterance(one: Found, buckets: AgeBuckets, source: str) -> Utterance:
    return Utterance(
        utterance_id=one.utterance_id,
        speaker_id=one.speaker_id,
        audio_path=str(one.audio_path),
        text=one.text,
        age_bucket=_bucket(one, buckets),
        age=one.age,
        duration_sec=None,
        gender=one.gender,
        split=one.set,
        source=source,
    )


def _bucket(one: Found, buckets: AgeBuckets) -> str:
    named = str(one.extra.get("age_bucket"))
    return named if one.age is None and named in buckets.order else buckets.bucket_of(one.age)


def _left_out(one: Found, reason: str, detail: str = "") -> LeftOut:
    return LeftOut(one.utterance_id, str(one.audio_path), reason, detail, set_of(one.set) or one.set)


def _counts(left_out: Iterable[LeftOut]) -> dict[str, int]:
    return dict(Counter(one.reason for one in left_out).most_common())
