"""Evaluation of lesion detectors: numeric core in ``functional``, mmengine wrappers in ``metrics``."""
