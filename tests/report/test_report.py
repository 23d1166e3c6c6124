"""Reports, written by the command line and opened in a real browser."""

import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from kidasr.corpus.manifest import Utterance
from kidasr.evidence.runs import make_run
from kidasr.jobs.compare import Compare
from kidasr.recognition.score import Scoring, compare, is_runaway
from kidasr.report.ages_drawn import AgesDrawn
from kidasr.report.browser import align
from kidasr.report.figure import PAPER, ages_by_step, forest, learning_curve, mean_curve, wer_by_age, wer_points
from kidasr.report.options import ReportOptions
from kidasr.report.report import Report
from kidasr.report.svg import inline_svg
from kidasr.report.tables import Table, to_csv
from tests.conftest import read_json, run_here, sweep_runs
from tests.report.conftest import opened

pytestmark = pytest.mark.figures

#: Hostile text for a transcript, an id or a speaker: it would run if it were taken for HTML.
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1></script>"

#: Like the ``metrics.json`` of a run without training.
UNTRAINED: dict[str, Any] = {"history": [], "zero_shot": None, "best_step": 1, "steps": 1, "frozen_steps": 0}


def shown(chromium: webdriver.Chrome) -> list[str]:
    return [item.text for item in chromium.find_elements(By.CSS_SELECTOR, "#utterances li")]


def choose(chromium: webdriver.Chrome, name: str, value: str) -> None:
    Select(chromium.find_element(By.ID, name)).select_by_value(value)


@pytest.mark.minutes
def test_the_embedded_ablation_ends_in_a_report_that_a_browser_shows(
    tmp_path: Path, chromium: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one hypothesis, with few steps per run."""
    short = (
        "padding=longest",
        "trainer.train_batch_size=4",
        "data.limit_train=32",
        "data.limit_validation=48",
        "trainer.max_steps=4",
        "step_scale=0.004",
    )
    design = (
        "ablation=one_at_a_time",
        "hypotheses=[h4]",
        "seeds=3",
        *short,
        "trainer.zero_shot=false",
        f"hydra.sweep.dir={tmp_path}",
    )
    assert run_here(monkeypatch, *design) == 0
    comparison = read_json(tmp_path / "comparison.json")
    assert [(pair["baseline"], pair["run"], pair["seeds"]) for pair in comparison["pairs"]] == [("baseline", "h4", [1, 1])]
    assert len(comparison["runs"]) == 2 and not comparison["failed"] and not comparison["effects"]
    for stem in ("forest", "forest_by_age", "wer_by_age", "learning_curves"):
        assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / f"{stem}.pdf").read_bytes().startswith(b"%PDF")

    opened(chromium, tmp_path / "report.html")
    for pair in comparison["pairs"]:
        assert f"{pair['run']}: {100 * pair['delta_wer']:+.1f} points of WER" in chromium.page_source
    baseline, h4 = (
        [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
        for folder in sweep_runs(tmp_path)
    )
    errors = [
        {row["utterance_id"]: row["substitutions"] + row["deletions"] + row["insertions"] for row in rows}
        for rows in (baseline, h4)
    ]
    systems = Select(chromium.find_element(By.ID, "system"))
    systems.select_by_visible_text("h4")
    for kind, expected in (
        ("fixed", {name for name in errors[0] if errors[0][name] > 0 == errors[1][name]}),
        ("broken", {name for name in errors[0] if errors[0][name] == 0 < errors[1][name]}),
    ):
        choose(chromium, "kind", kind)
        assert {text.split(" ")[0] for text in shown(chromium)} == expected
    assert chromium.find_element(By.ID, "count").text == f"{len(expected)} of 48 utterances"

    opened(chromium, sweep_runs(tmp_path)[1] / "report.html")
    assert len(shown(chromium)) == 30, "the first 30; a click shows the others"
    chromium.find_element(By.ID, "more").click()
    assert len(shown(chromium)) == 48
    choose(chromium, "age", "3-4")
    of_age = [row["utterance_id"] for row in h4 if row["age_bucket"] == "3-4"]
    assert sorted(text.split(" ")[0] for text in shown(chromium)) == sorted(of_age)
    counts = [errors[1][text.split(" ")[0]] for text in shown(chromium)]
    assert counts == sorted(counts, reverse=True)
    audio = chromium.find_elements(By.TAG_NAME, "audio")
    assert audio and all(str(one.get_attribute("src")).startswith("data:audio/ogg;base64,") for one in audio)
    play = "const [a, done] = arguments; a.addEventListener('loadedmetadata', () => done(a.duration)); a.load();"
    assert chromium.execute_async_script(play, audio[0]) > 0.3, "seconds that the browser can play"


def a_run(folder: Path, utterances: list[Utterance], hypotheses: list[str], *overrides: str) -> str:
    """A finished run with these transcripts; returns its folder."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides), encoding="utf-8")
    predictions = compare(utterances, hypotheses, Scoring(str, "WER"))
    (folder / "predictions.jsonl").write_text(
        "".join(json.dumps(asdict(prediction)) + "\n" for prediction in predictions), encoding="utf-8"
    )
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    return str(folder)


def test_a_phone_shows_a_whole_page_and_each_seed_of_a_configuration(
    tmp_path: Path, chromium: webdriver.Chrome, utterance: Callable[..., Utterance]
) -> None:
    utterances = [utterance(f"u{number}", speaker_id=f"s{number}") for number in range(4)]
    long = "data.train=corpora_of_somebody/of_children/recorded_at_school/manifest_of_all.jsonl"
    runs = [
        a_run(tmp_path / f"{name}{seed}", utterances, [f"{seed} {name} cats"] * 4, f"{override}", f"seed={seed}")
        for name, override in (("a", "x=1"), ("b", long))
        for seed in (1, 2)
    ]
    for number, run in enumerate(runs):
        (Path(run) / "config.json").write_text(json.dumps({"seed": 1 + number % 2, "x": number // 2}), encoding="utf-8")
    Compare(str(tmp_path / "report"), runs, "x=1", None, ReportOptions(True, 100, 0)).run()
    size = {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened(chromium, tmp_path / "report" / "report.html")
        assert chromium.execute_script("return document.documentElement.scrollWidth") == 360
        tables = chromium.find_elements(By.CLASS_NAME, "wide")
        for table in tables:
            cut = chromium.execute_script(
                "const s = arguments[0].lastChild; return s.scrollWidth > s.clientWidth + 1", table
            )
            assert table.find_element(By.CLASS_NAME, "hint").is_displayed() == (cut and table.is_displayed())
        assert any(table.find_element(By.CLASS_NAME, "hint").is_displayed() for table in tables)
        Select(chromium.find_element(By.ID, "seed")).select_by_visible_text("2")
        assert all(f"reference {utterances[0].text}" in text for text in shown(chromium))
        assert all("x=1, seed 2" in text and f"{long}, seed 2" in text for text in shown(chromium))
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def some_rates(wer: float | None, ci95: list[float] | None = None) -> dict[str, Any]:
    return {"wer": wer, "ci95": ci95, "by_age": {age: {"wer": wer, "ci95": ci95} for age in ("3-4", "5-6")}}


@pytest.mark.parametrize(
    "name", ["h1", HOSTILE, "$a_{b}$ " * 8, "x=" + "W" * 300, " ".join(["optim.learning_rate=1e-5"] * 20)]
)
def test_nothing_in_a_figure_is_cut_and_names_are_as_they_are(name: str) -> None:
    by_age = {"5-6": {"delta_wer": 0.1, "ci95": None}}
    rows: dict[str, Any] = {
        name: {"delta_wer": -0.02, "ci95": [-0.9, 0.8], "by_age": by_age},
        "h2": {"delta_wer": 1.0, "ci95": None},
    }
    metrics = [
        {"history": [{"step": 1, "eval_wer": 0.5, "eval_loss": 1.0}], "best_step": 1, "frozen_steps": frozen}
        for frozen in (0, 123456)
    ]
    for figure in (
        forest(f"change of WER against {name}\n(percentage points; ← better, worse →)", rows, by_age=True),
        wer_by_age({name: some_rates(0.1, [0.0, 0.2]), "h2": some_rates(None)}, {name: [some_rates(0.1)] * 2}),
        learning_curve({name: metrics, "h2": metrics[:1]}),
        ages_by_step(AgesDrawn([name, "5-6"], [0, 7, 123456], np.array([[0.2, 0.8], [1, 0]]), 1000)),
    ):
        width, height = figure.get_size_inches()
        box = figure.get_tightbbox()
        assert min(box.x0, box.y0) > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01
        svg = ElementTree.fromstring(inline_svg(figure, name, "f1-"))
        assert "".join(name.split())[:20] in "".join("".join(svg.itertext()).split())
        assert svg.get("aria-label") == name and "width" not in svg.attrib


def test_a_figure_shows_the_mean_over_seeds_and_marks_what_has_no_interval() -> None:
    figure = wer_by_age({"a": some_rates(0.2)}, {"a": [some_rates(0.1), some_rates(0.3)]})
    lines: Any = figure.axes[0].get_lines()
    means = [line for line in lines if line.get_markersize() > 3]
    assert [line.get_ydata()[0] for line in means] == pytest.approx([20, 20, 20])
    assert {line.get_markerfacecolor() for line in means} == {PAPER}, "open: no interval"
    assert sorted(lines[1].get_ydata()) == pytest.approx([10, 30])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mean over seeds, no interval", "one seed"]
    curves = [[(1, 0.4), (2, 0.3), (3, 0.1)], [(1, 0.2), (3, 0.3)]]
    assert mean_curve(curves) == [(1, pytest.approx(0.3)), (3, pytest.approx(0.2))]


def test_a_learning_curve_has_no_panel_without_a_point() -> None:
    evaluation = {"step": 4, "eval_wer": 0.5}
    metrics: dict[str, Any] = {"zero_shot": None, "final": {"wer": 0.5}, "best_step": 4, "history": [evaluation]}
    assert len(learning_curve({"a": [metrics]}).axes) == 1, "it ended before its first log entry"
    logged = {**metrics, "history": [{"step": 3, "loss": 0.2, "learning_rate": 1e-5}, evaluation]}
    figure = learning_curve({"a": [metrics], "b": [logged]})
    lines: Any = figure.axes[1].get_lines()
    assert len(figure.axes) == 3 and [line.get_marker() for line in lines] == ["."], "one point is no line"


@pytest.mark.parametrize(("evaluated", "first"), [(None, 0), (7, 0), (6, 10)])
def test_zero_shot_is_in_a_curve_of_the_same_utterances_alone(evaluated: int | None, first: int) -> None:
    metrics: dict[str, Any] = {"zero_shot": {"wer": 0.9, "utterances": 7}, "history": [{"step": 10, "eval_wer": 0.5}]}
    if evaluated is not None:
        metrics["evaluated_utterances"] = evaluated
    assert wer_points(metrics)[0][0] == first


def test_a_run_is_titled_by_what_it_is(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    folder = Path(a_run(tmp_path / "10-42-13", [utterance("u")], ["a"], "freeze=none", "seed=3", "augment=specaugment"))
    (folder / "config.json").write_text('{"seed": 3}', encoding="utf-8")
    rows = [asdict(one) for one in compare([utterance("u")], ["a"], Scoring(str, "WER"))]
    Report(ReportOptions(True, 100, 0)).write_run(folder, make_run(folder, UNTRAINED, rows))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>kidasr: freeze=none augment=specaugment, seed 3</h1>" in page and f">{folder}</p>" in page


def test_what_comes_from_outside_is_text_and_nothing_else(
    tmp_path: Path, chromium: webdriver.Chrome, utterance: Callable[..., Utterance]
) -> None:
    formula = '=HYPERLINK("http://x")'
    rows: list[dict[str, Any]] = [{"utterance_id": f"{HOSTILE}1", "text": HOSTILE}, {"utterance_id": "two", "text": formula}]
    utterances = [utterance(f"u{number}") for number in range(2)]
    utterances = [
        Utterance(**{**asdict(one), **row, "speaker_id": f"{HOSTILE}{row['text']}"})
        for one, row in zip(utterances, rows, strict=True)
    ]
    a = a_run(tmp_path / "a", utterances, ["two", f"a {HOSTILE}"], f"x={HOSTILE}")
    b = a_run(tmp_path / "b", utterances, [HOSTILE, "c"], f"{formula}=1")
    folder = tmp_path / "report"
    Compare(str(folder), [a, b], None, None, ReportOptions(True, 100, 0)).run()
    opened(chromium, folder / "report.html")
    drawn = " ".join(one.get_attribute("textContent") or "" for one in chromium.find_elements(By.TAG_NAME, "figure"))
    assert "<script>window" in drawn, "a configuration's name in a figure"
    assert chromium.execute_script("return window.hacked") is None
    assert chromium.find_elements(By.TAG_NAME, "img") == []
    assert any(HOSTILE in text for text in shown(chromium))
    sources = [str(one.get_attribute("src")) for one in chromium.find_elements(By.TAG_NAME, "audio")]
    assert sources and all(
        source.startswith("file:") and Path(source.removeprefix("file://")).is_file() for source in sources
    )
    with (folder / "runs.csv").open(encoding="utf-8", newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell.startswith("=")]
    assert "<script>" not in (folder / "comparison.md").read_text(encoding="utf-8")


def test_only_what_can_be_heard_is_put_into_a_page(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_text("not audio at all", encoding="utf-8")
    spoken = utterance("u1")
    unheard = Utterance(**{**asdict(spoken), "utterance_id": "u2", "audio_path": str(secret)})
    rows = [asdict(one) for one in compare([spoken, unheard], ["", ""], Scoring(str, "WER"))]
    Report(ReportOptions(True, 100, 1)).write_run(tmp_path, make_run(tmp_path, UNTRAINED, rows))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:audio/wav;base64,") == 1 and "secret.wav" not in page
    Report(ReportOptions(True, 1, 0)).write_run(tmp_path, make_run(tmp_path, UNTRAINED, rows[:1]))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "base64," not in page.split('id="browser-data"')[1] and f'"audio": "{Path(spoken.audio_path).name}"' in page


def test_an_alignment_says_what_was_heard_for_what() -> None:
    assert align("two red cats sat", "two blue cats sat down") == [
        ["=", "two", "two"],
        ["S", "red", "blue"],
        ["=", "cats sat", "cats sat"],
        ["I", "", "down"],
    ]
    assert align("", "a") == [["I", "", "a"]] and align("a", "") == [["D", "a", ""]]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "runaway"),
    [
        ("two cats", "two cats two cats two cats two cats", True),
        ("no", "no no no", False),
        ("no no no no", "no no no no", False),
        ("hello", "hellooooooooooooooo", True),
        ("one thousand million", "1000000000000", False),
        ("a", " ".join(map(str, range(2000))), False),
    ],
)
def test_runaway_repetition(reference: str, hypothesis: str, runaway: bool) -> None:
    assert is_runaway(reference, hypothesis) is runaway


def test_tables_for_papers_escape_what_their_format_takes_for_its_own() -> None:
    table = Table(["run", "WER"])
    table.add("a|b_c & <b>", "10%")
    assert r"a\|b_c & &lt;b>" in table.markdown()
    table.rule()
    table.add("[h1]", "9%")
    latex = table.latex("50% of a_b", "tab:x")
    assert r"a|b\_c \& \ensuremath{<}b\ensuremath{>}" in latex and r"10\%" in latex
    assert r"\caption{50\% of a\_b}" in latex and r"\label{tab:x}" in latex and latex.count(r"\midrule") == 2
    assert r"{} [h1]" in latex, "no argument of the row end before it"
    changes = Table(["effect", "change", "95% interval"]).latex("c", "l")
    assert "change (pp)" in changes and r"95\% interval (pp)" in changes
    assert to_csv(["x"], [["-1+2"], [-1.5], ["@a"]]) == "x\n'-1+2\n-1.5\n'@a\n"


def test_a_large_set_shows_the_utterances_with_the_most_errors(tmp_path: Path, utterance: Callable[..., Utterance]) -> None:
    one = utterance("u")
    utterances = [Utterance(**{**asdict(one), "utterance_id": f"u{number:03}"}) for number in range(50)]
    hypotheses = [" ".join(["x"] * int(count)) for count in np.random.default_rng(1).permutation(50)]
    rows = [asdict(prediction) for prediction in compare(utterances, hypotheses, Scoring(str, "WER"))]
    Report(ReportOptions(True, 10, 0)).write_run(tmp_path, make_run(tmp_path, UNTRAINED, rows))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="browser-data">')[1].split("</script>")[0])
    worst = sorted(rows, key=lambda row: -row["substitutions"] - row["insertions"])[:10]
    assert data["total"] == 50
    assert {row["id"] for row in data["utterances"]} == {row["utterance_id"] for row in worst}


def test_a_long_name_is_broken_into_lines_and_what_is_beside_it_is_not() -> None:
    table = Table(["run", "state", "WER"])
    table.add("augment=specaugment+checkpoint.eval_steps=60+" * 3, "queued (PartitionTimeLimit)", "12.3%")
    assert any("queued (PartitionTimeLimit)   12.3%" in line for line in table.text(80).splitlines())
    table.add("a", *["a cell that is as long as a sentence"] * 2)
    assert max(map(len, table.text(80).splitlines())) <= 80, "no room: every cell is broken"
