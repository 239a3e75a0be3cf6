"""Finder and loader for ``mmcv._ext``: the compiled module when it works, else `medkit.ops.standin`.

mmengine and mmcv ask for the module with ``importlib.util.find_spec`` and ``pkgutil.find_loader``, so the
finder answers with a real `importlib.machinery.ModuleSpec`; nothing is loaded before the module itself is
imported. A wheel that was compiled for another torch imports and then fails in its first operator, so the
loader runs one (`medkit.ops.check`).

A compiled module that kills the process cannot be caught: ``MEDKIT_OPS=standin`` leaves it unloaded.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

EXT_NAME = "mmcv._ext"
ORIGIN = "medkit.ops"


@dataclass(frozen=True)
class Backend:
    """What serves ``mmcv._ext`` here: ``kind`` is 'compiled' or 'stand-in'; ``reason`` says why."""

    kind: str
    reason: str


_backend: Backend | None = None


def backend() -> Backend | None:
    """The back-end in use; None while nothing has asked for ``mmcv._ext``."""
    return _backend


class MmcvExtFinder(MetaPathFinder):
    """Answers for ``mmcv._ext`` only, whether or not a compiled one exists."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec whose loader chooses the back-end on import."""
        if fullname != EXT_NAME:
            return None
        compiled = None if os.environ.get("MEDKIT_OPS") == "standin" else self._compiled_spec(path, target)
        origin = ORIGIN if compiled is None else compiled.origin
        return ModuleSpec(EXT_NAME, MmcvExtLoader(compiled), origin=origin)

    def _compiled_spec(self, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if isinstance(finder, MmcvExtFinder) or find is None:
                continue
            spec = find(EXT_NAME, path, target)
            if spec is not None:
                return spec
        return None


class MmcvExtLoader(Loader):
    """Loads the compiled module and tries it; loads the stand-in where that fails."""

    def __init__(self, compiled: ModuleSpec | None) -> None:
        self.compiled = compiled

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that serves ``mmcv._ext``."""
        if self.compiled is None:
            forced = os.environ.get("MEDKIT_OPS") == "standin"
            return _standin("MEDKIT_OPS=standin is set" if forced else "mmcv has no compiled operators")
        module, fault = _load_compiled(self.compiled)
        if module is None or fault is not None:
            spec.origin = ORIGIN
            return _standin(f"the compiled {self.compiled.origin} is broken: {fault}")
        _choose(Backend("compiled", f"{self.compiled.origin} works"))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run; a compiled module gets its own spec back."""
        if _backend is not None and _backend.kind == "compiled":
            module.__spec__ = self.compiled


def install() -> None:
    """Put the finder in place and mend a broken ``mmcv._ext`` that was loaded earlier; idempotent."""
    if not any(isinstance(finder, MmcvExtFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MmcvExtFinder())
    if EXT_NAME in sys.modules and _backend is None:
        _mend_loaded(sys.modules[EXT_NAME])


def _choose(chosen: Backend) -> None:
    global _backend
    _backend = chosen


def _standin(reason: str) -> ModuleType:
    from medkit.ops.standin import build_standin

    _choose(Backend("stand-in", reason))
    return build_standin()


def _load_compiled(spec: ModuleSpec) -> tuple[ModuleType | None, str | None]:
    """The compiled module, and what is wrong with it (None when nothing is)."""
    from medkit.ops.check import find_fault

    try:
        module = importlib.util.module_from_spec(spec)
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        return None, f"{type(error).__name__}: {error}"
    return module, find_fault(module)


def _mend_loaded(module: ModuleType | None) -> None:
    """``mmcv._ext`` was loaded before medkit: keep it when it works, else replace it wherever it is used."""
    if module is None:  # a blocked import; the finder answers from now on
        del sys.modules[EXT_NAME]
        return
    from medkit.ops.check import find_fault

    fault = find_fault(module)
    if fault is None:
        _choose(Backend("compiled", f"{getattr(module, '__file__', EXT_NAME)} works"))
        return
    del sys.modules[EXT_NAME]
    spec = ModuleSpec(EXT_NAME, MmcvExtLoader(None), origin=ORIGIN)
    standin = _standin(f"the {EXT_NAME} that was loaded before medkit is broken: {fault}")
    standin.__spec__, standin.__loader__, standin.__package__ = spec, spec.loader, "mmcv"
    sys.modules[EXT_NAME] = standin
    if "mmcv" in sys.modules:
        sys.modules["mmcv"]._ext = standin  # type: ignore[attr-defined]
    for name, loaded in list(sys.modules.items()):
        if name.startswith("mmcv.ops.") and getattr(loaded, "ext_module", None) is module:
            loaded.ext_module = standin  # type: ignore[attr-defined]
