"""Every text is trained on as it is, or refused in one line; none becomes a control token of the labels."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError
from kidasr.features.dataset import check_text, label_text
from kidasr.model.pretrained import PretrainedWhisper
from kidasr.model.whisper import Whisper
from tests.bad_input import Row, assert_line
from tests.conftest import MICRO, TINY_EN, real_data

#: Positions of Whisper's decoder.
POSITIONS = 448

#: The text, or the text and that it is trained on in lower case.
TEXTS = {
    "`<|endoftext|>` in it": Row(
        "two <|endoftext|> cats",
        "m.jsonl:1: the text contains '<|endoftext|>', a control token of the model; expected: plain text",
    ),
    "another control token in it": Row(
        "<|transcribe|>", "m.jsonl:1: the text contains '<|transcribe|>', a control token of the model; expected: plain text"
    ),
    "`<|ENDOFTEXT|>`, trained on in lower case": Row(
        ("<|ENDOFTEXT|>", True),
        "m.jsonl:1: the text contains '<|endoftext|>', a control token of the model; expected: plain text",
    ),
    "longer than the decoder's 448 positions": Row(
        "cats " * 500, "m.jsonl:1: the text has ... tokens; expected: up to the decoder's ..."
    ),
    "10 MB": Row("x" * 10_000_000, "m.jsonl:1: the text has ... tokens or more; expected: up to the decoder's ..."),
    "empty": Row("", note="trained on as silence; its reference is counted as empty"),
    "only spaces": Row("  "),
    "only punctuation": Row("?! ... -"),
    "characters that the tokenizer has never seen": Row("日本語 🎉 ᚠ \U0010ffff", note="spelled in bytes"),
    "right-to-left": Row("مرحبا שלום"),
    "accents, composed or combining": Row("e\u0301 é İ"),
    "control characters": Row("a\x00b\tc\nd\u202ee"),
    "what only looks like a control token": Row("<|cat|> <endoftext> |> <|"),
    "markup": Row("<b>two</b> [laughs] {x} \\n ${oc.env:HOME} %s"),
}


@cache
def micro() -> Whisper:
    return PretrainedWhisper(str(MICRO), "en", "transcribe").load()


def prepared(given: Any) -> tuple[str, bool]:
    return given if isinstance(given, tuple) else (given, False)


@pytest.fixture(scope="module", params=[MICRO, pytest.param(TINY_EN, marks=real_data)], ids=["micro", "tiny.en"])
def whisper(request: pytest.FixtureRequest) -> Whisper:
    return PretrainedWhisper(str(request.param), "en", "transcribe").load()


@pytest.mark.parametrize("row", TEXTS.values(), ids=TEXTS)
def test_a_text_is_trained_on_as_it_is_or_refused(utterance: Callable[..., Utterance], whisper: Whisper, row: Row) -> None:
    text, lower_case = prepared(row.given)
    one = utterance(text=text)
    if row.line is not None:
        with pytest.raises(KidasrError) as caught:
            check_text([utterance(), one], whisper, lower_case)
        assert_line(str(caught.value), row.line)
    else:
        check_text([one], whisper, lower_case)
        assert_plain(text, whisper)


def assert_plain(text: str, whisper: Whisper) -> None:
    """The labels are the prefix, the text's own tokens, and the end."""
    tokenizer = whisper.processor.tokenizer
    ids = tokenizer(text).input_ids
    control = set(tokenizer.get_added_vocab().values())
    prefix = len(tokenizer.prefix_tokens)
    assert ids[:prefix] == tokenizer.prefix_tokens and ids[-1] == tokenizer.eos_token_id
    assert not control & set(ids[prefix:-1])
    assert tokenizer.backend_tokenizer.decode(ids[prefix:-1], skip_special_tokens=False) == text


pieces = st.sampled_from(["<|", "|>", "<|endoftext|>", "endoftext", "ENDOFTEXT", "<", "|", " ", "cat", "é", "\u0130"])


@pytest.mark.any_input
@given(
    text=st.lists(pieces | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=8), lower=st.booleans()
)
def test_no_text_becomes_a_control_token(text: list[str], lower: bool) -> None:
    whisper = micro()
    one = Utterance("u", "s", "a.wav", "".join(text), "5-6", None, 1.0, None, None, "m.jsonl:1")
    try:
        check_text([one], whisper, lower)
    except KidasrError as error:
        assert str(error).isprintable()
    else:
        assert_plain(label_text(one, lower), whisper)
