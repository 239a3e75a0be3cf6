"""The demo's five steps on a tiny phantom: the whole path from a dirty export to a tested detector."""

import json
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def test_demo_runs_through(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, str(REPO / "tools/demo.py"), "--out", str(out), "--patients", "24", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert "COCO bbox  mAP" in done.stdout and "macro" in done.stdout
    results = out / "centernet_simsiam_phantom/test"
    assert {"confusion_matrix.png", "sheet.png", "metrics.json", "per_class.csv"} <= {p.name for p in results.iterdir()}
    train, test = (json.loads((out / f"data/annotations/{s}.json").read_text()) for s in ("train", "test"))
    patients = [{image["patient_id"] for image in split["images"]} for split in (train, test)]
    assert patients[0] and patients[1] and not patients[0] & patients[1]
