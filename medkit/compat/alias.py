"""Finder for the packages that mmpretrain swallowed: ``mmselfsup`` and ``mmcls``, reduced to ``registry``.

The finder goes before installed packages of these names, since neither can be imported beside mmcv >= 2.1.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

SCOPES = ("mmselfsup", "mmcls")


class AliasFinder(MetaPathFinder):
    """Answers for ``mmselfsup``, ``mmselfsup.registry`` and the same of ``mmcls``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec whose loader makes the package, or its registries that forward to mmpretrain's."""
        scope, _, submodule = fullname.partition(".")
        if scope not in SCOPES or submodule not in ("", "registry"):
            return None
        return ModuleSpec(fullname, AliasLoader(), origin="medkit.compat", is_package=not submodule)


class AliasLoader(Loader):
    """Fills ``SCOPE.registry`` with registries; the package itself stays empty."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Python's ordinary empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Build the registries of the scope."""
        scope, _, submodule = module.__name__.partition(".")
        if submodule:
            from medkit.compat.registry import forwarding_registries

            module.__dict__.update(forwarding_registries(scope))


def install_mmselfsup_alias() -> None:
    """Put the finder in place; costs nothing until a config names one of the scopes. Idempotent."""
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())


def register_mmselfsup() -> None:
    """Install the finder and build the registries now, e.g. before looking at them by hand."""
    install_mmselfsup_alias()
    for scope in SCOPES:
        importlib.import_module(f"{scope}.registry")
