"""The house rules of imports and sizes, read from the source with ast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
FAMILIES = ("detection", "selfsup", "anomaly", "volumes", "mil")
HEAVY = {"torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmpretrain"}
FILES = sorted(p for room in ("medkit", "data_prep", "tools") for p in (REPO / room).rglob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Absolute dotted names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.relative_to(REPO).with_suffix("").parts)[: -node.level or None]
            base = ".".join([*package, node.module or ""]).strip(".") if node.level else node.module
            names.update({base} | {f"{base}.{alias.name}" for alias in node.names})
    return names


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def starts(names: set[str], *prefixes: str) -> set[str]:
    return {n for n in names if any(n == p or n.startswith(p + ".") for p in prefixes)}


def room(path: Path) -> str:
    return ".".join(path.relative_to(REPO).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPO)))
def test_imports_run_one_way(path: Path) -> None:
    names, where = imported(path), room(path)
    if where.startswith("medkit"):
        assert not starts(names, "data_prep", "tools"), "medkit never imports data_prep or tools"
    if where.startswith("data_prep"):
        assert not roots(names) & (HEAVY | {"medkit"}), "data_prep knows neither torch nor medkit"
    if where.startswith("medkit.evaluation.functional"):
        allowed = set(sys.stdlib_module_names) | {"numpy", "scipy", "medkit"}
        assert roots(names) <= allowed
        assert not starts(names, "medkit") - starts(names, "medkit.evaluation.functional", "medkit.errors")
    if where.startswith("medkit.models"):
        assert not starts(names, "medkit.data", "medkit.evaluation", "medkit.engine", "medkit.apis")
        family = where.split(".")[2] if where.count(".") >= 2 else ""
        others = [f"medkit.models.{f}" for f in FAMILIES if f != family]
        assert not starts(names, *others), "families never import each other"
    if where.startswith("medkit.ops"):
        assert not starts(names, "medkit") - starts(names, "medkit.ops", "medkit.errors")
    if where.startswith("medkit.data"):
        assert not starts(names, "medkit.models", "medkit.engine", "medkit.evaluation", "medkit.apis")
    if where.startswith("medkit.visualization"):
        assert not starts(names, "medkit.models", "medkit.engine", "medkit.data", "medkit.apis")
    if where.startswith("medkit") and not where.startswith("medkit.apis"):
        assert not starts(names, "medkit.apis") or where == "medkit.doctor", "apis stands above the other rooms"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPO)))
def test_no_bare_except_and_modules_are_described(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} has no module docstring"
    bare = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not bare, f"bare except in lines {bare}"


def test_importing_medkit_is_light() -> None:
    code = "import sys, medkit; print(sorted(set(m.split('.')[0] for m in sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert not set(ast.literal_eval(out.stdout)) & (HEAVY | {"matplotlib", "data_prep", "cv2"})


def test_tools_are_thin() -> None:
    long = {p.name: n for p in (REPO / "tools").glob("*.py") if (n := len(p.read_text().splitlines())) > 100}
    assert not long, f"move the logic of {long} into medkit/apis"


def test_config_headers_and_depth() -> None:
    """Three comment lines first; `_base_` depth at most two below a runnable config."""

    def depth(path: Path) -> int:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
                bases = ast.literal_eval(node.value)
                bases = [bases] if isinstance(bases, str) else bases
                return 1 + max(depth(path.parent / base) for base in bases if "::" not in base)
        return 0

    for path in sorted((REPO / "configs").glob("*.py")):
        head = path.read_text().splitlines()[:3]
        assert [line.split(":")[0] for line in head] == ["# Reaches", "# Takes", "# Command"], path.name
        assert depth(path) <= 2, path.name
