"""The error of all comparisons of scale."""


class ScaleError(Exception):
    """Something that cannot be measured or compared; the message names it and says why."""
