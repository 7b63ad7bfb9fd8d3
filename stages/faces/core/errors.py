"""The error for failures that the user can repair."""


class StageError(Exception):
    """Ends a stage with exit code 1 and its message, which names the file, key or value."""
