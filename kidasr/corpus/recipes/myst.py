"""MyST, the My Science Tutor corpus (LDC2021S05): children in grades 3 to 5 talk with a virtual tutor.

Layout, from the corpus's public readme and ESPnet's recipe (egs2/myst): ``data/{train,development,test}/STUDENT/SESSION/``,
with ``UTTERANCE.flac`` and, for the 45% that are transcribed, ``UTTERANCE.trn``. Names begin with ``myst_STUDENT_``.
"""

from collections.abc import Iterator
from pathlib import Path

from kidasr.corpus.recipes.recipe import Found, LeftOut, Recipe, transcript_beside

SETS = {"train": "train", "development": "validation", "test": "test"}


class MyST(Recipe):
    """Its own split, of other students each. What is not transcribed is left out."""

    layout = "a folder with data/train, data/development, data/test, and in each STUDENT/SESSION/*.flac with *.trn"
    marks = tuple(f"data/{name}" for name in SETS)
    inside = ("", "myst_child_conv_speech")

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        for name, set_name in SETS.items():
            folder = root / "data" / name
            for path in sorted(folder.rglob("*")):
                if path.is_dir() or path.suffix not in (".flac", ".trn"):
                    continue
                yield from _utterance(path, folder, set_name)


def _utterance(path: Path, folder: Path, set_name: str) -> Iterator[Found | LeftOut]:
    place = path.relative_to(folder).parts
    if path.suffix == ".trn":
        if not path.with_suffix(".flac").exists():
            yield LeftOut(path.stem, str(path), "transcript without a recording", set=set_name)
        return
    if len(place) != 3:
        yield LeftOut(path.stem, str(path), "not in the layout", "expected: STUDENT/SESSION/UTTERANCE.flac", set_name)
        return
    student, session, _ = place
    if not path.stem.startswith(f"myst_{student}_"):
        yield LeftOut(path.stem, str(path), "not in the layout", f"expected: a name like myst_{student}_...", set_name)
        return
    text, reason = transcript_beside(path, ".trn")
    if text is None:
        yield LeftOut(path.stem, str(path), reason, set=set_name)
        return
    yield Found(path.stem, student, path, text, set_name, extra={"session_id": session})
