"""Writes the tables of published results into pages: ``python docs/results/tables.py``.

A table stands between ``<!-- hypotheses: effects -->`` and ``<!-- end -->``: the folder of a ``comparison.json`` beside this
file, and one of :data:`BLOCKS` or the name of an effect or a configuration. So no number of a table is typed.
"""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import t

from kidasr.report.report import comparison_tables, main_effects
from kidasr.report.tables import Table, interval, percent, points
from kidasr.report.verdict import verdict

HERE = Path(__file__).parent

#: The pages with tables.
PAGES = (*sorted(HERE.glob("*.md")), *sorted((HERE.parent / "ideas").glob("*.md")), HERE.parents[1] / "README.md")

BLOCK = re.compile(r"(<!-- (?P<folder>[\w-]+): (?P<name>[\w=.-]+(?: [\w=.-]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)

#: Below this, what is left of an effect is rounding.
EVEN = 1e-9

Comparison = Mapping[str, Any]


def asked(comparison: Comparison) -> dict[str, Mapping[str, Any]]:
    """What a comparison was made to answer: the main effects of a factorial, otherwise the pairs."""
    return main_effects(comparison) or {pair["run"]: pair for pair in comparison["pairs"]}


def said(comparison: Comparison) -> str:
    """The verdicts in words."""
    speakers = comparison["runs"][0]["speakers"]
    lines = [f"- **{name}**: {verdict(one, comparison['rate'], speakers)}." for name, one in asked(comparison).items()]
    return "\n".join(lines) + "\n"


def one(comparison: Comparison, name: str) -> str:
    """The verdict on one effect or configuration, on the set that is compared and on each test set beside it."""
    speakers = comparison["runs"][0]["speakers"]
    said = f"On other children: {verdict(asked(comparison)[name], comparison['rate'], speakers)}."
    for other in comparison["other_sets"]:
        if other["set"] != "validation":
            found = verdict(asked(other)[name], comparison["rate"], other["speakers"])
            said += f" On {other['set']}: {found}."
    return said + "\n"


def about(comparison: Comparison) -> str:
    """What was compared, on which machine and when."""
    facts = comparison["about"].items()
    return "\n".join(f"- {name}: {f'`{text}`' if name == 'command' else text}" for name, text in facts) + "\n"


def summary(comparison: Comparison) -> str:
    """The change on the set that is compared and on each test set beside it."""
    sets = [comparison, *(one for one in comparison["other_sets"] if one["set"] != "validation")]
    names = ["children" if one["set"] == "test" else one["set"] for one in sets]
    table = Table(["", *(column for name in names for column in (f"{name}: change of {comparison['rate']}", "verdict"))])
    for name in asked(comparison):
        found = [asked(one)[name] for one in sets]
        cells = (cell for one in found for cell in (_with_interval(one), one["verdict"]))
        table.add(name, *cells)
    return table.markdown()


def together(comparison: Comparison) -> str:
    """What the intervals of all that is asked leave together, on each set (Bonferroni)."""
    sets = [comparison, *(one for one in comparison["other_sets"] if one["set"] != "validation")]
    said = []
    for each in sets:
        found = list(asked(each).values())
        ends = []
        for one in found:
            reach = (one["ci95"][1] - one["ci95"][0]) / 2
            wider = reach * t.ppf(1 - 0.025 / len(found), one["degrees"]) / t.ppf(0.975, one["degrees"])
            ends.append((one["delta_wer"] - wider, one["delta_wer"] + wider))
        name = "children" if each["set"] == "test" else each["set"]
        gain, cost = -100 * min(low for low, _ in ends), 100 * max(high for _, high in ends)
        said.append(f"for {name} a gain of at most {gain:.1f} points and a cost of at most {cost:.1f}")
    return f"All {len(asked(comparison))} intervals together (Bonferroni) leave {', '.join(said)}.\n"


def rates(comparison: Comparison) -> str:
    """The mean error rate of each configuration, on every set."""
    sets = [comparison, *(one for one in comparison["other_sets"] if one["set"] != "validation")]
    of_sets = [{one["configuration"]: one for one in each["configurations"]} for each in sets]
    table = Table(["", "seeds", *("children" if one["set"] == "test" else one["set"] for one in sets)])
    for name, first in of_sets[0].items():
        cells = (f"{percent(of_set[name]['wer'])} ({interval(of_set[name]['ci95'])})" for of_set in of_sets)
        table.add(name, str(len(first["seeds"])), *cells)
    return table.markdown()


def by_age(comparison: Comparison) -> str:
    """The mean error rate of each configuration at each age."""
    table = Table(["age", "children", *(one["configuration"] for one in comparison["configurations"])])
    for age, first in comparison["configurations"][0]["by_age"].items():
        found = [one["by_age"][age] for one in comparison["configurations"]]
        cells = (f"{percent(one['wer'])} ({interval(one['ci95'])})" for one in found)
        table.add(age, str(first["speakers"]), *cells)
    return table.markdown()


def cost(comparison: Comparison) -> str:
    """How long a run of each configuration took; that of plain_recipe.py is in the files it wrote, one for each seed."""
    folder = HERE / comparison["folder"]
    hours: dict[str, list[float]] = {}
    for run in yaml.safe_load((folder / "configs.yaml").read_text(encoding="utf-8"))["runs"]:
        took = run["hours"]
        if took is None:
            seconds = json.loads((folder / f"{run['configuration']}-{run['seed']}.json").read_text(encoding="utf-8"))
            took = sum(seconds.values()) / 3600
        hours.setdefault(run["configuration"], []).append(took)
    table = Table(["", "runs", "minutes of a run", "all runs, hours"])
    for name, took in hours.items():
        table.add(name, str(len(took)), f"{60 * sum(took) / len(took):.1f}", f"{sum(took):.1f}")
    return table.markdown()


def spread(comparison: Comparison) -> str:
    """The standard errors of what was asked, by their source."""
    table = Table(["standard error, in points", "children", "seeds", "single children in single runs"])
    for name, found in asked(comparison).items():
        table.add(name, *(f"{100 * found['spread'][part]:.2f}" for part in ("children", "seeds", "both")))
    return table.markdown()


def seeds(comparison: Comparison) -> str:
    """How far the runs of one configuration are apart."""
    by_name: dict[str, list[float]] = {}
    for run in comparison["runs"]:
        by_name.setdefault(run["configuration"], []).append(100 * run["wer"])
    several = [rates for rates in by_name.values() if len(rates) > 1]
    squares = sum((rate - sum(rates) / len(rates)) ** 2 for rates in several for rate in rates)
    deviation = (squares / sum(len(rates) - 1 for rates in several)) ** 0.5
    largest = max(max(rates) - min(rates) for rates in several)
    return (
        f"Runs of one configuration differ in {comparison['rate']} with a standard deviation of {deviation:.1f} points; at "
        f"most, two of them are {largest:.1f} points apart.\n"
    )


def robust(comparison: Comparison) -> str:
    """Main effects by seed, without any one child or run, without runaways, and how many children lose or gain."""
    with (HERE / comparison["folder"] / "speakers.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == comparison["set"]]
    children = sorted({row["speaker"] for row in rows})
    numbers = sorted({row["seed"] for row in rows})
    names = [
        "",
        *(f"seed {number}" for number in numbers),
        "without one child",
        "without one run",
        "without runaways",
        "children worse, better",
    ]
    table = Table(names)
    runs = sorted({(row["configuration"], row["seed"]) for row in rows})
    for name in asked(comparison):
        fewer = [_effect([row for row in rows if (row["configuration"], row["seed"]) != run], name) for run in runs]
        alone = [_effect([row for row in rows if row["speaker"] == child], name) for child in children]
        without = [_effect([row for row in rows if row["speaker"] != child], name) for child in children]
        table.add(
            name,
            *(points(_effect([row for row in rows if row["seed"] == number], name)) for number in numbers),
            f"{points(min(without))} to {points(max(without))}",
            f"{points(min(fewer))} to {points(max(fewer))}",
            points(_effect([row for row in rows if row["runaways"] == "0"], name)),
            f"{sum(one > EVEN for one in alone)}, {sum(one < -EVEN for one in alone)}",
        )
    return table.markdown()


def _effect(rows: Sequence[Mapping[str, str]], name: str) -> float:
    """The mean WER of the configurations with a factor on minus that of those with it off."""
    errors: dict[tuple[str, str], int] = {}
    words: dict[tuple[str, str], int] = {}
    for row in rows:
        run = row["configuration"], row["seed"]
        errors[run] = errors.get(run, 0) + sum(int(row[kind]) for kind in ("substitutions", "deletions", "insertions"))
        words[run] = words.get(run, 0) + int(row["words"])
    by_name: dict[str, list[float]] = {}
    for run, count in errors.items():
        by_name.setdefault(run[0], []).append(count / words[run])
    on: list[float] = []
    off: list[float] = []
    for configuration, rates in by_name.items():
        (on if name in re.split("[+ ]", configuration) else off).append(sum(rates) / len(rates))
    return sum(on) / len(on) - sum(off) / len(off)


def _with_interval(one: Mapping[str, Any]) -> str:
    ends = one["ci95"]
    return points(one["delta_wer"]) + (f" ({points(ends[0])} to {points(ends[1])})" if ends else "")


def _table(name: str) -> Callable[[Comparison], str]:
    return lambda comparison: comparison_tables(comparison)[name][0].markdown()


#: What may stand between the comments.
BLOCKS: dict[str, Callable[[Comparison], str]] = {
    **{
        name: _table(name) for name in ("pairs", "effects", "effects_by_age", "other_sets", "ages", "configurations", "runs")
    },
    "about": about,
    "by_age": by_age,
    "cost": cost,
    "rates": rates,
    "robust": robust,
    "said": said,
    "seeds": seeds,
    "spread": spread,
    "summary": summary,
    "together": together,
}


def filled(text: str) -> str:
    """A page with its tables as the ``comparison.json`` files have them."""

    def block(found: re.Match[str]) -> str:
        comparison = json.loads((HERE / found["folder"] / "comparison.json").read_text(encoding="utf-8"))
        comparison["folder"], name = found["folder"], found["name"]
        content = BLOCKS[name](comparison) if name in BLOCKS else one(comparison, name)
        return f"{found[1]}\n{content}\n{found[4]}"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            page.write_text(filled(text), encoding="utf-8")
            print(f"written: {page}")
