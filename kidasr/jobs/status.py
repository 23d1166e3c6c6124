"""The status job: how the runs of a sweep are doing, readable while they run."""

from collections import Counter
from pathlib import Path

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError
from kidasr.report.tables import Table, percent
from kidasr.runs.files import METRICS, REPORT
from kidasr.runs.identity import words_of
from kidasr.runs.sweeps import newest_sweep, read_sweep
from kidasr.sweep.state import RunState, run_state, slurm_queue


class Status(Job):
    """Print a table of a sweep's runs: queued, running with step and WER, finished, failed and why, preempted how often.

    Args:
        sweep: The sweep's folder; None for the one that was started last in ``base``.
        base: Where sweeps are.

    Raises:
        KidasrError: If there is no sweep in the folder.
    """

    has_folder = False

    def __init__(self, sweep: Text | None, base: Text):
        self.sweep, self.base = sweep, Path(base)

    def run(self) -> None:
        """Print it."""
        folder = Path(self.sweep) if self.sweep else newest_sweep(self.base)
        runs = read_sweep(folder) if folder else []
        if folder is None or not runs:
            raise KidasrError(f"sweep={self.sweep or self.base}: no sweep in it; expected: the folder of a multirun")
        queue = slurm_queue()
        states = {run.name: run_state(folder / run.name, queue) for run in runs}
        rates = {state.rate for state in states.values()}
        table = Table(["run", "state", "step", rates.pop() if len(rates) == 1 else "error rate", "preempted"])
        for name, state in states.items():
            wer = "" if state.wer is None else percent(state.wer)
            table.add(words_of(name), state.state, _step(state), wer, _times(state))
        counts = Counter(sorted(state.state for state in states.values()))
        print(f"{folder}: {', '.join(f'{count} {state}' for state, count in counts.items())}\n")
        print(table.text())
        for name, state in states.items():
            if state.error:
                print(f"\n{words_of(name)}: {state.error}")
        if any(state.state in ("failed", "stopped", "not started") for state in states.values()):
            print("\nThe sweep's command, typed again, runs what is not finished.")
        elif all((folder / name / METRICS).exists() for name in states):
            report = folder / REPORT
            print(f"\nreport: {report if report.exists() else f'python run.py job=compare runs={folder}/*'}")


def _step(state: RunState) -> str:
    return "" if state.step is None else f"{state.step}/{state.max_steps}"


def _times(state: RunState) -> str:
    return f"{state.preempted} times" if state.preempted > 1 else "once" if state.preempted else ""
