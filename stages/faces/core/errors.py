"""The one error that a user is meant to see."""


class StageError(Exception):
    """A failure that the user can repair; the message names the file, key or value. Ends a stage with exit code 1."""
