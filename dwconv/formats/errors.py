"""The error of every reader."""


class FormatError(ValueError):
    """A file that is truncated, damaged, foreign or newer than this version of dwconv; says which
    and why.
    """
