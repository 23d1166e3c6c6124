"""Utterances before and after each augmentation, on a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from kidasr.config.job import Job
from kidasr.config.schema import Seed
from kidasr.corpus.corpus import Corpus
from kidasr.features.augment import Augmentation, Augmentations, Draw
from kidasr.model.pretrained import Pretrained
from kidasr.report.options import ReportOptions

if TYPE_CHECKING:
    from kidasr.corpus.audio import Samples
    from kidasr.corpus.sets import Sets
    from kidasr.features.joining import Joining
    from kidasr.report.listen_page import Heard

log = logging.getLogger(__name__)

#: Written to the job's folder.
LISTEN = "listen"

#: Epochs to look at for one in which an augmentation changes an utterance.
EPOCHS = 100


class Listen(Job):
    """Write a page with training utterances before and after each augmentation: ``listen.html`` and ``listen.json``.

    An utterance is shown as it is in the first epoch of a training in which the augmentation changes it.

    Args:
        output_dir: The folder to write to.
        seed: Draws the utterances, and is the seed of the training.
        data: The corpus, of which the training set is used.
        model: The model whose window counts, if it is on this machine.
        augment: The augmentations.
        utterances: Number of utterances.
        report: The keys of the ``report`` group.

    Raises:
        KidasrError: If a manifest or a recording can't be read.
    """

    def __init__(
        self,
        output_dir: str,
        seed: Seed,
        data: Corpus,
        model: Pretrained,
        augment: Mapping[str, Augmentation],
        utterances: PositiveInt,
        report: ReportOptions,
    ):
        self.output_dir, self.seed, self.data, self.model = Path(output_dir), seed, data, model
        self.augment, self.number, self.report = augment, utterances, report

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterator[str]:
        """No augmentation, or nothing to augment."""
        yield from Corpus.needs_train(config)
        if not config["augment"]:
            yield "augment=none: nothing to listen to; expected: augment=kids, or a list, e.g. augment=[speed,noise]"

    def run(self) -> None:
        """Augment the utterances, write the page."""
        from kidasr.report.listen_page import as_json, listen_page
        from kidasr.runs.files import write_json

        sets, window_sec = self._load()
        chain = Augmentations(self.augment)
        joining = chain.joining(sets.train, self.seed, window_sec)
        heard = {name: list(self._heard(sets, Augmentations({name: one}), window_sec)) for name, one in self.augment.items()}
        if len(self.augment) > 1:
            heard["all of them"] = list(self._heard(sets, chain, window_sec))
        for line in chain.describe():
            log.info("augment: %s", line)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        write_json(self.output_dir / f"{LISTEN}.json", {name: [as_json(one) for one in of] for name, of in heard.items()})
        abouts = {**dict(line.split(": ", 1) for line in chain.describe()), "all of them": "as in training"}
        planned_sec = joining.planned_sec(0).tolist() if joining is not None else None
        recorded_sec = [one.known_duration_sec for one in sets.train]
        page = listen_page(heard, abouts, recorded_sec, planned_sec, self.output_dir, self.report)
        page.write(self.output_dir / f"{LISTEN}.html")
        log.info("listen: %s", self.output_dir / f"{LISTEN}.html")

    def _load(self) -> tuple[Sets, float]:
        """The sets without bad recordings, and the model's window."""
        from kidasr.model.vocabulary import vocabulary_of

        window_sec = vocabulary_of(self.model).window_sec
        check = self.data.audio_check
        check.decode_check_sec = None
        sets, bad = check.find(self.data.load(), window_sec)
        return check.leave_out(sets, bad, "no file")[0], window_sec

    def _heard(self, sets: Sets, chain: Augmentations, window_sec: float) -> Iterator[Heard]:
        """Each utterance before and after augmentation."""
        from kidasr.corpus.audio import SAMPLE_RATE_HZ, load_audio
        from kidasr.features.dataset import label_text
        from kidasr.features.spectrogram import spectrogram
        from kidasr.report.listen_page import Heard
        from kidasr.seeding import generator_for

        joining = chain.joining(sets.train, self.seed, window_sec)
        order = generator_for("listen", self.seed).permutation(len(sets.train))[: self.number]
        for place in order.tolist():
            utterance = sets.train[place]
            epoch = next((epoch for epoch in range(EPOCHS) if self._changes(chain, joining, place, epoch, sets)), 0)
            draw = Draw(self.seed, epoch, utterance.utterance_id)
            members = [utterance, *(sets.train[one] for one in (joining.partners(place, epoch) if joining else ()))]
            before: Samples = load_audio(utterance)
            after = before
            for one in members[1:]:
                assert joining is not None
                after = joining.join(after, load_audio(one))
            after = chain.waveform(after, draw, round(window_sec * SAMPLE_RATE_HZ))
            features, real_frames = spectrogram(after)
            yield Heard(
                utterance,
                " ".join(label_text(one, sets.lower_case) for one in members),
                epoch,
                [f"{name} {value}" for one in chain.drawn(draw) for name, value in one.items()],
                before,
                after,
                spectrogram(before)[0].numpy(),
                chain.features(features, real_frames, draw).numpy(),
            )

    def _changes(self, chain: Augmentations, joining: Joining | None, place: int, epoch: int, sets: Sets) -> bool:
        """Whether an utterance is changed in an epoch."""
        if joining is not None and joining.partners(place, epoch):
            return True
        draw = Draw(self.seed, epoch, sets.train[place].utterance_id)
        return bool(chain.drawn(draw))
