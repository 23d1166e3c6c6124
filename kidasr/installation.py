"""Where kidasr's configs are, and how it is started: in a clone, or as an installed package."""

import sys
from pathlib import Path

#: The configs. The package's folder of that name is a link to the clone's; an installed package has a copy.
CONF = (Path(__file__).parent / "conf").resolve()


def program() -> str:
    """How a user starts kidasr, for messages: ``python run.py`` in a clone unless started otherwise, else ``kidasr``."""
    started = Path(sys.argv[0])
    is_command = started.name == "kidasr" or started == Path(__file__).parent / "__main__.py"
    return "kidasr" if is_command or not (CONF.parent / "run.py").is_file() else "python run.py"
