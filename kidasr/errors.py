"""What a user can put right."""


class KidasrError(Exception):
    """A mistake of the user's, or of the data's; its text is one line that says what was wrong and what is accepted.

    The command line prints the text without a traceback and ends with exit code 2.
    """
