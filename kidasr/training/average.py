"""Averages of weights: what a run keeps instead of the weights of one step.

To add an average, write a subclass of :class:`Average` in a module of your own, and a file in ``conf/average``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveInt

from kidasr.config.schema import Fraction, OpenFraction

if TYPE_CHECKING:
    from kidasr.training.averaging import WeightAverage


class Average:
    """No average over the run, only, with ``pretrained`` above 0, a step back to the pretrained weights.

    The weights kept are ``(1 - pretrained) * fine-tuned + pretrained * pretrained`` (WiSE-FT: Wortsman et al., 2022, arXiv
    2109.01903).

    Args:
        pretrained: The share of the pretrained weights.
    """

    #: Number of checkpoints, of those with the lowest WER, that are averaged after training; 0 for none.
    checkpoints = 0

    def __init__(self, pretrained: Fraction):
        self.pretrained = pretrained

    @property
    def is_on(self) -> bool:
        """Whether the weights kept are other than those of one step."""
        return type(self) is not Average or self.pretrained > 0

    def weight(self, step: int, steps: int) -> float:
        """The weight, in the running mean, of the model's weights after a step; 0 to pass over them.

        The mean becomes ``(1 - weight) * mean + weight * weights``. Must be 1 at the first step that counts.

        Args:
            step: The step, counted from 1.
            steps: The planned length of the run.
        """
        return 0.0

    def describe(self) -> str:
        """What is kept, for the log."""
        return "the best checkpoint"

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """Keys elsewhere in the config that do not go with this average."""
        pretrained = config["average"].get("pretrained", 0)
        if pretrained and not str(config["adapter"]["_target_"]).endswith(".no_adapter"):
            yield f"average.pretrained={pretrained}: not with an adapter; expected: adapter=none, or 0"

    def mean(self) -> WeightAverage:
        """The running mean of a run."""
        from kidasr.training.averaging import WeightAverage

        return WeightAverage(self)


class AverageLast(Average):
    """The mean of the weights of the run's last part: stochastic weight averaging (Izmailov et al., 2018, arXiv 1803.05407).

    Args:
        pretrained: See :class:`Average`.
        from_share: Where the mean begins, as a share of the run's planned length.
        snapshots: Number of evenly spaced steps that are averaged, up to the run's last.
    """

    def __init__(self, pretrained: Fraction, from_share: Annotated[float, Field(ge=0, lt=1)], snapshots: PositiveInt):
        super().__init__(pretrained)
        self.from_share, self.snapshots = from_share, snapshots

    def weight(self, step: int, steps: int) -> float:
        """The inverse of the number of steps averaged so far."""
        interval = max(1, int(steps * (1 - self.from_share)) // self.snapshots)
        left = steps - step
        if left % interval or left // interval >= self.snapshots or step <= steps * self.from_share:
            return 0.0
        first = min(self.snapshots - 1, (steps - int(steps * self.from_share) - 1) // interval)
        return 1 / (first - left // interval + 1)

    def describe(self) -> str:
        """Which part of the run is averaged."""
        return f"the mean of the weights of the last {100 * (1 - self.from_share):.0f}% of the steps"


class AverageEma(Average):
    """An exponential moving average of the weights (Polyak and Juditsky, 1992; here, as in most recipes since, exponential).

    The half-life is a share of the run, so that it means the same in a short and in a long one. The average is corrected
    for its start as in Adam: it is the weighted mean of the weights seen, and the initial weights are not among them.

    Args:
        pretrained: See :class:`Average`.
        half_life_share: Weights this old, as a share of the planned run, count half as much as the newest.
        snapshots: Number of evenly spaced updates in the planned run.
    """

    def __init__(self, pretrained: Fraction, half_life_share: OpenFraction, snapshots: PositiveInt):
        super().__init__(pretrained)
        self.half_life_share, self.snapshots = half_life_share, snapshots

    def weight(self, step: int, steps: int) -> float:
        """``(1 - decay) / (1 - decay ** n)`` at the n-th update."""
        interval = max(1, steps // self.snapshots)
        number = step // interval
        if step % interval:
            return 0.0
        decay: float = 0.5 ** (interval / (self.half_life_share * steps))
        return (1 - decay) / (1 - decay**number)

    def describe(self) -> str:
        """The half-life."""
        return f"a moving average of the weights, with a half-life of {100 * self.half_life_share:g}% of the run"


class AverageBest(Average):
    """The mean of the checkpoints with the lowest WER on the utterances that evaluations transcribe.

    Args:
        pretrained: See :class:`Average`.
        checkpoints: Their number.
    """

    def __init__(self, pretrained: Fraction, checkpoints: PositiveInt):
        super().__init__(pretrained)
        self.checkpoints = checkpoints

    @staticmethod
    def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
        """More checkpoints than are kept on disk."""
        yield from Average.contradictions(config)
        wanted, kept = config["average"]["checkpoints"], config["checkpoint"]["save_total_limit"]
        if wanted > kept:
            yield (
                f"average.checkpoints={wanted}: only {kept} checkpoints are kept; expected: "
                f"checkpoint.save_total_limit={wanted} or more"
            )

    def describe(self) -> str:
        """The number of checkpoints."""
        return f"the mean of the {self.checkpoints} checkpoints with the lowest WER"
