"""Texts: what is found in them, and what each convention strips."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kidasr.corpus.manifest import Utterance
from kidasr.corpus.texts import Cleaning, conventions, findings, merged_number, report_texts
from kidasr.errors import KidasrError
from kidasr.model.scoring import scoring

EXAMPLES = [
    (name, str(rule.example), str(rule.gives)) for name, convention in conventions().items() for rule in convention.rules
]

Make = Callable[..., list[Utterance]]


@pytest.fixture
def texts() -> Make:
    def make(*some: str, name: str = "m.jsonl") -> list[Utterance]:
        return [
            Utterance(f"u{n}", f"s{n}", "a.wav", text, "5-6", 6.0, 1.0, None, None, f"{name}:{n}")
            for n, text in enumerate(some, start=1)
        ]

    return make


@pytest.mark.parametrize(("name", "before", "after"), EXAMPLES)
def test_each_rule_does_what_its_example_says(name: str, before: str, after: str) -> None:
    assert Cleaning(name)(before) == after != "None"


@pytest.mark.parametrize(
    ("clean", "before", "after"),
    [
        # CHAT, as in its manual: repetitions, corrections, replacements, an event, a pause, a time, what can't be understood
        ("chat", "*CHI:\t<I want> [/] &-uh I wanna [: want to] go (.) xxx +... \x151_2\x15", "I want uh I wanna go"),
        ("chat", "what's that [?] &=laughs ? [+ bch]", "what's that?"),
        ("markup", "well (*) the <unk> {breath} [laughs], it's /noise/ xxx &uh ++garbage++ red.", "well the, it's uh red."),
        ("myst", "<NOISE> so (*) it <NO_SIGNAL> um ener- energy", "so it um energy"),
        ("cmu_kids", "A [begin_noise] BAT /F L AY/ AT NIGHT [end_noise]", "A BAT AT NIGHT"),
        (["fillers", "markup"], "&-um, the [laughs] cat", "the cat"),
        (["chat", "fillers"], "&-um &=coughs +...", ""),
        ("markup", "xxx .", ""),
        ("markup", "(be)cause  she  said (1998) R&B x < 3", "(be)cause  she  said (1998) R&B x < 3"),
        ("fillers", "the  drum hummed, er mm", "the drum hummed,"),
        ("none", "[laughs]", "[laughs]"),
    ],
)
def test_whole_texts(clean: str | list[str], before: str, after: str) -> None:
    assert Cleaning(clean)(before) == after


def test_what_becomes_empty_is_left_out_of_training_and_kept_for_scores(
    texts: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    train, test = texts("two cats", "[noise]", "", "a [noise] dog", name="t.jsonl"), texts("[noise]", "one", name="v.jsonl")
    cleaned = Cleaning("markup").apply({"train": train, "test": test})
    assert [one.text for one in cleaned.sets["train"]] == ["two cats", "", "a dog"], "an empty text may be meant"
    assert [one.text for one in cleaned.sets["test"]] == ["", "one"]
    cleaned.report(cleaned.sets)
    assert caplog.messages == [
        "data.clean=markup changed 3 of 6 texts, e.g. t.jsonl:4: 'a [noise] dog' is now 'a dog'",
        "data: train: 1 utterance(s) left out, since the text became empty, e.g. t.jsonl:2: '[noise]'",
        "data: test: 1 text(s) became empty and are kept as such, e.g. v.jsonl:1: '[noise]'",
    ]
    with pytest.raises(KidasrError, match=r"^data.clean=markup: every training text becomes empty, the first t.jsonl:1"):
        Cleaning("markup").apply({"train": texts("[noise]", name="t.jsonl")})


def test_findings_are_counted_with_an_example_and_nothing_is_said_of_plain_texts(
    texts: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    normalize = scoring("en").normalize
    plain = texts("Two cats, it's one o'clock.", "thé naïve café", "twenty one")
    report_texts({"train": plain, "validation": plain[:2], "test": []}, "en", normalize, Cleaning("none"))
    assert caplog.messages == []
    odd = texts("two cats", " ", "in 2,300 days", "the <unk> [x]", "a\x00b", "что это", "\ufeffone")
    assert [(one.kind, [u.utterance_id for u in one.utterances], one.where) for one in findings(odd, "en")] == [
        ("empty", ["u2"], "m.jsonl:2"),
        ("script", ["u6"], "m.jsonl:6: 'что' (Cyrillic)"),
        ("markup", ["u4"], "m.jsonl:4: '<unk>'"),
        ("control", ["u5", "u7"], r"m.jsonl:5: U+0000 in 'a\x00b'"),
        ("digits", ["u3"], "m.jsonl:3: '2,300'"),
    ]
    validation = texts("twenty three hundred cats", "two cats", name="v.jsonl")
    report_texts({"train": odd, "validation": validation}, "en", normalize, Cleaning("none"))
    assert len(caplog.messages) == 3
    assert caplog.messages[0].startswith(
        "data: train: of 7 texts, 1 (14.3%) are empty, e.g. m.jsonl:2; 1 (14.3%) have letters"
    )
    assert "data.clean=markup strips it" in caplog.messages[1]
    assert "in 1 of 2 (50.0%) references" in caplog.messages[2]
    assert "e.g. v.jsonl:1: 'twenty three hundred' as '2300'" in caplog.messages[2]


@pytest.mark.parametrize(
    ("text", "language", "found"),
    [
        ("Über naïve Straßen", "de", False),
        ("µ and ª", "en", False),
        ("π and α", "en", True),
        ("привет", "ru", False),
        ("mera naam", "hi", True),
        ("मेरा iPhone", "hi", False),
        ("我的 iPhone", "zh", False),
        ("ノート日本", "ja", False),
        ("日本", "ko", False),
        ("مرحبا", "en", True),
        ("добар dan", "sr", False),
        ("123 ... 🎉", "en", False),
    ],
)
def test_letters_of_another_script(texts: Make, text: str, language: str, found: bool) -> None:
    assert [one.kind for one in findings(texts(text), language) if one.kind == "script"] == ["script"] * found


def test_numbers_that_the_normalizer_counts_as_one_word() -> None:
    normalize = scoring("en").normalize
    assert merged_number("um, two cats and one dog", normalize) is None
    assert merged_number("the year twenty oh one", normalize) is not None
    assert merged_number("fünf und zwanzig", scoring("de").normalize) is None


def test_rules_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("rules: [{pattern: '@\\w+', into: ''}]", encoding="utf-8")
    assert Cleaning([str(mine), "fillers"])("@laugh um the cat@") == "the cat@"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file"),
        ("rules: [{patern: x}]", "rules.0.pattern: field required; expected: rules: [{pattern: ...}]"),
        ("[", "not YAML: "),
        ("rules: [{pattern: '('}]", r"'\(' into ' ': missing \), unterminated subpattern"),
        (r"rules: [{pattern: x, into: '\1'}]", "invalid group reference 1"),
    ],
)
def test_bad_rules_are_one_line(tmp_path: Path, content: Any, message: str) -> None:
    mine = tmp_path / "mine.yaml"
    if content is not None:
        mine.write_text(content, encoding="utf-8")
    with pytest.raises(KidasrError, match=message.replace("[{", r"\[\{").replace("}]", r"\}\]")) as caught:
        Cleaning(str(mine))
    assert str(caught.value).startswith("data.clean=") and len(str(caught.value).splitlines()) == 1


def test_a_run_scores_and_trains_on_cleaned_texts(tmp_path: Path) -> None:
    from tests.conftest import MICRO, job, read_json, read_jsonl

    corpus = MICRO.parent / "corpus"
    manifests = {}
    for name in ("train", "validation"):
        rows = read_jsonl(corpus / f"{name}.jsonl")[::8]
        for row in rows:
            row |= {"audio_path": str(corpus / row["audio_path"]), "text": f"[noise] {row['text']}"}
            row["grade"] = "K" if row.pop("age") < 9 else "1st"
            del row["speaker_id"], row["split"]
        manifests[name] = tmp_path / f"{name}.jsonl"
        manifests[name].write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    overrides = [
        *("data=manifest", *(f"data.{name}={path}" for name, path in manifests.items()), "debug=smoke"),
        *("data.clean=markup", "data.speakers=unknown", "data.fields.age=grade", "data.age_order=[K,1st]", "model=micro"),
    ]
    job(tmp_path / "run", *overrides, "curriculum=age", "data.limit_validation=8").run()
    predictions = read_jsonl(tmp_path / "run" / "predictions.jsonl")
    assert not any("noise" in one["reference"] for one in predictions)
    assert all(one["speaker_id"] == one["utterance_id"] for one in predictions)
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert list(metrics["final"]["by_age"]) == ["K", "1st"]
    assert metrics["texts"]["clean"] == ["markup"] and set(metrics["texts"]["sets"]) == {"train", "validation"}
    of_validation = metrics["texts"]["sets"]["validation"]
    assert {what: count for what, count in of_validation.items() if count} == {"utterances": 8, "changed": 8}
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "speakers are unknown: utterances are taken as independent, so intervals are too narrow" in report
    assert "for other speakers than these" not in report
    assert "data.clean: markup." in report and "merged numbers" in report, "what was done to the texts"
