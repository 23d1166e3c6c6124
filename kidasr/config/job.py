"""What the command line asks of a job, before and after it runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar


class Job:
    """A job: ``conf/job/<name>.yaml`` names its class, whose parameters are the groups and keys that it uses.

    The class must be light to import, since every command line is checked against it; ``run`` imports the rest.
    """

    #: Whether the job writes to a folder, which is then locked, logged to and recorded. One that only looks has none.
    has_folder: ClassVar[bool] = True
    #: Whether the runs of a multirun are compared once all have ended.
    is_compared: ClassVar[bool] = False

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterable[str]:
        """A line for each contradiction in a config whose values have the right types."""
        return ()

    @staticmethod
    def warnings(config: Mapping[str, Any]) -> Iterable[str]:
        """A line for whatever is valid but probably unintended."""
        return ()

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """Whether a folder holds the finished job, which is not run again."""
        return False

    @staticmethod
    def result(folder: Path) -> float | None:
        """What the finished job in a folder returned."""
        return None

    def run(self) -> float | None:
        """Do it; what is returned is what a sweeper minimises."""
        raise NotImplementedError
