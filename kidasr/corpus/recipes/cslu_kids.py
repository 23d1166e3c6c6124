"""CSLU Kids, also called OGI Kids (LDC2007S18): 1,100 children from kindergarten to grade 10.

Layout, from the corpus's readme and four public recipes (Kaldi's egs/cmu_cslu_kids, ESPnet's egs2/myst_ogi_cmu_kids,
SPAPL's and one of UNSW), which agree: ``speech/scripted/GRADE/*/SPEAKER/UTTERANCE.wav``. ``UTTERANCE`` is ``ks``, a
letter for the grade, two for the speaker, two for the prompt, and a zero; ``docs/all.map`` has the prompts by those two,
in quotes. ``*-verified.txt`` has a code for each file: 1 good, 2 the words and something else, 3 the words are not said,
4 good with a puff of air.

lhotse's recipe is not used: it looks prompts up by the folder of the grade, so that all children of a grade get one
text (release 1.33).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from kidasr.config.schema import Text
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, one_line, read_lines, transcript_beside
from kidasr.errors import KidasrError, truncate

_NAME = re.compile(r"(ks\w\w\w)(\w\w)\w", re.ASCII)
_PROMPT = re.compile(r'(\S+)\s+"?(.*?)"?\s*')
_GRADES = range(11)


class CsluKids(Recipe):
    """No split of its own. Ages are not in it: grades are, from which they are estimated.

    Args:
        root, about: See :class:`Recipe`.
        parts: ``scripted`` (words and sentences) and ``spontaneous`` (monologues of a minute or two, longer than Whisper's
            window, with transcripts without times).
        leave_out_codes: Verification codes of utterances to leave out.
        kindergarten_age: Age in years of children in kindergarten, to which the grade is added; None: no ages.
    """

    layout = "a folder with docs/all.map and speech/scripted/GRADE/*/SPEAKER/*.wav"
    marks = ("docs/all.map", "speech/scripted")
    inside = ("", "cslu_kids", "LDC2007S18", "OGI_Kids")

    def __init__(
        self, root: Text, about: About, parts: list[Text], leave_out_codes: list[int], kindergarten_age: int | None
    ):
        super().__init__(root, about)
        self.parts, self.leave_out_codes, self.kindergarten_age = list(parts), list(leave_out_codes), kindergarten_age

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        prompts, codes = _prompts(root / "docs" / "all.map"), _codes(root)
        for part in self.parts:
            if not (root / "speech" / part).is_dir():
                raise self.wrong(f"has no speech/{part}")
            for path in sorted((root / "speech" / part).rglob("*.wav")):
                yield self._utterance(path, path.relative_to(root / "speech"), part, prompts, codes)

    def _utterance(
        self, path: Path, place: Path, part: str, prompts: dict[str, str], codes: dict[str, int]
    ) -> Found | LeftOut:
        name = path.stem
        match = _NAME.fullmatch(name)
        if len(place.parts) != 5 or not match or match[1] != place.parts[3]:
            return LeftOut(name, str(path), "not in the layout", "expected: GRADE/*/SPEAKER/ksXXXYY0.wav")
        grade, speaker = place.parts[1], place.parts[3]
        if not grade.isdigit() or int(grade) not in _GRADES:
            return LeftOut(name, str(path), "not in the layout", f"grade {grade}; expected: 00 to 10")
        if part == "scripted":
            text, reason = prompts.get(match[2].upper()), "prompt not in docs/all.map"
        else:
            root = path.parents[5]
            text, reason = transcript_beside(root / "trans" / place, ".txt")
        if not text:
            return LeftOut(name, str(path), reason)
        code = codes.get(name)
        if code in self.leave_out_codes:
            return LeftOut(name, str(path), f"verified as {code} (corpus.leave_out_codes)")
        age = None if self.kindergarten_age is None else self.kindergarten_age + int(grade)
        extra = {"grade": int(grade), "part": part, "verification": code}
        return Found(name, speaker, path, text, age=age, extra=extra)


def _prompts(path: Path) -> dict[str, str]:
    found = {}
    for number, line in read_lines(path):
        match = _PROMPT.fullmatch(line)
        if not match:
            raise KidasrError(f'{truncate(path)}:{number}: {truncate(line)!r}; expected: 00 "prompt"')
        found[match[1].upper()] = one_line(match[2])
    return found


def _codes(root: Path) -> dict[str, int]:
    """Verification codes by the name of the file, without its ending."""
    found = {}
    for folder in ("docs", "verify"):
        for path in sorted((root / folder).rglob("*-verified.txt")):
            for number, line in read_lines(path):
                name, _, code = line.strip().rpartition(" ")
                if not code.isdigit():
                    raise KidasrError(f"{truncate(path)}:{number}: {truncate(line)!r}; expected: a path and a code")
                found[Path(name.strip()).stem] = int(code)
    return found
