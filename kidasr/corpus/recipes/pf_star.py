"""PF-STAR, British English children's speech (University of Birmingham): 158 children aged 4 to 14 who read aloud.

The sets are those of its description (Russell 2006: training, evaluation and test set, of 86, 12 and 60 speakers). The
layout of
the files is from memory and could not be verified, so the recipe is strict: ``{train,eval,test}/SPEAKER/**/*.wav`` with a
transcript of the same name beside each. What differs is counted and listed. Ages are not in the file names: a table gives
them.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from kidasr.config.schema import Text
from kidasr.corpus.recipes.recipe import About, Found, LeftOut, Recipe, known, transcript_beside, years
from kidasr.errors import KidasrError, truncate

SETS = {"train": "train", "eval": "validation", "test": "test"}


class PfStar(Recipe):
    """Its own split.

    Args:
        root, about: See :class:`Recipe`.
        transcript_suffix: The ending of the files with the transcripts.
        speakers: A CSV file with the columns ``speaker_id``, ``age`` (in years) and, if you like, ``gender``; None: no ages.
    """

    layout = "a folder with train, eval, test, and in each SPEAKER/*.wav with transcripts beside (corpus.transcript_suffix)"
    marks = tuple(SETS)
    inside = ("", "british_english", "PF-STAR", "pfstar")

    def __init__(self, root: Text, about: About, transcript_suffix: Text, speakers: Text | None):
        super().__init__(root, about)
        self.transcript_suffix = transcript_suffix
        self.speakers = Path(speakers).expanduser() if speakers else None

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        told = _speakers(self.speakers) if self.speakers else {}
        for name, set_name in SETS.items():
            folder = root / name
            for path in sorted(one for one in folder.rglob("*") if one.suffix.lower() == ".wav"):
                place = path.relative_to(folder)
                name_of = "-".join(place.with_suffix("").parts)
                if len(place.parts) < 2:
                    yield LeftOut(name_of, str(path), "not in the layout", f"expected: {name}/SPEAKER/*.wav", set_name)
                    continue
                text, reason = transcript_beside(path, self.transcript_suffix)
                speaker = place.parts[0]
                if text is None:
                    yield LeftOut(name_of, str(path), reason, f"expected: *{self.transcript_suffix} beside it", set_name)
                    continue
                row = told.get(speaker, {})
                age = years(row.get("age"), f"{self.speakers}: {speaker}")
                yield Found(name_of, speaker, path, text, set_name, age, known(row.get("gender")))


def _speakers(path: Path) -> dict[str, Mapping[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KidasrError(f"corpus.speakers={truncate(path)}: can't be read: {error}") from error
    if not rows or not {"speaker_id", "age"} <= rows[0].keys():
        raise KidasrError(
            f"corpus.speakers={truncate(path)}: no speaker_id and age; expected: a CSV file with these columns"
        )
    return {row["speaker_id"]: row for row in rows}
