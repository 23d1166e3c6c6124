"""Finds bad recordings before training, so that the order of an epoch is fixed for the whole run, whatever is left out."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from kidasr.corpus.audio import TOLERANCE, AudioError, Header, file_of, load_audio, measured_sec
from kidasr.corpus.manifest import TOLERANCE_SEC, Utterance
from kidasr.corpus.sets import Sets
from kidasr.runs.files import read_json, read_jsonl, write_json, write_jsonl

log = logging.getLogger(__name__)

#: Recordings that a thread checks at a time.
CHUNK = 256


class Finding(NamedTuple):
    """The result of checking one recording."""

    lasts_sec: float
    #: Error message in one line; None for a good recording.
    error: str | None
    is_silent: bool = False


@dataclass(frozen=True)
class BadAudio:
    """An unusable recording: a line of ``bad_audio.jsonl``."""

    set: str
    utterance_id: str
    audio_path: str
    error: str


def write_bad_audio(path: Path, bad: Iterable[BadAudio]) -> None:
    """Write one JSON object per line with the fields of :class:`BadAudio`, atomically."""
    write_jsonl(path, bad)


def read_bad_audio(path: Path) -> list[BadAudio]:
    """Read what :func:`write_bad_audio` wrote; an empty list if the file is missing."""
    return read_jsonl(path, BadAudio) if path.exists() else []


#: Gathers findings over processes: from this process's findings, by index, to those of all processes.
Gather = Callable[[list[tuple[int, Finding]]], list[tuple[int, Finding]]]


class AudioCheck:
    """The policy for bad recordings; the arguments are keys of the ``data`` group.

    The header of every recording is checked: the file exists, is audio, is not cut short and fits the model's window. If
    all sets together are short enough, every recording is also decoded, which finds the rest. A bad recording that is first
    found during training ends the run.

    Args:
        on_bad_audio: ``"error"`` accepts none; ``"skip"`` leaves them out and logs it.
        max_bad_fraction: With ``"skip"``, the largest fraction of a set that may be left out.
        decode_check_sec: Decode everything if all sets together have at most this many seconds of audio; None: always.
    """

    def __init__(self, on_bad_audio: Literal["error", "skip"], max_bad_fraction: float, decode_check_sec: float | None):
        self.on_bad_audio, self.max_bad_fraction = on_bad_audio, max_bad_fraction
        self.decode_check_sec = decode_check_sec

    def check_run(
        self,
        sets: Sets,
        window_sec: float,
        listed_in: Path,
        continued: bool,
        writes: bool = True,
        gather: Gather = lambda own: own,
        processes: int = 1,
        process: int = 0,
        shared_in: Path | None = None,
    ) -> tuple[Sets, dict[str, int]]:
        """Find and leave out bad recordings. A resumed run leaves out those in its list, and no others.

        Args:
            sets, window_sec, gather, processes, process, shared_in: See :meth:`find`.
            listed_in: The list of bad recordings, written by a new run and read by a resumed one.
            continued: Whether the run is resumed from a checkpoint.
            writes: Whether this process writes the list.

        Returns:
            The sets, and the number of recordings left out of each.

        Raises:
            AudioError: See :meth:`leave_out` and :meth:`check_continued`.
        """
        sets, bad = self.find(sets, window_sec, not continued, gather, processes, process, shared_in)
        if continued:
            recorded = read_bad_audio(listed_in)
            self.check_continued(bad, recorded)
            bad = recorded
        elif writes:
            listed_in.unlink(missing_ok=True)
            if bad:
                write_bad_audio(listed_in, bad)
        return self.leave_out(sets, bad, str(listed_in))

    def find(
        self,
        sets: Sets,
        window_sec: float,
        decode: bool = True,
        gather: Gather = lambda own: own,
        processes: int = 1,
        process: int = 0,
        shared_in: Path | None = None,
    ) -> tuple[Sets, list[BadAudio]]:
        """Check every recording.

        Args:
            sets: The sets of the run.
            window_sec: The model's window in seconds.
            decode: Whether to decode if the sets are short enough.
            gather: Gathers the findings of all processes; each process checks its share.
            processes, process: Number of processes, and the rank of this one.
            shared_in: A folder for the findings, if all are good; another run with the same, unchanged recordings takes them
                from there.

        Returns:
            The sets, with measured lengths filled in where the manifest gives none or one that is too short; and the bad
            recordings.
        """
        places = [(name, utterance) for name, utterances in sets.named().items() for utterance in utterances]
        everyone = [utterance for _, utterance in places]

        def look(of: Sequence[int], decoded: bool) -> dict[int, Finding]:
            own = of[process::processes]
            findings = examine([everyone[place] for place in own], window_sec, decoded)
            return dict(gather(list(zip(own, findings, strict=True))))

        found: dict[int, Finding] = {}
        kept_in = None  # only in the first process
        if shared_in is not None and decode:
            if process == 0:
                kept_in = shared_in / f"audio_check-{_checksum(everyone, window_sec, self.decode_check_sec)}.json"
            found = dict(gather(_read_findings(kept_in)))
        is_known = bool(found)
        if not is_known:
            if len(places) > 10_000:  # this may take minutes
                log.info("data: reading the headers of %d recordings", len(places))
            found = look(range(len(places)), False)
        good = sorted(place for place, finding in found.items() if finding.error is None)
        total_sec = sum(found[place].lasts_sec for place in good)
        decode = decode and (self.decode_check_sec is None or total_sec <= self.decode_check_sec)
        if decode and not is_known:
            found |= look(good, True)
        # Not with bad recordings: repairing one need not change its size or time, and a reading error may pass.
        if kept_in is not None and not is_known and not any(finding.error for finding in found.values()):
            write_json(kept_in, {"findings": [found[place] for place in range(len(places))]}, indent=None)
        how = "decoded" if decode else "headers read (data.decode_check_sec decodes all)"
        if is_known:
            how += ", by another run of this sweep"
        log.info("data: %d recordings, %.2g hours: %s", len(places), total_sec / 3600, how)
        _warn(places, found)
        lengths = {
            (name, utterance.utterance_id): found[place].lasts_sec
            for place, (name, utterance) in enumerate(places)
            if found[place].error is None and _is_told_too_short(utterance, found[place].lasts_sec)
        }
        bad = [
            BadAudio(name, utterance.utterance_id, utterance.audio_path, error)
            for place, (name, utterance) in enumerate(places)
            if (error := found[place].error) is not None
        ]

        def told(name: str, utterance: Utterance) -> Utterance:
            lasts_sec = lengths.get((name, utterance.utterance_id))
            return utterance if lasts_sec is None else replace(utterance, duration_sec=lasts_sec)

        return sets.changed(told), bad

    def leave_out(self, sets: Sets, bad: Sequence[BadAudio], listed_in: str) -> tuple[Sets, dict[str, int]]:
        """The sets without the bad recordings, and the number left out of each set.

        Args:
            sets: The sets of the run.
            bad: Bad recordings from :meth:`find`, or from the run that is resumed.
            listed_in: The file that lists them, for messages.

        Raises:
            AudioError: For any bad recording with ``"error"``; for too many with ``"skip"``.
        """
        counts = {name: sum(one.set == name for one in bad) for name, utterances in sets.named().items() if utterances}
        if not bad:
            return sets, counts
        if self.on_bad_audio == "error":
            more = f"{len(bad)} bad recordings in all, listed in {listed_in}; " if len(bad) > 1 else ""
            raise AudioError(f"{bad[0].error} ({more}data.on_bad_audio=skip leaves them out)")
        for name, count in counts.items():
            if not count:
                continue
            size = len(sets.named()[name])
            first = next(one.error for one in bad if one.set == name)
            share = f"{name}: {count} of {size} recordings are bad"
            if count > self.max_bad_fraction * size or count == size:
                limit = f"data.max_bad_fraction={self.max_bad_fraction:g}"
                raise AudioError(f"{limit}: {share}, listed in {listed_in}; the first: {first}")
            log.warning(
                "data: %s and left out (data.on_bad_audio=skip), listed in %s; the first: %s", share, listed_in, first
            )
        gone = {(one.set, one.utterance_id) for one in bad}
        left = sets.changed(lambda name, utterance: None if (name, utterance.utterance_id) in gone else utterance)
        if sets.evaluation and not left.evaluation:
            raise AudioError(f"data.limit_validation: all {len(sets.evaluation)} recordings are bad, listed in {listed_in}")
        return left, counts

    def check_continued(self, bad: Sequence[BadAudio], recorded: Sequence[BadAudio]) -> None:
        """Check that no recording has gone bad since the resumed run began.

        Raises:
            AudioError: For the first recording that has.
        """
        known = {(one.set, one.utterance_id) for one in recorded}
        for one in bad:
            if (one.set, one.utterance_id) not in known:
                raise AudioError(
                    f"{one.error} (it was good when this run began, and a run can resume only with the same recordings)"
                )


def _checksum(utterances: Sequence[Utterance], window_sec: float, decode_check_sec: float | None) -> str:
    """Of all that the findings depend on. A changed recording has another size or time."""
    recordings = []
    for one in utterances:
        try:
            status = Path(file_of(one.audio_path)).stat()
            state = [status.st_size, status.st_mtime_ns]
        except (OSError, ValueError):
            state = []
        recordings.append([one.source, one.utterance_id, one.audio_key, one.duration_sec, *state])
    text = json.dumps([recordings, window_sec, decode_check_sec], default=str)
    return sha256(text.encode()).hexdigest()[:8]


def _read_findings(path: Path | None) -> list[tuple[int, Finding]]:
    if path is None or not path.exists():
        return []
    try:
        return [(place, Finding(*row)) for place, row in enumerate(read_json(path)["findings"])]
    except (ValueError, TypeError, KeyError):
        log.warning("%s can't be read; checking the recordings again", path)
        return []


def examine(utterances: Sequence[Utterance], window_sec: float, decode: bool) -> list[Finding]:
    """Check recordings, in order. Uses threads, since most of the time is spent waiting for the disk."""
    chunks = [utterances[start : start + CHUNK] for start in range(0, len(utterances), CHUNK)]
    pool = ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1)))
    try:
        found = pool.map(partial(_examine_chunk, window_sec=window_sec, decode=decode), chunks)
        return [finding for chunk in found for finding in chunk]
    finally:
        pool.shutdown(cancel_futures=True)


def _examine_chunk(utterances: Sequence[Utterance], window_sec: float, decode: bool) -> list[Finding]:
    headers: dict[str, Header] = {}
    return [_examine(utterance, window_sec, decode, headers) for utterance in utterances]


def _examine(utterance: Utterance, window_sec: float, decode: bool, headers: dict[str, Header]) -> Finding:
    try:
        lasts_sec = measured_sec(utterance, window_sec, headers)
        is_silent = decode and not load_audio(utterance).any()
    except AudioError as error:
        return Finding(0.0, str(error))
    return Finding(lasts_sec, None, is_silent)


def _is_told_too_short(utterance: Utterance, lasts_sec: float) -> bool:
    """Whether the manifest gives no length, or one that is clearly too short."""
    return utterance.duration_sec is None or lasts_sec > (1 + TOLERANCE) * utterance.duration_sec + TOLERANCE_SEC


def _warn(places: Sequence[tuple[str, Utterance]], found: Mapping[int, Finding]) -> None:
    """Warn about recordings that are valid but probably unintended."""
    for name in dict.fromkeys(name for name, _ in places):
        of_set = [
            (utterance, found[place])
            for place, (set_name, utterance) in enumerate(places)
            if set_name == name and found[place].error is None
        ]
        silent = [utterance for utterance, finding in of_set if finding.is_silent and utterance.text.strip()]
        if silent:
            log.warning(
                "data: %s: %d silent recording(s) whose transcript has words, the first %s: %s; used as is",
                *(name, len(silent), silent[0].source, silent[0].audio_path),
            )
        longer = [
            (utterance, finding.lasts_sec)
            for utterance, finding in of_set
            if utterance.duration_sec is not None and _is_told_too_short(utterance, finding.lasts_sec)
        ]
        if longer:
            first, lasts_sec = longer[0]
            log.warning(
                "data: %s: %d recording(s) longer than the manifest says, the first %s: %.2f s, not %g s; used whole",
                *(name, len(longer), first.source, lasts_sec, first.duration_sec),
            )
