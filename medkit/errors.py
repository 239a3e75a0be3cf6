"""The exceptions that medkit raises for what a user can mend.

Every message says what was wrong (with the value), what was expected, and what to do. The command-line tools print
such an error as one line and exit with status 2; anything else keeps its traceback.
"""


class MedkitError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(MedkitError):
    """A config, or a command-line option, asks for something impossible or contradictory."""


class DatasetError(MedkitError):
    """A data set is missing, unreadable, or does not fit the config."""


class WeightsError(MedkitError):
    """A checkpoint is missing, unreadable, or does not fit the model."""


class TrainingError(MedkitError):
    """A training went wrong in a way that going on would hide, such as a loss that is NaN."""


class OpsError(MedkitError, NotImplementedError):
    """An operator of ``mmcv.ops`` that only the compiled mmcv offers was called."""
