"""Transcripts: what in them is not plain text of the model's language is counted, and ``data.clean`` strips it."""

import logging
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Literal

import regex
import yaml
from pydantic import ValidationError

from kidasr.config.schema import Group, Text
from kidasr.corpus.manifest import Utterance
from kidasr.errors import KidasrError, truncate

log = logging.getLogger(__name__)

CONVENTIONS = Path(__file__).parent / "conventions.yaml"

#: Longest example in a message, in characters.
EXAMPLE = 80

#: Scripts of the languages that are not written in Latin letters, or not only (CLDR 47, languages and their scripts).
SCRIPTS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("ar", "fa", "ps", "sd", "ur"), ("Arabic",)),
    **dict.fromkeys(("he", "yi"), ("Hebrew",)),
    **dict.fromkeys(("ba", "be", "bg", "mk", "ru", "tg", "uk"), ("Cyrillic",)),
    **dict.fromkeys(("az", "bs", "kk", "sr", "tk", "tt", "uz"), ("Cyrillic", "Latin")),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("Devanagari",)),
    **dict.fromkeys(("as", "bn"), ("Bengali",)),
    **dict.fromkeys(("yue", "zh"), ("Han", "Bopomofo")),
    "am": ("Ethiopic",),
    "bo": ("Tibetan",),
    "el": ("Greek",),
    "gu": ("Gujarati",),
    "ha": ("Latin", "Arabic"),
    "hy": ("Armenian",),
    "ja": ("Han", "Hiragana", "Katakana"),
    "jw": ("Latin", "Javanese"),
    "ka": ("Georgian",),
    "km": ("Khmer",),
    "kn": ("Kannada",),
    "ko": ("Hangul", "Han"),
    "lo": ("Lao",),
    "ml": ("Malayalam",),
    "mn": ("Cyrillic", "Mongolian"),
    "ms": ("Latin", "Arabic"),
    "my": ("Myanmar",),
    "pa": ("Gurmukhi", "Arabic"),
    "si": ("Sinhala",),
    "su": ("Latin", "Sundanese"),
    "ta": ("Tamil",),
    "te": ("Telugu",),
    "th": ("Thai",),
}

#: Controls, format characters, unassigned ones and the sign of a wrong encoding. Joiners are part of some scripts.
_CONTROL = regex.compile(r"[[\p{Cc}\p{Cf}\p{Co}\p{Cn}\uFFFD]--[\u200C\u200D]]", regex.V1)
_DIGITS = re.compile(r"\d(?:[\d.,:]*\d)?")
_LATIN = regex.compile(r"\p{Latin}")

#: What every rule of ``markup`` needs; most texts have nothing of it.
_MAY_BE_MARKUP = re.compile(r"[<\[{(/&+]|xxx|yyy|www", re.IGNORECASE)

Kind = Literal["empty", "script", "markup", "control", "digits", "numbers"]

#: How a message describes the texts of each kind, except ``numbers``, which has a message of its own.
_SAID: Mapping[Kind, str] = {
    "empty": "are empty",
    "script": "have letters that the model's language is not written in",
    "markup": "have markup",
    "control": "have control characters",
    "digits": "have digits",
}

#: What each kind is called in ``metrics.json``.
COUNTED: Mapping[Kind, str] = {
    "empty": "empty",
    "script": "other_script",
    "markup": "markup",
    "control": "control_characters",
    "digits": "digits",
    "numbers": "merged_numbers",
}

#: Kinds that are hardly ever meant.
_WARNED: frozenset[Kind] = frozenset(("script", "markup", "control"))

#: Applied after all others, which may have marked a filler.
_LAST = "fillers"


class Rule(Group):
    """A regular expression, and what replaces its matches."""

    pattern: Text
    into: str = " "
    example: Text | None = None
    gives: str | None = None


class Convention(Group):
    """How a corpus marks what is not a spoken word."""

    about: Text | None = None
    source: Text | None = None
    #: The only language that the rules are for.
    language: Text | None = None
    rules: list[Rule]


@cache
def conventions() -> Mapping[str, Convention]:
    """The conventions that come with kidasr, by name, in the order in which they are applied."""
    content = yaml.safe_load(CONVENTIONS.read_text(encoding="utf-8"))
    return {name: Convention.model_validate(one) for name, one in content.items()}


class Cleaning:
    """Strips markup or fillers from texts; the argument is ``data.clean``.

    Args:
        clean: ``"none"``; or conventions, by their names or as YAML files of one's own. Fillers are stripped last.

    Raises:
        KidasrError: If there is no such convention, or a file can't be used.
    """

    def __init__(self, clean: str | Sequence[str]):
        names = [clean] if isinstance(clean, str) else [str(name) for name in clean]
        if "none" in names and len(names) > 1:
            raise KidasrError(f"data.clean=[{','.join(names)}]: none stands alone; expected: none, or the others")
        self.names = [] if names == ["none"] else sorted(names, key=lambda name: name == _LAST)
        self.conventions = {name: _convention(name) for name in self.names}
        self._rules = [
            (_compiled(name, rule), rule.into) for name, convention in self.conventions.items() for rule in convention.rules
        ]

    def __str__(self) -> str:
        return f"data.clean={self.names[0] if len(self.names) == 1 else '[' + ','.join(self.names) + ']'}"

    def __call__(self, text: str) -> str:
        """The text without what the rules strip. If no rule applies, it is unchanged, spaces included."""
        cleaned = text
        for pattern, into in self._rules:
            cleaned = pattern.sub(into, cleaned)
        return text if cleaned == text else _tidy(cleaned)

    def mistakes(self, language: str | None) -> Iterator[str]:
        """Conventions for another language than the model writes (``"en"`` or ``"english"``); None: it is not known."""
        for name, convention in self.conventions.items():
            of = convention.language
            if of is not None and language is not None and language.lower() not in (of, {"en": "english"}.get(of, of)):
                yield (
                    f"data.clean={name}: these are rules for the language {of!r}, and the model writes {language!r}; "
                    "expected: a YAML file with rules of your own, or no such rules"
                )

    def apply(self, found: Mapping[str, Sequence[Utterance]]) -> "Cleaned":
        """Clean the texts of all sets.

        Training utterances whose text becomes empty are left out: the recording has speech that the text no longer says.
        Those of other sets are kept, so that all runs are scored on the same utterances.

        Args:
            found: The utterances by set.
        """
        sets: dict[str, list[Utterance]] = {}
        before: dict[str, str] = {}
        left_out = []
        for name, utterances in found.items():
            sets[name] = []
            for utterance in utterances:
                text = self(utterance.text) if self.names else utterance.text
                if text == utterance.text:
                    sets[name].append(utterance)
                elif name == "train" and not text:
                    left_out.append(utterance)
                else:
                    before[utterance.source] = utterance.text
                    sets[name].append(replace(utterance, text=text))
        if left_out and not sets["train"]:
            raise KidasrError(f"{self}: every training text becomes empty, the first {_shown(left_out[0])}")
        return Cleaned(self, sets, before, left_out)


@dataclass(frozen=True)
class Cleaned:
    """The result of :meth:`Cleaning.apply`."""

    cleaning: Cleaning
    sets: dict[str, list[Utterance]]
    #: The texts that were changed, before, by the location of their line.
    before: Mapping[str, str]
    #: The training utterances that were left out, with their texts before.
    left_out: Sequence[Utterance]

    def counts(self, sets: Mapping[str, Sequence[Utterance]]) -> dict[str, dict[str, int]]:
        """What was done in each set of a run: texts changed, those of them that became empty, and those left out."""
        return {
            name: {
                "changed": sum(one.source in self.before for one in utterances),
                "became_empty": sum(not one.text and one.source in self.before for one in utterances),
                "left_out": len(self.left_out) if name == "train" else 0,
            }
            for name, utterances in sets.items()
        }

    def report(self, sets: Mapping[str, Sequence[Utterance]]) -> None:
        """Log what was changed in the sets of a run, which may be limited to a part of :attr:`sets`."""
        if not self.cleaning.names:
            return
        used = [utterance for utterances in sets.values() for utterance in utterances]
        changed = [utterance for utterance in used if utterance.source in self.before]
        total = len(used) + len(self.left_out)
        count = len(changed) + len(self.left_out)
        if not count:
            log.info("%s changed none of %s texts", self.cleaning, f"{total:,}")
            return
        first, was, now = (
            (changed[0], self.before[changed[0].source], changed[0].text)
            if changed
            else (self.left_out[0], self.left_out[0].text, "")
        )
        log.info(
            "%s changed %s of %s texts, e.g. %s: %s is now %s",
            *(self.cleaning, f"{count:,}", f"{total:,}", first.source, _quoted(was), _quoted(now)),
        )
        if self.left_out:
            log.warning(
                "data: train: %d utterance(s) left out, since the text became empty, e.g. %s",
                *(len(self.left_out), _shown(self.left_out[0])),
            )
        for name, utterances in sets.items():
            empty = [one for one in utterances if not one.text and one.source in self.before]
            if empty:
                shown = f"{empty[0].source}: {_quoted(self.before[empty[0].source])}"
                log.warning("data: %s: %d text(s) became empty and are kept as such, e.g. %s", name, len(empty), shown)


@dataclass(frozen=True)
class TextFinding:
    """Texts of a set that have something in common."""

    #: ``numbers``: the normalizer counts several words as one, written in digits.
    kind: Kind
    utterances: Sequence[Utterance]
    #: What the first of them has, for a message; empty for an empty text.
    example: str

    @property
    def where(self) -> str:
        """The location of the first of them, with its example: ``"m.jsonl:7: '[laughs]'"``."""
        source = self.utterances[0].source
        return f"{source}: {self.example}" if self.example else source


def findings(
    utterances: Sequence[Utterance], language: str | None = None, normalize: Callable[[str], str] | None = None
) -> list[TextFinding]:
    """What is not plain text of a language in the texts of a set, in the order of :data:`Kind`; nothing if all is well.

    Args:
        utterances: The set.
        language: The code of the language that the model writes; None: scripts are not looked at.
        normalize: The normalizer of scores; None: numbers are not looked at.
    """
    looks: dict[Kind, Callable[[str], str | None]] = {
        "empty": lambda text: None if text.strip() else "",
        "script": lambda text: _other_script(text, tuple(SCRIPTS.get(language, ("Latin",)))) if language else None,
        "markup": markup_in,
        "control": control_character,
        "digits": lambda text: _quoted(found[0]) if (found := _DIGITS.search(text)) else None,
        "numbers": lambda text: merged_number(text, normalize) if normalize else None,
    }
    found: list[TextFinding] = []
    for kind, look in looks.items():
        seen = [(utterance, example) for utterance in utterances if (example := look(utterance.text)) is not None]
        if seen:
            found.append(TextFinding(kind, [utterance for utterance, _ in seen], seen[0][1]))
    return found


def report_texts(
    sets: Mapping[str, Sequence[Utterance]],
    language: str | None,
    normalize: Callable[[str], str],
    cleaning: Cleaning,
) -> dict[str, dict[str, int]]:
    """Log the findings of each set in one line, and once what can be done; nothing if there are none.

    Args:
        sets: The sets of a run by name, after cleaning. The normalizer is tried on all but the training set.
        language, normalize: See :func:`findings`.
        cleaning: What ``data.clean`` has stripped.

    Returns:
        The number of texts of each kind in each set, by the names of :data:`COUNTED`.
    """
    counts: dict[str, dict[str, int]] = {}
    kinds: set[Kind] = set()
    numbers: list[TextFinding] = []
    for name, utterances in sets.items():
        found = findings(utterances, language, normalize if name != "train" else None)
        known = {one.kind: len(one.utterances) for one in found}
        looked = [kind for kind in COUNTED if kind != "numbers" or name != "train"]
        counts[name] = {COUNTED[kind]: known.get(kind, 0) for kind in looked}
        numbers += [one for one in found if one.kind == "numbers"]
        found = [one for one in found if one.kind != "numbers"]
        kinds |= {one.kind for one in found}
        parts = [f"{_share(len(one.utterances), len(utterances))} {_SAID[one.kind]}, e.g. {one.where}" for one in found]
        if parts:
            level = logging.WARNING if _WARNED & {one.kind for one in found} else logging.INFO
            log.log(level, "data: %s: of %s texts, %s", name, f"{len(utterances):,}", "; ".join(parts))
    if "markup" in kinds and not cleaning.names:
        others = ", ".join(name for name in conventions() if name not in ("markup", _LAST))
        log.warning(
            "data: markup is trained on as text; data.clean=markup strips it, or by the convention of a corpus: %s",
            others,
        )
    if numbers:
        count, total = (
            sum(len(one.utterances) for one in numbers),
            sum(len(utterances) for name, utterances in sets.items() if name != "train"),
        )
        log.info(
            "scores: in %s references, the normalizer writes a number of several words as one word of WER, e.g. %s",
            *(f"{count:,} of {total:,} ({_percent(count, total)})", numbers[0].where),
        )
    return counts


def markup_in(text: str) -> str | None:
    """The first markup of any usual convention in a text, quoted; None if there is none."""
    if not _MAY_BE_MARKUP.search(text):
        return None
    found = [match for rule in _markup() if (match := rule.search(text))]
    return _quoted(min(found, key=lambda match: match.start())[0]) if found else None


def without_markup(text: str) -> str:
    """A text without markup of any usual convention."""
    if not _MAY_BE_MARKUP.search(text):
        return text
    for rule in _markup():
        text = rule.sub(" ", text)
    return text


def merged_number(text: str, normalize: Callable[[str], str]) -> str | None:
    """A number of several words that the normalizer counts as fewer, in digits: ``"'twenty three' as '23'"``, or None."""
    normalized = normalize(text).split()
    if not any(any(map(str.isdigit, word)) for word in normalized):
        return None
    spoken = [word.strip('.,;:?!"') for word in text.lower().split()]
    spoken = [word for word in spoken if word and normalize(word).strip()]  # fillers are dropped, not merged
    for _, start, end, new_start, new_end in SequenceMatcher(None, spoken, normalized, autojunk=False).get_opcodes():
        new = normalized[new_start:new_end]
        if len(new) < end - start and any(any(map(str.isdigit, word)) for word in new):
            return f"{_quoted(' '.join(spoken[start:end]))} as {_quoted(' '.join(new))}"
    return None


@cache
def _markup() -> list[re.Pattern[str]]:
    return [_compiled("markup", rule) for rule in conventions()["markup"].rules]


def _convention(name: str) -> Convention:
    known = conventions()
    if name in known:
        return known[name]
    if not name.endswith((".yaml", ".yml")):
        expected = ", ".join(("none", *known))
        raise KidasrError(f"data.clean={truncate(name)}: no such convention; expected: {expected}, or a YAML file of rules")
    where = f"data.clean={truncate(name)}"
    try:
        return Convention.model_validate(yaml.safe_load(Path(name).read_text(encoding="utf-8")))
    except OSError as error:
        raise KidasrError(f"{where}: can't be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise KidasrError(f"{where}: {place}: {first['msg'].lower()}; expected: rules: [{{pattern: ...}}]") from error
    except (ValueError, yaml.YAMLError) as error:
        raise KidasrError(f"{where}: not YAML: {truncate(' '.join(str(error).split()))}") from error


def _compiled(name: str, rule: Rule) -> re.Pattern[str]:
    try:
        pattern = re.compile(rule.pattern, re.IGNORECASE)
        pattern.sub(rule.into, "")  # compiles the replacement, too
    except (re.error, IndexError, RecursionError) as error:
        raise KidasrError(
            f"data.clean={truncate(name)}: {truncate(repr(rule.pattern))} into {truncate(repr(rule.into))}: {error}; "
            "expected: a regular expression"
        ) from error
    return pattern


def _tidy(text: str) -> str:
    """Text as if what was stripped had never been there; empty if no letter or digit is left."""
    if not any(map(str.isalnum, text)):
        return ""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" +(?=[,.;:?!](?:\s|$))", "", text)
    return re.sub(r"^[,.;:?!]+ |(?<=,),+", "", text)


@cache
def _letters_outside(scripts: tuple[str, ...]) -> "regex.Pattern[str]":
    own = "".join(rf"\p{{{name}}}" for name in scripts)
    return regex.compile(rf"[\p{{L}}--[{own}\p{{Common}}\p{{Inherited}}]]", regex.V1)


def _other_script(text: str, scripts: tuple[str, ...]) -> str | None:
    """The first word with a letter of another script, and that script; None if there is none.

    Latin words are common in texts of any language, so that these count only if nothing else is there.
    """
    if "Latin" in scripts and text.isascii():
        return None
    outside = _letters_outside(scripts).findall(text)
    if "Latin" not in scripts and any(map(str.isalpha, text)) and len(outside) < sum(map(str.isalpha, text)):
        outside = [letter for letter in outside if not _LATIN.match(letter)]
    if not outside:
        return None
    word = next(word for word in text.split() if outside[0] in word)
    return f"{_quoted(word)} ({unicodedata.name(outside[0], 'unknown').split()[0].title()})"


def control_character(text: str) -> str | None:
    """The first control, format or undefined character of a text, or None."""
    found = _CONTROL.search(text.strip())
    return f"U+{ord(found[0]):04X} in {_quoted(text)}" if found else None


def _quoted(text: str) -> str:
    return truncate(repr(text), EXAMPLE)


def _shown(utterance: Utterance) -> str:
    return f"{utterance.source}: {_quoted(utterance.text)}"


def _share(count: int, total: int) -> str:
    return f"{count:,} ({_percent(count, total)})"


def _percent(count: int, total: int) -> str:
    share = 100 * count / total
    return f"{share:.1f}%" if share >= 0.1 else f"{share:.2g}%"
