"""speechocean762 (OpenSLR 101): read English of Mandarin speakers, half of them children.

Layout: that of the release and of Kaldi's recipe (egs/gop_speechocean762): ``train/`` and ``test/`` are Kaldi data
folders, and the paths in their ``wav.scp`` start from the corpus's own folder.
"""

from collections.abc import Iterator
from pathlib import Path

from kidasr.corpus.recipes.kaldi import read_data_folder
from kidasr.corpus.recipes.recipe import Found, LeftOut, Recipe


class SpeechOcean762(Recipe):
    """Its own split: train and test, of other speakers. ``ages=[0,15]`` takes the children."""

    layout = "a folder with train/, test/ (Kaldi tables) and WAVE/SPEAKER0001/000010011.WAV"
    marks = ("train/wav.scp", "test/wav.scp", "WAVE")
    inside = ("", "speechocean762")

    def utterances(self, output_dir: Path) -> Iterator[Found | LeftOut]:
        root = self.folder()
        for name in ("train", "test"):
            yield from read_data_folder(root / name, root, name)
