"""How large the sets of a run are."""

from collections.abc import Mapping, Sequence
from typing import Any

from kidasr.corpus.age import AgeBuckets
from kidasr.corpus.corpus import Corpus
from kidasr.corpus.manifest import Utterance


def sizes_of(sets: Mapping[str, Sequence[Utterance]], corpus: Corpus) -> dict[str, Any]:
    """Utterances, speakers and hours of each set, and its speakers by age.

    Args:
        sets: Sets by name.
        corpus: Where they are from. If its speakers are unknown, the numbers of speakers are None.

    Returns:
        By set: ``utterances``, ``speakers``, ``hours`` (None if a length is unknown), and ``ages``: by bucket,
        ``utterances`` and ``speakers``. A speaker who is recorded at several ages counts in each.
    """
    known = corpus.speakers == "known"
    return {name: _size(utterances, corpus.buckets, known) for name, utterances in sets.items()}


def _size(utterances: Sequence[Utterance], buckets: AgeBuckets, speakers_known: bool) -> dict[str, Any]:
    lengths = [one.duration_sec for one in utterances]
    known = [length for length in lengths if length is not None]
    ages: dict[str, list[Utterance]] = {}
    for one in utterances:
        ages.setdefault(one.age_bucket, []).append(one)
    return {
        **_counts(utterances, speakers_known),
        "hours": sum(known) / 3600 if len(known) == len(lengths) else None,
        "ages": {age: _counts(ages[age], speakers_known) for age in sorted(ages, key=buckets.order.__getitem__)},
    }


def _counts(utterances: Sequence[Utterance], speakers_known: bool) -> dict[str, Any]:
    return {
        "utterances": len(utterances),
        "speakers": len({one.speaker_id for one in utterances}) if speakers_known else None,
    }
