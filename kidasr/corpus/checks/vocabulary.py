"""What a model can take: its window and its tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Whisper's own: 30 seconds and 448 tokens.
WINDOW_SEC, MAX_TOKENS = 30.0, 448

#: Characters of English per token of Whisper (about 4); and tokens per character of any other script, which differ a lot.
CHARS_PER_TOKEN, TOKENS_PER_CHAR = 4.0, 1.5

#: Tokens before and after a text: start, language, task, no timestamps, end.
PROMPT_TOKENS = 5


@dataclass(frozen=True)
class Vocabulary:
    """The limits of a model."""

    #: What they are taken from, for the report.
    source: str
    window_sec: float
    max_tokens: int
    #: Number of tokens of a text, with the prompt and the end.
    count: Callable[[str], int]
    #: Strings that the tokenizer takes for control tokens; no text may contain them.
    control_tokens: Sequence[str] = ()
    is_estimate: bool = False

    def exceeded_by(self, text: str) -> int | None:
        """Number of tokens of a text if it is too long, else None."""
        if len(text.encode()) + PROMPT_TOKENS <= self.max_tokens:  # a token has a byte or more
            return None
        tokens = self.count(text)
        return tokens if tokens > self.max_tokens else None


def estimated_tokens(text: str) -> int:
    """Number of tokens that Whisper's tokenizer makes, roughly."""
    plain = sum(character.isascii() for character in text)
    return round(plain / CHARS_PER_TOKEN + TOKENS_PER_CHAR * (len(text) - plain)) + PROMPT_TOKENS


def estimated(why: str) -> Vocabulary:
    """Whisper's limits, with an estimated number of tokens."""
    return Vocabulary(f"Whisper's limits, tokens estimated ({why})", WINDOW_SEC, MAX_TOKENS, estimated_tokens, (), True)
