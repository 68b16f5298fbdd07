"""What a command cannot do: said in one line, and it exits with 1."""


class Problem(Exception):
    """The message says what happened, to what, and what to do."""
