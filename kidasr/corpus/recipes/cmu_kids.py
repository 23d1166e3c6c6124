"""CMU Kids (LDC97S63): 76 children of 6 to 11 read sentences aloud.

Layout, from the corpus's TABLES.TXT, lhotse's recipe and Kaldi's (egs/cmu_cslu_kids):
``kids/SPEAKER/signal/UTTERANCE.sph`` and ``tables/``. ``UTTERANCE`` is four letters for the speaker, of which the first
is the gender (f, m), three for the sentence, and 1 (as the prompt, no noise) or 2.

lhotse's recipe reads the same, but stops at the first file that is missing, and needs the program sph2pipe for the headers;
libsndfile reads them unless they are compressed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from kidasr.config.schema import Text
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, one_line, read_lines, years
from kidasr.errors import KidasrError, truncate

_NAME = re.compile(r"([fm]\w{3})(\w{3})([12])", re.ASCII)


class CmuKids(Recipe):
    """No split of its own.

    Args:
        root, about: See :class:`Recipe`.
        text: ``prompt``: the sentence to read, as lhotse and Kaldi take it; ``spoken``: the transcript, with noises in
            brackets and misread words as phones. The other one is kept beside it.
    """

    layout = "a folder with kids/SPEAKER/signal/*.sph and tables/sentence.tbl, speaker.tbl, transcrp.tbl"
    marks = ("kids", "tables/sentence.tbl", "tables/speaker.tbl", "tables/transcrp.tbl")
    inside = ("", "cmu_kids", "LDC97S63/cmu_kids")

    def __init__(self, root: Text, about: About, text: Literal["prompt", "spoken"]):
        super().__init__(root, about)
        self.text = text

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        prompts = {row[0]: row[2] for row in _table(root / "tables" / "sentence.tbl", 3)}
        speakers = {row[0]: row for row in _table(root / "tables" / "speaker.tbl", 3, skip=2)}
        listed = set()
        for _, line in read_lines(root / "tables" / "transcrp.tbl"):
            name, _, spoken = line.strip().partition(" ")
            listed.add(name)
            match = _NAME.fullmatch(name)
            path = root / "kids" / name[:4] / "signal" / f"{name}.sph"
            if not match or match[1] not in speakers or match[2] not in prompts:
                what = "speaker.tbl" if match and match[2] in prompts else "sentence.tbl" if match else "the layout"
                yield LeftOut(name, str(path), f"not in {what}")
                continue
            texts = {"prompt": one_line(prompts[match[2]]), "spoken": one_line(spoken)}
            if not texts[self.text]:
                yield LeftOut(name, str(path), "empty transcript")
                continue
            grade, _, age = speakers[match[1]][2].partition("/")
            yield Found(
                utterance_id=name,
                speaker_id=match[1],
                audio_path=path,
                text=texts.pop(self.text),
                age=years(age, f"speaker.tbl: {match[1]}"),
                gender=match[1][0],
                extra={**texts, "grade": grade, "bin": int(match[3])},
            )
        for path in sorted((root / "kids").glob("*/signal/*.sph")):
            if path.stem not in listed:
                yield LeftOut(path.stem, str(path), "not in transcrp.tbl")


def _table(path: Path, columns: int, skip: int = 0) -> Iterator[list[str]]:
    """The rows of a table, whose columns are separated by tabs."""
    for number, line in read_lines(path):
        row = [one.strip() for one in line.split("\t")]
        if number <= skip:
            continue
        if len(row) < columns:
            raise KidasrError(
                f"{truncate(path)}:{number}: {truncate(line)!r}; expected: {columns} columns or more, with tabs"
            )
        yield row
