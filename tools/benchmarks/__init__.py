"""Subjects of ``tools/benchmark.py``: a module each, with ``rows(args)`` that yields what was timed."""
