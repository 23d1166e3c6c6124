"""The data doctor finds every planted fault, and nothing in a clean corpus."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from kidasr.config import check_config
from kidasr.errors import FindingsError, KidasrError
from tests.conftest import KIDS, MICRO, TINY_EN, composed, read_json, real_data, run_here
from tests.corpus.checks.planted import Planted


def checked(folder: Path, *overrides: str) -> dict[str, Any]:
    """The content of ``check.json``."""
    cfg = composed("job=check", "report=none", *overrides)
    cfg.job.output_dir = str(folder)
    check_config(cfg)
    with contextlib.suppress(FindingsError):
        instantiate(cfg.job).run()
    check: dict[str, Any] = read_json(folder / "check.json")
    return check


def ids(check: dict[str, Any]) -> dict[str, set[str]]:
    """The utterances of each kind of finding."""
    found: dict[str, set[str]] = {}
    for one in check["findings"]:
        found.setdefault(one["kind"], set()).update(one["utterance_ids"])
        assert len(one["utterance_ids"]) == len(one["sets"]) == len(one["remarks"])
    return found


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("faulty"), planted=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("clean"), planted=False)


def test_every_planted_fault_is_found_and_nothing_more(
    faulty: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("job=check", *faulty.overrides(), f"hydra.run.dir={tmp_path}", "report=none")
    assert run_here(monkeypatch, *command) == 1
    said = capfd.readouterr()
    check = read_json(tmp_path / "check.json")
    assert ids(check) == faulty.expected
    errors = {one["kind"] for one in check["findings"] if one["severity"] == "error"}
    (last,) = said.err.splitlines()
    assert last.startswith(f"error: check: {len(errors)} errors, ") and all(kind in last for kind in errors)
    assert all(kind in said.out for kind in faulty.expected), "the table"
    assert run_here(monkeypatch, *command) == 1, "repeated, since the data may have changed"
    assert run_here(monkeypatch, *command[:-2], f"hydra.run.dir={tmp_path / 'never'}", "fail_on=never") == 0


def test_nothing_is_found_in_a_clean_corpus(
    clean: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("job=check", *clean.overrides(), "fail_on=warning", f"hydra.run.dir={tmp_path}")
    assert run_here(monkeypatch, *command) == 0
    check = read_json(tmp_path / "check.json")
    assert check["findings"] == []
    assert check["summary"]["sets"]["train"]["speakers"] == 8 and check["summary"]["decoded"]["fraction"] == 1
    assert "check: nothing found that would hurt a training" in capfd.readouterr().out


def test_the_embedded_corpus_has_neither_errors_nor_warnings(tmp_path: Path) -> None:
    check = checked(tmp_path, f"model.name_or_path={MICRO}")
    assert check["summary"]["vocabulary"] == f"the tokenizer of {MICRO}"
    assert [one["kind"] for one in check["findings"] if one["severity"] != "note"] == []


def test_what_is_not_decoded_is_drawn_by_the_seed_and_compared_by_its_files(faulty: Planted, tmp_path: Path) -> None:
    seeds = (("a", "seed=1"), ("b", "seed=1"), ("c", "seed=2"))
    fewer = [checked(tmp_path / name, *faulty.overrides(), "check.decode_sec=20", seed) for name, seed in seeds]
    assert fewer[0] == fewer[1] and 0 < fewer[0]["summary"]["decoded"]["fraction"] < 0.2
    assert fewer[0] != fewer[2]
    (tmp_path / "u.wav").write_bytes((faulty.folder / "u001.wav").read_bytes())
    (tmp_path / "v.wav").write_bytes((faulty.folder / "u001.wav").read_bytes())
    rows = [{"audio_path": f"{name}.wav", "text": "a b", "speaker_id": name, "age": 5} for name in "uv"]
    for name, row in zip(("train", "validation"), rows, strict=True):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    where = ["data=manifest", *(f"data.{name}={tmp_path / name}.jsonl" for name in ("train", "validation"))]
    found = checked(tmp_path / "files", *where, "check.decode_sec=0")
    assert ids(found)["duplicate_across_sets"] == {"u.wav", "v.wav"}
    assert found["summary"]["decoded"]["utterances"] == 0


def test_every_faulty_line_is_a_finding_and_the_rest_is_checked(
    clean: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "audio_path": str(clean.folder / row["audio_path"])} for row in clean.rows["train"]]
    again = [row for row in rows if row["speaker_id"] == "train0"]
    rows += [*again, *({**rows[0], "utterance_id": f"new{number}"} for number in range(4))]
    rows[-4] |= {"text": None}
    rows[-3] |= {"age": "six"}
    rows[-2] |= {"start": 2, "end": 1}
    rows[-1] |= {"split": "held out"}
    lines = [json.dumps({"split": "train", **row}).encode() for row in rows]
    lines[1:1] = [b"{oops", b'{"text": "caf\xe9"}', b'{"text": "a", "audio_path": ""}']
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(b"\n".join(lines))
    with pytest.raises(KidasrError, match=rf"^{manifest}:2: not JSON"):
        instantiate(composed("data=manifest", f"data.train={manifest}").data).load()
    command = ("job=check", "data=manifest", f"data.train={manifest}", f"hydra.run.dir={tmp_path / 'check'}")
    assert run_here(monkeypatch, *command) == 1
    check = read_json(tmp_path / "check" / "check.json")
    assert ids(check) == {
        "unreadable_line": {f"{manifest}:2", f"{manifest}:3"},
        "missing_field": {f"{manifest}:4"},
        "repeated_id": {row["utterance_id"] for row in again},
        "bad_value": {f"new{number}" for number in range(4)},
    }
    remarks = [remark for one in check["findings"] for remark in one["remarks"]]
    assert f"{manifest}:3: not UTF-8: invalid continuation byte" in remarks
    assert sum(one["utterances"] for one in check["summary"]["sets"].values()) == len(clean.rows["train"])
    page = (tmp_path / "check" / "check.html").read_text(encoding="utf-8")
    assert "not UTF-8: invalid continuation byte" in page and "bad_value" in capfd.readouterr().out


def test_a_manifest_without_a_good_line_is_all_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text('audio_path,text\na.wav,b\nc.wav\n"d"x,e\nf.wav,g\n', encoding="utf-8")
    command = ("job=check", "data=manifest", f"data.train={manifest}", f"hydra.run.dir={tmp_path / 'check'}")
    assert run_here(monkeypatch, *command) == 1
    check = read_json(tmp_path / "check" / "check.json")
    assert ids(check) == {"missing_field": {"a.wav", "f.wav"}, "unreadable_line": {f"{manifest}:3", f"{manifest}:4"}}


def test_ids_of_utterances_in_place_of_speakers_are_a_warning(clean: Planted, tmp_path: Path) -> None:
    for name, rows in clean.rows.items():
        own = [
            {**row, "audio_path": str(clean.folder / row["audio_path"]), "speaker_id": row["utterance_id"]} for row in rows
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
    where = [f"data.{name}={tmp_path / name}.jsonl" for name in clean.rows]
    (found,) = checked(tmp_path / "check", "data=manifest", *where)["findings"]
    assert (found["kind"], found["severity"], len(found["utterance_ids"])) == ("single_utterance", "warning", 72)


@pytest.mark.slow
def test_the_model_finds_swapped_transcripts(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (MICRO.parent / "corpus" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [{**row, "audio_path": str(MICRO.parent / "corpus" / row["audio_path"])} for row in rows if row["age"] >= 9][:120]
    manifest = tmp_path / "t.jsonl"

    def scored() -> set[str]:
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        model = ("model=micro", "padding=max_length", "check.model=true")
        return ids(checked(tmp_path / "check", "data=manifest", f"data.train={manifest}", *model)).get(
            "unlikely_text", set()
        )

    before = scored()
    swapped = rows[3], rows[4]
    swapped[0]["text"], swapped[1]["text"] = "seven small yellow boats", "the king has two black cats"
    assert scored() - before == {row["utterance_id"] for row in swapped} and len(before) < 6


@real_data
def test_real_children_have_no_errors(tmp_path: Path) -> None:
    where = [f"data.train={KIDS / 'train.jsonl'}", f"data.validation={KIDS / 'dev.jsonl'}"]
    check = checked(tmp_path, "data=manifest", *where, f"model.name_or_path={TINY_EN}")
    assert {one["kind"] for one in check["findings"] if one["severity"] == "error"} == set()


def test_a_check_of_your_own_is_one_module(clean: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zebras.py").write_text(
        "from kidasr.corpus.checks.findings import Finding, Flagged, check\n"
        "@check\n"
        "def zebra(examined):\n"
        "    places = [place for place, one in enumerate(examined.utterances) if 'zebra' in one.text]\n"
        "    yield Finding('zebra', 'note', [Flagged(place, 'a zebra') for place in places], 'zebras')\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = checked(tmp_path / "own", *clean.overrides(), "check.modules=[zebras]")["findings"]
    rows = [row for rows in clean.rows.values() for row in rows]
    assert set(found["utterance_ids"]) == {row["utterance_id"] for row in rows if "zebra" in row["text"]}
    assert checked(tmp_path / "without", *clean.overrides())["findings"] == []
    with pytest.raises(KidasrError, match=r"check.modules: lions can't be imported: .*; expected: a module with checks"):
        checked(tmp_path / "wrong", *clean.overrides(), "check.modules=[lions]")
