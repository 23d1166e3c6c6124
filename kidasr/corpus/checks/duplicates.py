"""Checks for the same recording in two utterances."""

from collections.abc import Iterator

from kidasr.corpus.checks.findings import Examined, Finding, Flagged, check
from kidasr.corpus.checks.recordings import is_silent
from kidasr.corpus.checks.speakers import SEEN
from kidasr.corpus.checks.texts import normalized


@check
def duplicates(examined: Examined) -> Iterator[Finding]:
    """The same samples twice: in two sets, with different transcripts, or only twice."""
    found: dict[str, list[Flagged]] = {"across": [], "tests": [], "texts": [], "twice": []}
    for places in _same_audio(examined):
        sets = {examined.sets[place] for place in places}
        kinds = [("across" if sets & set(SEEN) else "tests")] if len(sets) > 1 else []
        if len({normalized(examined.utterances[place].text) for place in places}) > 1:
            kinds.append("texts")
        first = {examined.sets[place]: place for place in reversed(places)}
        for place in places:
            same_set = places[0] if place != places[0] else places[1]
            other = next((one for name, one in first.items() if name != examined.sets[place]), same_set)
            remark = f"the same as {examined.utterances[other].utterance_id} ({examined.sets[other]})"
            for kind in kinds or ["twice"]:
                found[kind].append(Flagged(place, remark))
    decoded = sum(one.sound is not None for one in examined.recordings)
    good = sum(not one.fault for one in examined.recordings)
    how = "" if decoded == good else f" ({decoded:,} recordings were compared by their samples, the others by their files)"
    yield Finding(
        "duplicate_across_sets",
        "error",
        found["across"],
        f"{examined.share(found['across'])} have the same recording in two sets{how}: the score is that of utterances "
        "trained on. Keep each in one set.",
    )
    yield Finding(
        "duplicate_across_sets",
        "note",
        found["tests"],
        f"{examined.share(found['tests'])} have the same recording in two test sets{how}, which is fine if it is meant.",
    )
    yield Finding(
        "duplicate_with_other_text",
        "error",
        found["texts"],
        f"{examined.share(found['texts'])} have the same recording as another one, with another transcript{how}: one of "
        "them is wrong. Are two files swapped, or is each text only a part of the recording?",
    )
    yield Finding(
        "duplicate",
        "warning",
        found["twice"],
        f"{examined.share(found['twice'])} have the same recording and text as another one of their set{how}: it counts "
        "twice. Keep one.",
    )


def _same_audio(examined: Examined) -> list[list[int]]:
    """Groups of places with the same audio, by samples where decoded and by file otherwise."""
    of_file = {one.file: one.sound.content for one in examined.recordings if one.file is not None and one.sound is not None}

    def content(place: int) -> bytes | None:
        one = examined.recordings[place]
        if one.sound is None:
            return None if one.file is None else of_file.get(one.file, one.file)
        return None if is_silent(examined, one) else one.sound.content

    return [places for places in examined.grouped(content).values() if len(places) > 1]
