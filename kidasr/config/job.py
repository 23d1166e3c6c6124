"""The interface between the command line and a job."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar


class Job:
    """A job. ``conf/job/<name>.yaml`` names its class, and the class's parameters are the groups and keys that it uses.

    The class must be light to import, because every command line is checked against it. ``run`` imports the rest.
    """

    #: Whether the job writes to a folder, which is then locked and holds its log and record. False for a read-only job.
    has_folder: ClassVar[bool] = True
    #: Whether the runs of a multirun are compared when all have ended.
    is_compared: ClassVar[bool] = False
    #: Groups and keys that the config has because others set them. The job does not use them, so that typing one is refused.
    unused: ClassVar[Sequence[str]] = ()

    @staticmethod
    def mistakes(config: Mapping[str, Any]) -> Iterable[str]:
        """One line per contradiction, in a config whose values have the right types."""
        return ()

    @staticmethod
    def warnings(config: Mapping[str, Any]) -> Iterable[str]:
        """One line per setting that is valid but probably unintended."""
        return ()

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """Whether a folder holds a finished job, which is not repeated."""
        return False

    @staticmethod
    def result(folder: Path) -> float | None:
        """The return value of the finished job in a folder."""
        return None

    def run(self) -> float | None:
        """Do the work. A sweeper minimises the returned value."""
        raise NotImplementedError
