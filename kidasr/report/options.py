"""Options of the reports: the ``report`` group."""

from pydantic import NonNegativeFloat, PositiveInt


class ReportOptions:
    """The keys of the ``report`` group.

    Args:
        html: Whether to write ``report.html``.
        max_utterances: Number of utterances in the error browser.
        embed_audio_mb: Megabytes of recordings to embed in the page; the others are linked.
    """

    def __init__(self, html: bool, max_utterances: PositiveInt, embed_audio_mb: NonNegativeFloat):
        self.html, self.max_utterances, self.embed_audio_mb = html, max_utterances, embed_audio_mb
