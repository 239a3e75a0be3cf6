"""The classes that medkit.apis hands out by name."""

import subprocess
import sys

import pytest

import medkit.apis
from medkit.apis.case_index import CaseIndex


def test_classes_are_found_by_name_and_others_are_named():
    assert medkit.apis.CaseIndex is CaseIndex
    unknown = "CaseIndx"
    with pytest.raises(AttributeError, match="no attribute 'CaseIndx'; it has AnomalyScorer, CaseIndex, Predictor"):
        getattr(medkit.apis, unknown)


def test_none_is_loaded_before_it_is_named():
    code = "import sys, medkit.apis; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
