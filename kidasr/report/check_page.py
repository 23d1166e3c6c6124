"""The page and the tables of job=check: findings, distributions, and players of the worst utterances of each kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from kidasr.corpus.checks.durations import characters
from kidasr.corpus.checks.findings import Examined, Finding, percent
from kidasr.corpus.checks.summary import age_order
from kidasr.errors import truncate
from kidasr.report.browser import AudioUrls
from kidasr.report.figure import bars, histogram
from kidasr.report.options import ReportOptions
from kidasr.report.page import Page, Player, Section
from kidasr.report.tables import Table

#: Players of each finding; the page stays small whatever is found.
PLAYERS = 12

#: Characters of an example in a table.
EXAMPLE = 48


def set_table(numbers: Mapping[str, Any]) -> Table:
    """Utterances, hours, speakers, ages and rates of each set; see :func:`kidasr.corpus.checks.summary.summary`."""
    table = Table(["set", "utterances", "hours", "speakers", "ages", "Hz"])
    for name, one in numbers["sets"].items():
        ages = [age for age in one["ages"] if age != "unknown"]
        span = "unknown" if not ages else ages[0] if len(ages) == 1 else f"{ages[0]} to {ages[-1]}"
        rates = ", ".join(sorted(one["rates_hz"], key=int)) or "-"
        speakers = "unknown" if one["speakers"] is None else f"{one['speakers']:,}"
        table.add(name, f"{one['utterances']:,}", f"{one['hours']:.3g}", speakers, span, rates)
    return table


def finding_table(found: Sequence[Finding], examined: Examined) -> Table:
    """One row per finding, with its worst utterance as an example."""
    table = Table(["finding", "severity", "utterances", "share", "example"])
    for number, one in enumerate(found):
        if number and one.severity != found[number - 1].severity:
            table.rule()
        if one.flagged:
            example = truncate(examined.utterances[one.flagged[0].place].utterance_id, EXAMPLE // 2)
            example, total = f"{example}: {_short(one.flagged[0].remark)}", len(examined.utterances)
        else:  # a message begins with the manifest and its line
            example = truncate(one.lines[0].error, 2 * EXAMPLE)
            total = len(examined.utterances) + len(examined.faulty)
        table.add(one.kind, one.severity, f"{one.size:,}", percent(one.size, total), example)
    return table


def _short(remark: str) -> str:
    return truncate(remark if len(remark) <= EXAMPLE else f"{remark[: EXAMPLE - 1]}…")


def check_page(
    examined: Examined, found: Sequence[Finding], numbers: Mapping[str, Any], folder: Path, options: ReportOptions
) -> Page:
    """The page.

    Args:
        examined: The corpus.
        found: Its findings, errors first.
        numbers: Its summary.
        folder: The folder of the page. Links to recordings are relative to it.
        options: The keys of the ``report`` group.
    """
    decoded, vocabulary = numbers["decoded"], examined.vocabulary
    facts = {
        "decoded": f"{decoded['utterances']:,} recordings, {decoded['hours']:.3g} hours ({100 * decoded['fraction']:.3g}%)",
        "window and tokens": f"{vocabulary.window_sec:g} s, {vocabulary.max_tokens}: {vocabulary.source}",
    }
    nothing = [] if found else ["Nothing was found."]
    sections = [
        Section("Corpus", facts=facts, table=set_table(numbers)),
        Section("Findings", nothing, table=finding_table(found, examined) if found else None),
    ]
    audio = AudioUrls(folder, options.embed_audio_mb)
    for one in found:
        more = one.size - PLAYERS
        sections.append(
            Section(
                f"{one.kind.replace('_', ' ')} ({one.severity})",
                [one.detail],
                [line.error for line in one.lines[:PLAYERS]],
                players=[_player(examined, place, remark, audio) for place, remark in one.flagged[:PLAYERS]],
                note=f"{more:,} more in check.json" if more > 0 else "",
            )
        )
    sections.append(Section("Distributions", figures=_figures(examined)))
    return Page("Check of the data", str(folder), sections)


def _player(examined: Examined, place: int, remark: str, audio: AudioUrls) -> Player:
    utterance, recording = examined.utterances[place], examined.recordings[place]
    age = utterance.age_bucket if utterance.age is None else f"{utterance.age:g}"
    facts = f"{utterance.utterance_id} · {examined.sets[place]} · speaker {utterance.speaker_id} · age {age}"
    lasts = "" if recording.fault else f" · {recording.lasts_sec:.2f} s"
    url = (
        None
        if recording.fault and recording.fault != "too_long"
        else audio.url(utterance.audio_path, utterance.start_sec, utterance.end_sec)
    )
    return Player(facts + lasts, remark, utterance.text, url)


def _figures(examined: Examined) -> dict[str, Figure]:
    places = {name: [one for one in of if not examined.recordings[one].fault] for name, of in examined.by_set().items()}
    recordings = examined.recordings
    rates = {
        name: [letters / recordings[one].speech_sec for one in of if (letters := characters(examined.utterances[one].text))]
        for name, of in places.items()
    }
    sounds = {name: [sound for one in of if (sound := recordings[one].sound) is not None] for name, of in places.items()}
    figures = {
        "duration (s)": {name: [recordings[one].lasts_sec for one in of] for name, of in places.items()},
        "characters per second of speech": rates,
        "level of speech (dB of full scale)": {name: [one.level_db for one in of] for name, of in sounds.items()},
        "estimated signal-to-noise ratio (dB)": {name: [one.snr_db for one in of] for name, of in sounds.items()},
    }
    drawn = {label: histogram(label, values) for label, values in figures.items() if any(values.values())}
    return {**drawn, **_ages(examined)}


def _ages(examined: Examined) -> dict[str, Figure]:
    """The speakers (if they are unknown, utterances) of each age, by set. A speaker of several ages counts in each."""
    speakers = {
        name: {(examined.utterances[one].speaker_id, examined.utterances[one].age_bucket) for one in of}
        for name, of in examined.by_set().items()
    }
    counts = {name: Counter(bucket for _, bucket in of) for name, of in speakers.items()}
    buckets = sorted({bucket for of in counts.values() for bucket in of}, key=age_order)
    if not buckets:
        return {}
    what = "speakers" if examined.speakers_known else "utterances"
    return {f"{what} by age": bars("age in years", what, buckets, counts)}
