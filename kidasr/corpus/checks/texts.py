"""Checks of transcripts: empty, odd characters, markup, digits, capitals, prompts in two sets, tokens."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

from kidasr.corpus.checks.findings import Examined, Finding, Flagged, Severity, check, share
from kidasr.corpus.checks.speakers import SEEN
from kidasr.corpus.texts import control_character, markup_in

#: Scripts that one language mixes.
MIXED = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK", "BOPOMOFO": "CJK"}

#: First words of the names of letters that belong to every script: symbols, units, ordinals, apostrophes.
OF_ANY_SCRIPT = frozenset(
    {
        *("MODIFIER", "MICRO", "FEMININE", "MASCULINE", "SUPERSCRIPT", "SUBSCRIPT", "OHM", "KELVIN", "ANGSTROM"),
        *("FULLWIDTH", "HALFWIDTH", "COMBINING", "SCRIPT", "DOUBLE-STRUCK", "MATHEMATICAL"),
    }
)

#: Share of the utterances from which a script is the corpus's own.
OWN_SCRIPT = 0.05

#: Signs that nobody says, besides the markup of the usual conventions.
SIGNS = re.compile(r"[<>\[\]{}()*_|~^\\#]|(?:^|\s)[&@+][-=~+/\w]|\w@\w")

#: A control token of Whisper.
CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]*\|>")

#: Languages written without spaces have no words to count.
UNSPACED = frozenset({"CJK", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"})


def normalized(text: str) -> str:
    """A text without case and punctuation, to tell whether two are the same prompt."""
    return " ".join(re.findall(r"[\w']+", unicodedata.normalize("NFKC", text).casefold()))


@cache
def script(character: str) -> str | None:
    """The script of a letter, as the first word of its Unicode name: ``"LATIN"``; None if it belongs to no script."""
    name = unicodedata.name(character, "").partition(" ")[0]
    return None if not name or name in OF_ANY_SCRIPT else MIXED.get(name, name)


def _of_texts(examined: Examined, remark: Callable[[str], str | None]) -> list[Flagged]:
    """The utterances whose texts have a remark."""
    return [Flagged(place, found) for place, one in enumerate(examined.utterances) if (found := remark(one.text))]


@check
def empty(examined: Examined) -> Iterator[Finding]:
    """Transcripts without a letter or digit."""
    flagged = _of_texts(examined, lambda text: None if any(map(str.isalnum, text)) else repr(text))
    yield Finding(
        "empty_text",
        "warning",
        flagged,
        f"{examined.share(flagged)} have no word in their transcript. They teach the model to write nothing; meant for "
        "recordings without speech only.",
    )


@check
def scripts(examined: Examined) -> Iterator[Finding]:
    """Letters of another script than the corpus's."""
    of_texts = [frozenset(filter(None, map(script, filter(str.isalpha, set(one.text))))) for one in examined.utterances]
    counts = Counter(name for names in of_texts for name in names)
    enough = min(OWN_SCRIPT * len(of_texts), max(counts.values(), default=0))
    own = {name for name, count in counts.items() if count >= enough}
    flagged = []
    for place, names in enumerate(of_texts):
        if names - own:
            odd = "".join(c for c in examined.utterances[place].text if c.isalpha() and script(c) in names - own)
            flagged.append(Flagged(place, f"{', '.join(sorted(names - own)).lower()}: {odd[:20]!r}"))
    yield Finding(
        "other_script",
        "warning",
        flagged,
        f"{examined.share(flagged)} have letters of another script than the rest ({', '.join(sorted(own)).lower()}). A "
        "letter that only looks the same is another token, and every word with it counts as wrong.",
    )


@check
def control_characters(examined: Examined) -> Iterator[Finding]:
    """Invisible and undefined characters, line breaks, and text that was decoded with the wrong encoding."""

    def garbled(text: str) -> str | None:
        if text.isascii():
            return None
        try:
            meant = text.encode("cp1252").decode()
        except UnicodeError:
            return None
        return f"probably {meant!r}"

    flagged = _of_texts(examined, control_character)
    yield Finding(
        "control_characters",
        "warning",
        flagged,
        f"{examined.share(flagged)} have invisible or undefined characters in their text (tabs, line breaks, zero-width "
        "spaces, replacement characters). The model would learn to write them. Remove them.",
    )
    flagged = _of_texts(examined, garbled)
    yield Finding(
        "wrong_encoding",
        "warning",
        flagged,
        f"{examined.share(flagged)} were UTF-8 and were read as Windows-1252. Convert them back.",
    )


@check
def markup(examined: Examined) -> Iterator[Finding]:
    """Transcribers' marks, and control tokens of the model, which training refuses."""
    control = examined.vocabulary.control_tokens
    token = re.compile("|".join(map(re.escape, control))) if control else CONTROL_TOKEN
    flagged = _of_texts(examined, lambda text: " ".join(token.findall(text)) if "<" in text else None)
    refused = {one.place for one in flagged}
    yield Finding(
        "control_token",
        "error",
        flagged,
        f"{examined.share(flagged)} have a control token of the model in their text. Training refuses them: the model would "
        "learn to stop there. Remove it.",
    )

    def mark(text: str) -> str | None:
        return markup_in(text) or " ".join(dict.fromkeys(found[0].strip() for found in SIGNS.finditer(text))) or None

    flagged = [one for one in _of_texts(examined, mark) if one.place not in refused]
    yield Finding(
        "markup",
        "warning",
        flagged,
        f"{examined.share(flagged)} have marks in their text that nobody says (<unk>, [laughs], xxx, *). The model would "
        "learn to write them, and each counts as a wrong word. data.clean=markup strips what is usual; remove the rest.",
    )


@check
def digits(examined: Examined) -> Iterator[Finding]:
    """Numbers in digits."""
    flagged = _of_texts(examined, lambda text: " ".join(re.findall(r"\d+", text)[:5]) or None)
    yield Finding(
        "digits",
        "note",
        flagged,
        f"{examined.share(flagged)} have digits in their text. Whisper's English normalizer makes one word of a number "
        "(twenty three hundred: 2300), so WER counts it as one; write all numbers in one way.",
    )


@check
def capitals(examined: Examined) -> Iterator[Finding]:
    """Texts in capitals among others, which are not lower-cased then."""

    def is_shouted(text: str) -> bool:
        return text.isupper() and len(text.split()) > 1 and sum(map(str.isalpha, text)) > 4

    shouted = [place for place, one in enumerate(examined.utterances) if is_shouted(one.text)]
    other = any(letter.islower() for one in examined.utterances for letter in one.text)
    yield Finding(
        "mixed_capitals",
        "warning",
        [Flagged(place, "in capitals") for place in shouted] if other and not examined.lower_case else [],
        f"{examined.share(shouted)} are all in capitals and the others are not, so they are not lower-cased by themselves. "
        "Whisper does not write capitals; data.text_case=lower makes all the same.",
    )


@check
def few_words(examined: Examined) -> Iterator[Finding]:
    """Transcripts of few words."""
    least = examined.limits.min_words

    def short(text: str) -> str | None:
        words = len(text.split())
        if not 0 < words < least or any(script(c) in UNSPACED for c in text if c.isalpha()):
            return None
        return f"{words} word{'s' if words > 1 else ''}" if any(map(str.isalnum, text)) else None

    flagged = _of_texts(examined, short)
    yield Finding(
        "few_words",
        "note",
        flagged,
        f"{examined.share(flagged)} have fewer than {least} words (check.min_words). They have little context and weigh "
        "little in WER; some recipes leave them out of training.",
    )


@check
def shared_prompts(examined: Examined) -> Iterator[Finding]:
    """Texts of a validation or test set that the training set has too."""
    trained = {normalized(examined.utterances[place].text) for place in examined.by_set().get("train", ())} - {""}
    for name, places in examined.by_set().items():
        if name == "train":
            continue
        shared = [place for place in places if normalized(examined.utterances[place].text) in trained]
        limit = examined.limits.max_shared_prompts
        severity: Severity = "warning" if len(shared) > limit * len(places) else "note"
        yield Finding(
            "prompt_in_two_sets",
            severity,
            [Flagged(place, "its text is in train too") for place in shared],
            f"{share(len(shared), len(places))} of {name} have a text that train has too "
            f"(check.max_shared_prompts={limit:g}). Usual where all children read the same prompts. The score is then for "
            "known texts and tells less of new ones: a model can learn the prompts by heart. Hold out prompts too, or say "
            "so beside the result.",
        )


@check
def too_many_tokens(examined: Examined) -> Iterator[Finding]:
    """Texts that do not fit the decoder."""
    vocabulary = examined.vocabulary
    found: dict[int, int] = {}
    for place, one in enumerate(examined.utterances):
        text = one.text.lower() if examined.lower_case and examined.sets[place] == SEEN[0] else one.text
        if (tokens := vocabulary.exceeded_by(text)) is not None:
            found[place] = tokens
    about = "about " if vocabulary.is_estimate else ""
    yield Finding(
        "too_many_tokens",
        "error",
        [Flagged(place, f"{about}{found[place]} tokens") for place in sorted(found, key=found.__getitem__, reverse=True)],
        f"{examined.share(tuple(found))} have a text of more than {vocabulary.max_tokens} tokens ({vocabulary.source}). "
        "Training refuses them. Cut them into shorter utterances.",
    )
