"""Checks of speakers and ages."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

from kidasr.corpus.age import UNKNOWN
from kidasr.corpus.checks.findings import Examined, Finding, Flagged, Severity, check, share
from kidasr.corpus.split import spelling

#: Sets that training sees; a test set may share speakers only with another test set.
SEEN = ("train", "validation")

#: In years; nobody younger reads or speaks in sentences.
YOUNGEST_YEARS = 2


def _speakers(examined: Examined) -> dict[str, list[int]]:
    """The places of each speaker's utterances; nothing if speakers are unknown."""
    speakers: dict[str, list[int]] = defaultdict(list)
    for place, utterance in enumerate(examined.utterances if examined.speakers_known else ()):
        speakers[utterance.speaker_id].append(place)
    return speakers


@check
def speaker_in_two_sets(examined: Examined) -> Iterator[Finding]:
    """A speaker in two sets, of which training sees at least one."""
    flagged = []
    for speaker, places in _speakers(examined).items():
        sets = list(dict.fromkeys(examined.sets[place] for place in places))
        if any(one in SEEN or other in SEEN for one, other in combinations(sets, 2)):
            flagged += [Flagged(place, f"speaker {speaker} is in {' and '.join(sets)}") for place in places]
    number = len({examined.utterances[one.place].speaker_id for one in flagged})
    yield Finding(
        "speaker_in_two_sets",
        "error",
        flagged,
        f"{number} speaker(s) with {examined.share(flagged)} are in two sets. Training refuses that: the scores would be "
        "those of children whom the model knows. Move each to one set.",
    )


@check
def similar_speakers(examined: Examined) -> Iterator[Finding]:
    """Speakers whose ids differ only in spelling; each counts as a child of its own, in whatever set."""
    alike: dict[str, list[str]] = defaultdict(list)
    speakers = _speakers(examined)
    for speaker in speakers:
        alike[spelling(speaker)].append(speaker)
    flagged = [
        Flagged(place, f"speaker {speaker!r}, elsewhere {next(one for one in names if one != speaker)!r}")
        for names in alike.values()
        if len(names) > 1
        for speaker in names
        for place in speakers[speaker]
    ]
    yield Finding(
        "similar_speakers",
        "warning",
        flagged,
        f"{examined.share(flagged)} are of speakers whose ids differ only in capitals, zeros or signs. If they are the same "
        "children, these may be in two sets; write each in one way.",
    )


@check
def lone_utterances(examined: Examined) -> Iterator[Finding]:
    """Speakers with a single utterance; if nearly all have only one, the ids are probably not those of speakers."""
    speakers = _speakers(examined)
    alone = [places[0] for places in speakers.values() if len(places) == 1]
    nearly_all = len(alone) > 0.9 * len(speakers) and len(speakers) > 1
    severity: Severity = "warning" if nearly_all else "note"
    meaning = (
        "Are these ids of utterances or sessions? Then a child may be in two sets, and every interval is too narrow."
        if nearly_all
        else "Intervals take whole speakers, so these count little. Is the id misspelled?"
    )
    yield Finding(
        "single_utterance",
        severity,
        [Flagged(place, f"speaker {examined.utterances[place].speaker_id}") for place in alone],
        f"{len(alone):,} of {len(speakers):,} speakers have a single utterance. {meaning}",
    )


@check
def ages(examined: Examined) -> Iterator[Finding]:
    """Ages that are missing, or that are odd in a children's corpus."""
    limit = examined.limits.oldest_age
    for places in examined.by_set().values():
        unknown = []
        for place in places:
            one = examined.utterances[place]
            if one.age_bucket == UNKNOWN:
                remark = "no age" if one.age is None else f"age {one.age:g} is in no bucket of data.age_buckets"
                unknown.append(Flagged(place, remark))
        yield Finding(
            "age_unknown",
            "note" if len(unknown) == len(places) else "warning",
            unknown,
            f"{share(len(unknown), len(places))} of {examined.sets[places[0]]} have no age: they are in no result by age "
            "and come last in a curriculum. (data.fields.age names the field.)",
        )
    odd = [
        Flagged(place, f"age {one.age:g}")
        for place, (one, name) in enumerate(zip(examined.utterances, examined.sets, strict=True))
        if one.age is not None and ((name in SEEN and one.age > limit) or one.age < YOUNGEST_YEARS)
    ]
    yield Finding(
        "odd_age",
        "warning",
        odd,
        f"{examined.share(odd)} have an age over {limit:g} (check.oldest_age) or under {YOUNGEST_YEARS} years. Are these "
        "months, grades or years of birth? Are adults in the training set?",
    )


@check
def ages_of_a_speaker(examined: Examined) -> Iterator[Finding]:
    """A speaker whose ages are years apart, or who has an age only in some utterances."""
    limit = examined.limits.max_age_gap
    flagged = []
    for speaker, places in _speakers(examined).items():
        known = [age for place in places if (age := examined.utterances[place].age) is not None]
        if known and max(known) - min(known) > limit:
            remark = f"speaker {speaker} is {min(known):g} to {max(known):g} years old"
            flagged += [Flagged(place, remark) for place in places if examined.utterances[place].age is not None]
    yield Finding(
        "ages_of_a_speaker_differ",
        "warning",
        flagged,
        f"{examined.share(flagged)} are of speakers whose ages are more than {limit:g} years apart (check.max_age_gap). Do "
        "two children share an id?",
    )
