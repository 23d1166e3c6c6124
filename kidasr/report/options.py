"""Options of the reports: the ``report`` group."""

from omegaconf import OmegaConf
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from kidasr.config.schema import Group, Text


class Card(Group):
    """The model card of a run, ``README.md`` in its model folder: what the run can't know."""

    license: Text | None
    datasets: list[Text]
    citation: Text | None
    full_window_utterances: NonNegativeInt | None


#: A card with nothing but what the run knows.
NOTHING_STATED = Card(license=None, datasets=[], citation=None, full_window_utterances=0)


class ReportOptions:
    """The keys of the ``report`` group.

    Args:
        html: Whether to write ``report.html``.
        max_utterances: Number of utterances in the error browser.
        embed_audio_mb: Megabytes of recordings to embed in the page; the others are linked.
        card: The model card; None for one without what the run can't know.
    """

    def __init__(self, html: bool, max_utterances: PositiveInt, embed_audio_mb: NonNegativeFloat, card: Card | None = None):
        self.html, self.max_utterances, self.embed_audio_mb = html, max_utterances, embed_audio_mb
        plain = OmegaConf.to_container(card) if OmegaConf.is_config(card) else card  # as instantiate() leaves it by default
        self.card = NOTHING_STATED if plain is None else Card.model_validate(plain)
