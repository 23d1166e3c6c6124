"""The status job: the state of a sweep's runs, also while they are running."""

import shutil
from collections import Counter
from pathlib import Path

from kidasr.config.job import Job
from kidasr.config.schema import Text
from kidasr.errors import KidasrError
from kidasr.installation import program
from kidasr.report.tables import Table, percent
from kidasr.runs.files import METRICS, REPORT
from kidasr.runs.sweeps import labels_of, newest_sweep, read_sweep
from kidasr.sweep.pending import explain, pending_reasons
from kidasr.sweep.state import RunState, run_state, slurm_queue


class Status(Job):
    """Print a table of a sweep's runs, each named by what differs between them.

    A run is queued (with SLURM's reason), running (step, WER), finished or failed (reason); also how often it was preempted.

    Args:
        sweep: The sweep's folder; None for the newest in ``base``.
        base: The folder that contains the sweeps.

    Raises:
        KidasrError: If the folder contains no sweep.
    """

    has_folder = False

    def __init__(self, sweep: Text | None, base: Text):
        self.sweep, self.base = sweep, Path(base)

    def run(self) -> None:
        """Print the table."""
        folder = Path(self.sweep) if self.sweep else newest_sweep(self.base)
        runs = read_sweep(folder) if folder else []
        if folder is None or not runs:
            raise KidasrError(f"sweep={self.sweep or self.base}: contains no sweep; expected: the folder of a multirun")
        queue = slurm_queue()
        states = {run.name: run_state(folder / run.name, queue) for run in runs}
        labels, reasons = labels_of(runs), pending_reasons() if queue else {}
        waiting = {state.job: reasons[state.job] for state in states.values() if state.job and state.job in reasons}
        rates = {state.rate for state in states.values()}
        table = Table(["run", "state", "step", rates.pop() if len(rates) == 1 else "error rate", "preempted"])
        for name, state in states.items():
            wer = "" if state.wer is None else percent(state.wer)
            reason = waiting.get(state.job or "")
            table.add(
                labels[name],
                f"{state.state} ({reason})" if reason and reason != "None" else state.state,
                *(_step(state), wer, _times(state)),
            )
        counts = Counter(sorted(state.state for state in states.values()))
        print(f"{folder}: {', '.join(f'{count} {state}' for state, count in counts.items())}\n")
        print(table.text(shutil.get_terminal_size((110, 24)).columns))
        for line in explain(waiting, len(runs)):
            print(f"\n{line}")
        for name, state in states.items():
            if state.error:
                print(f"\n{labels[name]}: {state.error}")
        if any(state.state in ("failed", "stopped", "not started") for state in states.values()):
            print("\nRun the sweep's command again to run what is not finished.")
        elif all((folder / name / METRICS).exists() for name in states):
            report = folder / REPORT
            print(f"\nreport: {report if report.exists() else f'{program()} job=compare runs={folder}/*'}")


def _step(state: RunState) -> str:
    return "" if state.step is None else f"{state.step}/{state.max_steps}"


def _times(state: RunState) -> str:
    return f"{state.preempted} times" if state.preempted > 1 else "once" if state.preempted else ""
