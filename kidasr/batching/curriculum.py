"""H5: the order in which utterances are seen. A pure function of (seed, epoch)."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from kidasr.corpus.age import UNKNOWN, AgeBuckets
from kidasr.corpus.manifest import Utterance
from kidasr.seeding import generator_for

log = logging.getLogger(__name__)


class Curriculum:
    """The order of an epoch: random, or by age bucket and random within each.

    Sorting the data set itself would do nothing, because the Trainer's sampler shuffles; so the sampler asks here.
    The checklist goes from young to old. The youngest are also the hardest, so the usual easy-to-hard curriculum (Bengio
    et al., 2009) is the oldest first. Unknown ages come last in both.

    Args:
        order: ``"random"``, ``"youngest_first"`` or ``"oldest_first"``.
    """

    def __init__(self, order: str):
        self.order = order

    def epoch_order(
        self, utterances: Sequence[Utterance], buckets: AgeBuckets, seed: int, epoch: int
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Indices into ``utterances`` in the order of this epoch, shape ``(len(utterances),)``."""
        shuffled = generator_for("order", seed, epoch).permutation(len(utterances))
        return shuffled[np.argsort(self.ranks(utterances, buckets)[shuffled], kind="stable")]

    def ranks(self, utterances: Sequence[Utterance], buckets: AgeBuckets) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Place of each utterance's bucket in the order, shape ``(len(utterances),)``; 0 for all if it is random."""
        if self.order == "random":
            return np.zeros(len(utterances), dtype=np.int64)
        places = self._places(buckets)
        return np.array([places[utterance.age_bucket] for utterance in utterances], dtype=np.int64)

    def _places(self, buckets: AgeBuckets) -> dict[str, int]:
        known = [name for name in buckets.names if name != UNKNOWN]
        if self.order == "oldest_first":
            known.reverse()
        return {name: place for place, name in enumerate([*known, UNKNOWN])}

    def describe(self, utterances: Sequence[Utterance], buckets: AgeBuckets) -> None:
        """Log how many utterances each bucket has, in the order they are seen, and what an order without ages costs."""
        counts = Counter(utterance.age_bucket for utterance in utterances)
        names = buckets.names if self.order == "random" else tuple(self._places(buckets))
        arrow = ", " if self.order == "random" else " → "
        distribution = arrow.join(f"{name}: {counts[name]}" for name in names if counts[name])
        log.info("curriculum: %s order; utterances by age: %s", self.order.replace("_", " "), distribution)
        if self.order != "random" and counts[UNKNOWN] == len(utterances):
            log.warning("curriculum.order=%s: no utterance has an age, so the order is random", self.order)
