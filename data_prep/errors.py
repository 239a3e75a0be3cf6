"""Errors that a user can cure. Each message says what was wrong, what was expected and what to do."""


class DataPrepError(Exception):
    """Base of every error that ``python -m data_prep`` prints as one line (exit code 2)."""


class ExportError(DataPrepError):
    """The export cannot be read as a whole: no such folder, no table, no columns, no rows."""


class OptionError(DataPrepError):
    """An option or the output folder does not fit."""


class EmptyResultError(DataPrepError):
    """Cleaning left too little: no image at all, or a side of the split without images."""


class UnreadableImage(DataPrepError):
    """One file cannot be decoded. The pipeline turns it into a row of the report, never into a crash.

    Args:
        reason: code used in ``report.csv`` (``missing``, ``zero_bytes``, ``not_an_image``, ``truncated``).
        detail: what the decoder said.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class InterruptedRun(DataPrepError):
    """The run stopped half-way for a reason outside the images; the same command goes on (exit code 3)."""


class SlideError(DataPrepError):
    """One slide cannot be read or tiled. ``python -m data_prep slides`` makes it a row with a reason."""


class MissingPixelSize(SlideError):
    """A slide file does not say, or not credibly, how large its pixels are."""
