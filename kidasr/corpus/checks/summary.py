"""What a corpus is, in numbers."""

from collections import Counter
from typing import Any

from kidasr.corpus.checks.findings import Examined


def summary(examined: Examined) -> dict[str, Any]:
    """Utterances, hours, speakers, ages and rates of each set, and how much was decoded: a part of ``check.json``."""
    decoded = [one for one in examined.recordings if one.sound is not None]
    return {
        "sets": {name: _of_set(examined, places) for name, places in examined.by_set().items()},
        "decoded": {
            "utterances": len(decoded),
            "hours": round(sum(one.lasts_sec for one in decoded) / 3600, 4),
            "fraction": round(len(decoded) / max(1, sum(not one.fault for one in examined.recordings)), 4),
        },
        "limits": vars(examined.limits),
        "vocabulary": examined.vocabulary.source,
    }


def _of_set(examined: Examined, places: list[int]) -> dict[str, Any]:
    ages: dict[str, dict[str, Any]] = {}
    for place in places:
        utterance = examined.utterances[place]
        age = ages.setdefault(utterance.age_bucket, {"utterances": 0, "speakers": set(), "hours": 0.0})
        age["utterances"] += 1
        age["speakers"].add(utterance.speaker_id)
        age["hours"] += examined.recordings[place].lasts_sec / 3600
    rates = Counter(examined.recordings[place].rate_hz for place in places if not examined.recordings[place].fault)
    return {
        "utterances": len(places),
        "usable": sum(not examined.recordings[place].fault for place in places),
        "hours": round(sum(examined.recordings[place].lasts_sec for place in places) / 3600, 4),
        "speakers": len({examined.utterances[place].speaker_id for place in places}) if examined.speakers_known else None,
        "ages": {
            name: {
                **age,
                "speakers": len(age["speakers"]) if examined.speakers_known else None,
                "hours": round(age["hours"], 4),
            }
            for name, age in sorted(ages.items(), key=lambda item: age_order(item[0]))
        },
        "rates_hz": {str(rate): rates[rate] for rate in sorted(rates)},
    }


def age_order(bucket: str) -> tuple[int, str]:
    """Sorts buckets, youngest first."""
    first = bucket.rstrip("+").split("-")[0]
    return (int(first) if first.isdigit() else 1000, bucket)
