"""Comparing run folders: what is pooled, what is refused, what is written."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from kidasr.errors import KidasrError
from kidasr.evidence.runs import read_run
from kidasr.evidence.significance import mapsswe
from kidasr.jobs.compare import Compare
from kidasr.report.options import ReportOptions
from kidasr.report.verdict import TOO_NARROW
from kidasr.runs.sweeps import PlannedRun, add_runs
from tests.conftest import composed, read_json, run_here
from tests.jobs.conftest import AGES


def errors(folder: str) -> np.ndarray:
    rows = sorted(
        map(json.loads, (Path(folder) / "predictions.jsonl").read_text().splitlines()), key=lambda r: r["utterance_id"]
    )
    return np.array([row["substitutions"] + row["insertions"] for row in rows])


def compared(tmp_path: Path, *runs: str, baseline: str | list[str] | None = None, on: str | None = None) -> Any:
    Compare(str(tmp_path / "report"), list(runs), baseline, on, ReportOptions(True, 100, 1)).run()
    return read_json(tmp_path / "report" / "comparison.json")


def test_two_runs_of_one_seed_are_compared_and_nothing_is_called_significant(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    a, b = run_folder("a", 0.3, "experiment=baseline"), run_folder("b", 0.2, "augment=specaugment")
    found = compared(tmp_path, b, a)
    (pair,) = found["pairs"]
    assert (pair["baseline"], pair["run"], pair["set"]) == ("baseline", "augment=specaugment", "validation")
    assert pair["delta_wer"] == pytest.approx((errors(b).sum() - errors(a).sum()) / 600)
    assert pair["ci95"] is pair["p"] is pair["p_corrected"] is None and pair["verdict"] == "one seed"
    of_speakers = (errors(b) - errors(a)).reshape(12, 10).sum(axis=1)
    assert pair["children"]["p_mapsswe"] == pair["children"]["p_holm"] == pytest.approx(mapsswe(of_speakers))
    expected = ttest_1samp(of_speakers / 50, 0).confidence_interval()
    assert pair["children"]["ci95"] == pytest.approx([expected.low, expected.high])
    assert list(pair["by_age"]) == list(AGES) and all(one["ci95"] is None for one in pair["by_age"].values())
    of_a = next(run for run in found["runs"] if run["path"] == a)
    assert of_a["wer"] == pytest.approx(errors(a).sum() / 600)
    assert of_a["ci95"][0] < of_a["wer"] < of_a["ci95"][1]
    assert of_a["gap_youngest_oldest"] == pytest.approx(of_a["by_age"]["3-4"]["wer"] - of_a["by_age"]["13+"]["wer"])
    with (tmp_path / "report" / "comparison.csv").open() as file:
        assert [row["age"] for row in csv.DictReader(file)] == ["all", *AGES]
    assert "significantly" not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_a_configuration_is_named_by_what_not_all_runs_have_in_common(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    a, b = run_folder("a", 0.3, "data=manifest"), run_folder("b", 0.2, "data=manifest", "freeze=none", "augment=specaugment")
    (pair,) = compared(tmp_path, a, b)["pairs"]
    assert (pair["baseline"], pair["run"]) == ("default", "augment=specaugment freeze=none")


def test_beside_other_recognisers_a_run_is_named_by_its_recipe(tmp_path: Path, run_folder: Callable[..., str]) -> None:
    theirs, ours = run_folder("plain", 0.3, recorded=True), run_folder("ours", 0.2, "data=manifest", "experiment=h1")
    (tmp_path / "plain" / "metrics.json").write_text('{"name": "plain", "transcripts": {}}', encoding="utf-8")
    (pair,) = compared(tmp_path, theirs, ours, baseline="plain")["pairs"]
    assert (pair["baseline"], pair["run"]) == ("plain", "h1")


def test_seeds_of_a_configuration_are_pooled_and_get_a_verdict(tmp_path: Path, run_folder: Callable[..., str]) -> None:
    baseline = [run_folder(f"a{seed}", 0.3, "experiment=baseline", seed=seed) for seed in (1, 2, 3)]
    others = [run_folder(f"b{seed}", 0.2, "augment=specaugment", seed=seed) for seed in (1, 2, 3)]
    found = compared(tmp_path, *baseline, *others)
    (pair,) = found["pairs"]
    assert pair["seeds"] == [3, 3] and pair["verdict"] == "better" and pair["p"] == pair["p_corrected"] < 0.05
    ours, theirs = (np.mean([errors(one).sum() / 600 for one in some]) for some in (others, baseline))
    assert pair["delta_wer"] == pytest.approx(ours - theirs)
    assert pair["ci95"][1] < 0 and set(pair["spread"]) == {"children", "seeds", "both"}
    assert all(one["ci95"] and one["pooled"] < 0 for one in pair["by_age"].values())
    assert [(one["configuration"], one["seeds"]) for one in found["configurations"]] == [
        ("baseline", [1, 2, 3]),
        ("augment=specaugment", [1, 2, 3]),
    ]
    assert found["configurations"][1]["wer"] == pytest.approx(ours)
    wide = compared(tmp_path, *baseline, run_folder("c", 0.1, "x=1", seed=1), run_folder("d", 0.34, "x=1", seed=2))
    assert wide["pairs"][0]["verdict"] == "undecided", "the seeds differ by more than the configurations"


def test_what_was_typed_with_an_interpolation_is_read_as_it_was_typed(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    rate = "optim.learning_rate=${times:1e-5,${oc.select:adapter.learning_rate_factor,1}}"
    runs = [run_folder(f"r{n}", 0.1 * n, rate, f"x={n}") for n in (1, 2)]
    assert len(compared(tmp_path, *runs)["pairs"]) == 1


def test_a_seed_counts_once(tmp_path: Path, run_folder: Callable[..., str]) -> None:
    a, b = run_folder("a", 0.3, "x=1"), run_folder("b", 0.2, "x=2")
    again = run_folder("again", 0.2, "x=2")
    found = compared(tmp_path, a, b, again)
    assert found["pairs"][0]["seeds"] == [1, 1] and found["pairs"][0]["verdict"] == "one seed"
    assert [(one["path"], "again, as in" in one["reason"]) for one in found["failed"]] == [(again, True)]
    rows = [json.loads(line) | {"normalized_hypothesis": "x"} for line in (Path(b) / "predictions.jsonl").open()]
    (Path(again) / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(
        KidasrError, match=r"again: seed 1 of x=2 is in .*b too, with other transcripts; expected: each seed"
    ):
        compared(tmp_path, a, b, again)


def test_the_test_set_is_compared_where_all_runs_have_one(
    tmp_path: Path, run_folder: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = (run_folder(name, wer, f"x={name}") for name, wer in (("a", 0.3), ("b", 0.2)))
    for run in (a, b):
        rows = [json.loads(line) for line in (Path(run) / "predictions.jsonl").open()][:60]
        (Path(run) / "predictions_test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rows_of = {name: (tmp_path / name / "predictions_test.jsonl") for name in "ab"}
    kept = {json.loads(line)["utterance_id"] for line in rows_of["a"].open()}
    rows = [line for line in (tmp_path / "b" / "predictions.jsonl").open() if json.loads(line)["utterance_id"] in kept]
    rows_of["b"].write_text("".join(one.rstrip("\n") + "\n" for one in rows), encoding="utf-8")
    found = compared(tmp_path, a, b)
    assert found["set"] == found["pairs"][0]["set"] == "test" and found["runs"][0]["utterances"] == 60
    assert compared(tmp_path, a, b, on="validation")["runs"][0]["utterances"] == 120
    c = run_folder("c", 0.2, "x=c")
    with caplog.at_level("WARNING"):
        assert compared(tmp_path, a, b, c)["set"] == "validation"
    assert "compared on the validation set: 2 of 3 runs have transcripts of a test set" in caplog.text
    found = compared(tmp_path, a, b, c, on="test")
    assert (
        "no transcripts of the set 'test' (predictions_test.jsonl); expected: on=validation" in found["failed"][0]["reason"]
    )


def test_what_each_configuration_costs_on_other_sets_is_said(
    tmp_path: Path, run_folder: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """On adults, the configuration that is better on children is worse."""
    runs = []
    for name, wer, on_adults in (("a", 0.3, 0.05), ("b", 0.2, 0.25)):
        for seed in (1, 2, 3):
            run = Path(run_folder(f"{name}{seed}", wer, f"x={name}", seed=seed))
            rows = (
                Path(run_folder(f"adults/{name}{seed}", on_adults, f"x={name}", seed=seed)) / "predictions.jsonl"
            ).read_text()
            (run / "predictions_adults.jsonl").write_text(rows.replace(': "u', ': "adult'), encoding="utf-8")
            (run / "metrics.json").write_text('{"tests": {"adults": {"zero_shot": {"wer": 0.04}}}}', encoding="utf-8")
            runs.append(str(run))
    with caplog.at_level("INFO"):
        found = compared(tmp_path, *runs)
    (pair,), (adults,) = found["pairs"], found["other_sets"]
    assert (found["set"], pair["set"], pair["verdict"]) == ("validation", "validation", "better")
    on_adults = compared(tmp_path / "again", *runs, on="adults")
    assert adults["set"] == "adults" and adults["pairs"] == on_adults["pairs"]
    assert adults["pairs"][0]["verdict"] == "worse" and [other["set"] for other in on_adults["other_sets"]] == ["validation"]
    assert [one["before"] for one in adults["configurations"]] == [pytest.approx(0.04)] * 2
    assert "on adults, x=b is significantly worse than x=a: +" in caplog.text
    assert "All runs were scored on these sets too: adults (on=NAME compares on one)." in caplog.text
    assert re.search(r"^ adults +x=a +4\.0% .* baseline\n +x=b +4\.0% .* worse$", caplog.text, re.MULTILINE)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.index("on adults, x=b is significantly worse") < page.index("On the other sets")
    with (tmp_path / "report" / "comparison.csv").open() as file:
        assert [(row["set"], row["age"]) for row in csv.DictReader(file)] == [
            (name, age) for name in ("validation", "adults") for age in ("all", *AGES)
        ]
    caplog.clear()
    assert not compared(tmp_path, *runs, run_folder("c1", 0.2, "x=c"))["other_sets"]
    assert "not compared on adults: 6 of 7 runs were scored on it" in caplog.text
    with pytest.raises(KidasrError, match=r"^on=adlts: none of these runs was scored .*; expected: validation, adults$"):
        compared(tmp_path, *runs, on="adlts")


def test_runs_that_differ_in_what_they_were_scored_on_are_one_configuration(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    a = [run_folder("a1", 0.3, recorded=True), run_folder("a2", 0.3, "data.tests=null", seed=2, recorded=True)]
    found = compared(tmp_path, *a, run_folder("b", 0.2, "augment=specaugment", recorded=True))
    assert [one["seeds"] for one in found["configurations"]] == [[1, 2], [1]]


def test_the_factors_of_an_ablation_name_its_configurations_and_have_effects(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    factors = {"augment": ["none", "specaugment"], "optim.learning_rate": [1e-5, 5e-5]}
    runs = []
    for augment, rate in (("none", "1e-5"), ("specaugment", "1e-5"), ("none", "5e-5"), ("specaugment", "5e-5")):
        for seed in (1, 2):
            typed = ("hypotheses=[]", f"augment={augment}", f"optim.learning_rate={rate}")
            run = run_folder(f"{augment}{rate}{seed}", 0.2 if rate == "5e-5" else 0.3, *typed, seed=seed)
            config: dict[str, Any] = {
                "factors": factors,
                "hypotheses": [],
                "seed": seed,
                "augment": augment,
                "optim": {"lr": float(rate)},
            }
            (Path(run) / "config.json").write_text(json.dumps(config), encoding="utf-8")
            runs.append(run)
    found = compared(tmp_path, *runs)
    assert [pair["run"] for pair in found["pairs"]] == [
        "augment=specaugment",
        "optim.learning_rate=5e-5",
        "augment=specaugment optim.learning_rate=5e-5",
    ]
    effects = {one["effect"]: one for one in found["effects"]}
    assert list(effects) == [
        "augment=specaugment",
        "optim.learning_rate=5e-5",
        "augment=specaugment x optim.learning_rate=5e-5",
    ]
    assert effects["optim.learning_rate=5e-5"]["verdict"] == "better"
    assert effects["augment=specaugment"]["verdict"] == "undecided" and found["pairs"][0]["baseline"] == "baseline"


def test_seeds_with_other_threads_or_by_an_extended_list_are_repetitions_and_no_treatment(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    listed = ",".join(composed().identity.ignored_keys)
    more = (
        "trainer.num_threads=8",
        "trainer.torch_compile=true",
        f"identity.ignored_keys=[{listed},trainer.torch_compile]",
    )
    runs = [
        run_folder(f"{augment}{seed}", wer, f"augment={augment}", *extra, seed=seed, recorded=True)
        for augment, wer in (("none", 0.3), ("specaugment", 0.2))
        for seed, extra in ((1, ()), (2, more))
    ]
    found = compared(tmp_path, *runs)
    assert [(one["configuration"], one["seed"]) for one in found["runs"]] == [
        (f"augment={augment}", seed) for augment in ("none", "specaugment") for seed in (1, 2)
    ]
    assert [pair["seeds"] for pair in found["pairs"]] == [[2, 2]]


@pytest.mark.parametrize(
    ("baseline", "name"),
    [
        (None, "baseline"),
        ([], "baseline"),
        (["h4", "h1"], "h1+h4"),
        ("h1", "h1"),
        ("FOLDER", "h1+h4"),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_the_baseline_of_an_ablation_is_found_by_its_hypotheses(
    tmp_path: Path, run_folder: Callable[..., str], baseline: str | list[str] | None, name: str, recorded: bool
) -> None:
    typed = ("hypotheses=[h1,h4]", "hypotheses=[h1]", "hypotheses=[]")
    runs = [run_folder(str(number), 0.2, "experiment=baseline", one, recorded=recorded) for number, one in enumerate(typed)]
    found = compared(tmp_path, *runs, baseline=runs[0] if baseline == "FOLDER" else baseline)
    assert {pair["baseline"] for pair in found["pairs"]} == {name}


def test_hypotheses_are_read_from_the_recorded_config_where_it_names_them(
    tmp_path: Path, run_folder: Callable[..., str]
) -> None:
    runs = [run_folder(name, 0.2, f"x={name}") for name in ("a", "b")]
    for run, on in zip(runs, ([], ["h1", "h2"]), strict=True):
        (Path(run) / "config.json").write_text(json.dumps({"hypotheses": on, "seed": 1}), encoding="utf-8")
    assert compared(tmp_path, *runs, baseline=["h1", "h2"])["pairs"][0]["baseline"] == "x=b"
    with pytest.raises(KidasrError, match=r"baseline=\[h3\]: 0 configurations have exactly .* or a name: x=a, x=b"):
        compared(tmp_path, *runs, baseline=["h3"])


def test_a_sweeps_folder_and_a_folder_of_runs_stand_for_their_runs(tmp_path: Path, run_folder: Callable[..., str]) -> None:
    a, b = run_folder("sweep/a", 0.3, "x=1"), run_folder("sweep/b", 0.2, "x=2")
    for name in ("sweep/report", "nothing"):  # no runs
        (tmp_path / name).mkdir()
    unfinished = run_folder("sweep/c", 0.2, "augment=none", finished=False, recorded=True)
    sweep = tmp_path / "sweep"
    of_folder = compared(tmp_path, str(sweep))
    assert [run["path"] for run in of_folder["runs"]] == [a, b]
    assert [one["path"] for one in of_folder["failed"]] == [unfinished]
    add_runs(sweep, [PlannedRun(name, ()) for name in ("b", "gone", "a")])
    of_sweep = compared(tmp_path, str(sweep))
    assert [run["path"] for run in of_sweep["runs"]] == [b, a], "in the sweep's order, and only its runs"
    assert [one["reason"] for one in of_sweep["failed"]] == [f"{sweep}/gone: not started"]
    assert compared(tmp_path, str(sweep), a, f"{sweep}/*")["runs"] == of_sweep["runs"], "each run once"
    with pytest.raises(
        KidasrError, match=r"^runs: .*/nothing contains no runs; expected: run folders, or a folder of runs$"
    ):
        compared(tmp_path, str(tmp_path / "nothing"))
    with pytest.raises(
        KidasrError, match=r"^runs: .* contains no runs, but sweeps: sweep; expected: one of these, run folders"
    ):
        compared(tmp_path, str(tmp_path))


def test_an_unfinished_run_is_listed_and_the_rest_compared(tmp_path: Path, run_folder: Callable[..., str]) -> None:
    a, b = run_folder("a", 0.3, "x=1"), run_folder("b", 0.2, "x=2")
    unfinished = run_folder("c", 0.2, "x=3", finished=False)
    found = compared(tmp_path, str(tmp_path / "[abc]"), baseline=b)
    assert [run["path"] for run in found["runs"]] == [a, b]
    assert [(one["path"], "not finished" in one["reason"]) for one in found["failed"]] == [(unfinished, True)]
    assert [pair["run"] for pair in found["pairs"]] == ["x=1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"utterance_id": "other"}, r"/b: another set than .*/a: 1 of its 120 utterances are not there, 1 others are"),
        ({"normalized_reference": "x"}, r"/b: another set than .*/a: 1 references differ, first that of u007"),
    ],
)
def test_another_test_set_is_refused(
    tmp_path: Path, run_folder: Callable[..., str], change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(KidasrError, match=reason):
        compared(tmp_path, run_folder("a", 0.3, "x=1"), run_folder("b", 0.2, "x=2", **change))


@pytest.mark.parametrize(
    ("runs", "baseline", "reason"),
    [
        (["a", "b"], "z", "baseline=z: not among the runs; expected: x=1, x=2"),
        (["a", "nothing*"], None, "runs: nothing matches"),
        (["a", "gone"], None, r"runs: 1 finished run\(s\) of 1 configuration\(s\); expected: two or more configurations"),
    ],
)
def test_what_can_not_be_compared_is_one_line(
    tmp_path: Path, run_folder: Callable[..., str], runs: list[str], baseline: str | None, reason: str
) -> None:
    run_folder("a", 0.3, "x=1")
    run_folder("b", 0.2, "x=2")
    with pytest.raises(KidasrError, match=reason):
        compared(tmp_path, *(str(tmp_path / run) for run in runs), baseline=baseline)


def test_from_the_command_line(
    tmp_path: Path,
    run_folder: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    a, b = run_folder("a", 0.3, "x=1"), run_folder("b", 0.2, "x=2")
    assert run_here(monkeypatch, "job=compare", f"runs=[{a},{b}]", f"hydra.run.dir={tmp_path / 'report'}") == 0
    said = capfd.readouterr().out
    assert "against x=1" in said and "comparison:" in said
    again = ("job=compare", f"runs=[{a},{b}]", f"hydra.run.dir={tmp_path / 'report'}")
    assert run_here(monkeypatch, *again, "baseline=[h1]") == 2
    assert "baseline=[h1]: 0 configurations have exactly these" in "".join(capfd.readouterr())
    assert run_here(monkeypatch, "job=compare") == 2
    assert "runs is missing; expected: runs=..." in capfd.readouterr().err
    (Path(b) / "predictions.jsonl").write_text('{"utterance_id": 1}', encoding="utf-8")
    assert run_here(monkeypatch, "job=compare", f"runs=[{a},{b}]", f"hydra.run.dir={tmp_path / 'report2'}") == 2
    assert "predictions.jsonl:1: not a prediction" in "".join(capfd.readouterr())


@pytest.mark.parametrize("all_of_them", [True, False])
def test_unknown_speakers_make_intervals_too_narrow_and_it_is_said_everywhere(
    tmp_path: Path, run_folder: Callable[..., str], caplog: pytest.LogCaptureFixture, all_of_them: bool
) -> None:
    caplog.set_level("INFO")
    unknown = "data.speakers=unknown"
    of_b = [unknown] if all_of_them else []
    a = [run_folder(f"a{seed}", 0.3, unknown, seed=seed, recorded=True) for seed in (1, 2, 3)]
    b = [run_folder(f"b{seed}", 0.2, *of_b, "augment=specaugment", seed=seed, recorded=True) for seed in (1, 2, 3)]
    found = compared(tmp_path, *a, *b)
    (pair,) = found["pairs"]
    assert pair["speakers_unknown"] and pair["verdict"] == "better"
    assert {run["speakers"] for run in found["runs"]} == {None}
    (doubt,) = found["doubts"]
    assert "takes utterances as independent" in doubt and ("in 3 of 6 runs" in doubt) != all_of_them
    verdict_line = next(line for line in caplog.messages if "significantly better" in line)
    assert verdict_line.endswith(f"; {TOO_NARROW}")
    for name in ("report.html", "comparison.md", "comparison.tex"):
        assert "so intervals are too narrow" in (tmp_path / "report" / name).read_text(encoding="utf-8"), name
    known = [run_folder(f"c{seed}", 0.3, seed=seed) for seed in (1, 2)] + [run_folder("d", 0.2, "x=1", seed=1)]
    assert not compared(tmp_path, *known)["pairs"][0]["speakers_unknown"]


def test_ages_are_in_the_order_of_their_labels(tmp_path: Path, run_folder: Callable[..., str]) -> None:
    runs = []
    for name, wer in (("a", 0.3), ("b", 0.2)):
        run = run_folder(name, wer, "data.age_order=[oldest,young,13+]", recorded=True)
        rows = [json.loads(line) for line in (Path(run) / "predictions.jsonl").open()]
        label = dict(zip(AGES, ("13+", "oldest", "young"), strict=True))
        rows = [row | {"age_bucket": label[row["age_bucket"]]} for row in rows]
        (Path(run) / "predictions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        runs.append(run)
    assert read_run(Path(runs[0])).age_buckets == ["oldest", "young", "13+"]
