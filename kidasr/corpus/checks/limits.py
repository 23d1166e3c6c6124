"""The limits of the checks: the ``check`` group."""

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from kidasr.config.schema import Fraction, Text


class Limits:
    """Where a finding begins. The arguments are the keys of the ``check`` group, explained in ``conf/job/check.yaml``.

    Args:
        decode_sec: Seconds of audio to decode, drawn at random; None for all.
        model: Whether the model scores every transcript.
        silent_db: A recording whose largest sample is below this is silent, in dB of full scale.
        clipped_fraction: Share of samples at the ceiling from which a recording is clipped.
        min_snr_db: Estimated signal-to-noise ratio below which a recording is noisy.
        max_pause_sec: Longest pause within an utterance.
        max_edge_silence_sec: Longest silence before and after the speech, together.
        max_chars_per_sec: More characters per second of speech than anybody says.
        rate_deviations: Distance of characters per second from the corpus's own, in robust standard deviations.
        min_words: Fewest words of a transcript.
        oldest_age: In years; more is odd in a children's training set.
        max_age_gap: Largest difference between the ages of one speaker, in years.
        max_shared_prompts: Largest share of a set whose texts also occur in the training set.
        min_explained: Least share of a transcript's loss that its own recording takes away, against another recording.
        modules: Names of modules with further checks.
    """

    def __init__(
        self,
        decode_sec: NonNegativeFloat | None,
        model: bool,
        silent_db: float,
        clipped_fraction: Fraction,
        min_snr_db: float,
        max_pause_sec: PositiveFloat,
        max_edge_silence_sec: PositiveFloat,
        max_chars_per_sec: PositiveFloat,
        rate_deviations: PositiveFloat,
        min_words: NonNegativeInt,
        oldest_age: PositiveFloat,
        max_age_gap: NonNegativeFloat,
        max_shared_prompts: Fraction,
        min_explained: Fraction,
        modules: list[Text],
    ):
        self.decode_sec, self.model = decode_sec, model
        self.silent_db, self.clipped_fraction, self.min_snr_db = silent_db, clipped_fraction, min_snr_db
        self.max_pause_sec, self.max_edge_silence_sec = max_pause_sec, max_edge_silence_sec
        self.max_chars_per_sec, self.rate_deviations = max_chars_per_sec, rate_deviations
        self.min_words = min_words
        self.oldest_age, self.max_age_gap = oldest_age, max_age_gap
        self.max_shared_prompts = max_shared_prompts
        self.min_explained = min_explained
        self.modules = list(modules)
