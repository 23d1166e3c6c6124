"""Checks of the manifests' lines: those that can't be used, which are no utterances."""

from collections.abc import Iterator

from kidasr.corpus.checks.findings import Examined, Finding, check, percent
from kidasr.corpus.formats.format import FaultKind

#: What each fault of a line is.
FAULTS: dict[FaultKind, str] = {
    "unreadable_line": "can't be read",
    "missing_field": "lack a field that is required",
    "bad_value": "have a value that can't be used",
    "repeated_id": "have the id of an earlier line",
}


@check
def faulty_lines(examined: Examined) -> Iterator[Finding]:
    """Lines that training refuses, one by one."""
    total = len(examined.utterances) + len(examined.faulty)
    for kind, what in FAULTS.items():
        lines = [one for one in examined.faulty if one.kind == kind]
        yield Finding(
            kind,
            "error",
            (),
            f"{len(lines):,} of {total:,} lines of the manifests ({percent(len(lines), total)}) {what}, as each says. "
            "Training stops at the first of them. They are in no other finding and in no number here.",
            lines,
        )
