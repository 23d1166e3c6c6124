"""Start the processes that train one run together, on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from kidasr.errors import STOPPED

#: Signals that are forwarded to every process.
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


def run_in_processes(command: Sequence[str], processes: int, environment: Mapping[str, str] = os.environ) -> int:
    """Run a command in several processes on this machine, connected by the environment variables of ``torch.distributed``.

    Signals are forwarded to every process. If one fails, the others are killed: they would wait for it forever.

    Args:
        command: The command that each process runs.
        processes: The number of processes.
        environment: The environment of the processes.

    Returns:
        The first exit code that was not 0, or 0.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
    }
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None = None) -> None:
        for one in started:
            if one.poll() is None:
                one.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in PASSED_ON}
    try:
        for rank in range(processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # In its own session, so that it gets Ctrl-C only from here.
            started.append(subprocess.Popen(command, env={**shared, **environment, **own}, start_new_session=True))
        failed = 0
        while any(one.poll() is None for one in started):
            failed = failed or _first_failure(started)
            if failed and failed != STOPPED:  # stopped by a signal: all of them save and stop by themselves
                pass_on(signal.SIGKILL)
            time.sleep(0.05)
        return failed or _first_failure(started)
    finally:
        pass_on(signal.SIGKILL)
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_failure(started: Sequence[subprocess.Popen[bytes]]) -> int:
    codes = [one.returncode for one in started if one.returncode]
    return next((code if code > 0 else 128 - code for code in codes), 0)


def this_command(*overrides: str) -> list[str]:
    """The command line of this program, with other overrides."""
    main = sys.modules["__main__"]
    module = main.__spec__.name.removesuffix(".__main__") if main.__spec__ else None  # python -m kidasr
    return [sys.executable, *(["-m", module] if module else [str(main.__file__)]), *overrides]


def quoted(value: object) -> str:
    """A value quoted for use in a Hydra override, whatever characters it contains."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
