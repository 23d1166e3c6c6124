"""Splitting utterances into training and validation by speaker, and limiting the size of a set."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.corpus.set_names import SPLIT_NAMES, set_of
from kidasr.errors import KidasrError, truncate
from kidasr.seeding import generator_for

log = logging.getLogger(__name__)


def create_train_val_split(
    utterances: Sequence[Utterance], validation_fraction: float, buckets: AgeBuckets, seed: int
) -> tuple[list[Utterance], list[Utterance]]:
    """Hold out whole speakers for validation, the same share of each age bucket.

    A speaker belongs to the bucket of most of their utterances. A bucket with two or more speakers has at least one in each
    set; the only speaker of a bucket stays in training.

    Returns:
        Training and validation utterances, each in the original order.

    Raises:
        KidasrError: If no bucket has two speakers.
    """
    buckets_of_speaker: dict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        buckets_of_speaker[utterance.speaker_id][utterance.age_bucket] += 1
    speakers_of_bucket: dict[str, list[str]] = defaultdict(list)
    for speaker, counts in buckets_of_speaker.items():
        speakers_of_bucket[max(counts, key=lambda name: (counts[name], -buckets.order[name]))].append(speaker)
    held_out: set[str] = set()
    for bucket, speakers in speakers_of_bucket.items():
        if len(speakers) > 1:
            number = min(max(1, round(validation_fraction * len(speakers))), len(speakers) - 1)
            held_out.update(generator_for("split", seed, bucket).permutation(sorted(speakers))[:number].tolist())
    if not held_out:
        raise KidasrError(
            "data.validation=null: no speakers can be held out of data.train, since no age bucket has two of them; "
            "expected: a validation manifest of other speakers"
        )
    train = [utterance for utterance in utterances if utterance.speaker_id not in held_out]
    validation = [utterance for utterance in utterances if utterance.speaker_id in held_out]
    return train, validation


def divide_by_field(
    utterances: Sequence[Utterance], faulty: Callable[[Utterance, KidasrError], None] | None = None
) -> dict[str, list[Utterance]]:
    """Split one manifest by its ``split`` field. If that names at most one set, everything is training data.

    Args:
        utterances: The manifest.
        faulty: Takes an utterance of an unknown set and the error; it is left out.

    Raises:
        KidasrError: For an unknown set name (without ``faulty``), if there are several names.
    """
    if len({utterance.split for utterance in utterances}) < 2:
        return {"train": list(utterances)}
    divided: dict[str, list[Utterance]] = {"train": [], "validation": [], "test": []}
    for utterance in utterances:
        name = set_of(utterance.split)
        if name is not None:
            divided[name].append(utterance)
            continue
        error = KidasrError(
            f"{utterance.source}: split={truncate(repr(utterance.split))}; expected: {', '.join(SPLIT_NAMES)}"
        )
        if faulty is None:
            raise error
        faulty(utterance, error)
    if not divided["train"]:
        raise KidasrError("data.train: no line has split='train'")
    return divided


def check_speakers_disjoint(
    one_set: Sequence[Utterance], other: Sequence[Utterance], one_name: str, other_name: str
) -> None:
    """Refuse sets that share speakers, since their WER would be too optimistic.

    Raises:
        KidasrError: Names the speakers.
    """
    shared = sorted({one.speaker_id for one in one_set} & {one.speaker_id for one in other})
    if shared:
        names = truncate(", ".join(shared[:5])) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
        raise KidasrError(
            f"data.{other_name}: {len(shared)} speaker(s) are in data.{one_name} too: {names}; expected: each in one set"
        )


def spelling(speaker_id: str) -> str:
    """A speaker's id without what is written in different ways: ``"S-07"``, ``"s_7"`` and ``"S 7.0"`` are one."""
    plain = re.sub(r"[\W_]+", "_", re.sub(r"\.0+$", "", speaker_id.casefold()))
    return re.sub(r"0*(\d+)", r"\1", plain)


def warn_of_spellings(one_set: Sequence[Utterance], other: Sequence[Utterance], one_name: str, other_name: str) -> None:
    """Log speakers of two sets that differ only in spelling."""
    known = {spelling(speaker): speaker for speaker in {one.speaker_id for one in one_set}}
    alike = sorted(speaker for speaker in {one.speaker_id for one in other} if spelling(speaker) in known)
    if alike:
        log.warning(
            "data.%s: %d speaker(s) differ from those of data.%s only in spelling, e.g. %s and %s: the same child?",
            *(other_name, len(alike), one_name, truncate(repr(known[spelling(alike[0])])), truncate(repr(alike[0]))),
        )


def check_audio_disjoint(one_set: Sequence[Utterance], other: Sequence[Utterance], one_name: str, other_name: str) -> None:
    """Refuse sets that share recordings or parts of them; where speakers are unknown, nothing else tells.

    Raises:
        KidasrError: Names the first.
    """

    def audio(one: Utterance) -> tuple[str, float | None, float | None]:
        return os.path.normpath(one.audio_path), one.start_sec, one.end_sec

    known = set(map(audio, one_set))
    shared = [one for one in other if audio(one) in known]
    if shared:
        raise KidasrError(
            f"data.{other_name}: {len(shared)} utterance(s) are in data.{one_name} too: the first at {shared[0].source}; "
            "expected: each in one set"
        )


def limit_utterances(utterances: Sequence[Utterance], limit: int | None, seed: int) -> list[Utterance]:
    """At most ``limit`` utterances, in order, drawn from the speakers in turn to keep as many speakers as possible."""
    if limit is None or limit >= len(utterances):
        return list(utterances)
    rounds: dict[int, int] = {}
    taken: Counter[str] = Counter()
    for place in generator_for("limit", seed).permutation(len(utterances)).tolist():
        rounds[place] = taken[utterances[place].speaker_id]
        taken[utterances[place].speaker_id] += 1
    kept = sorted(rounds, key=rounds.__getitem__)[:limit]
    return [utterances[place] for place in sorted(kept)]
