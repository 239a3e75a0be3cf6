"""Registries of scope ``mmselfsup`` and ``mmcls`` that forward every look-up to mmpretrain's."""

from functools import wraps
from typing import Any

import mmpretrain.registry
from mmengine.registry import DefaultScope, Registry
from torch import nn

from medkit.compat.models import RENAMED_MODELS
from medkit.compat.transforms import RENAMED_TRANSFORMS
from medkit.errors import ConfigError


class ForwardingRegistry(Registry):
    """A child registry that knows its own entries first and asks ``target`` for all others.

    Args:
        target: mmpretrain's registry of the same kind; its parent becomes this one's parent.
        scope: the old package's name.
    """

    def __init__(self, target: Registry, scope: str) -> None:
        super().__init__(target.name, parent=target.parent, scope=scope)
        self._target = target
        self._imported = True  # there is nothing to import; mmengine would try mmselfsup.utils

    def get(self, key: str) -> Any:
        """What builds ``key``, with or without scope: mmpretrain's class or a function that calls it.

        Raises:
            ConfigError: mmpretrain has nothing of that name.
        """
        scope, name = self.split_scope_key(key)
        if scope not in (None, self.scope):
            return self._target.get(key)
        if name in self._module_dict:
            return self._module_dict[name]
        try:
            found = self._target.get(name)
        except RuntimeError:
            found = None
        if found is None:
            raise ConfigError(
                f"{self.scope} had a {self.name} {name!r}, but mmpretrain, which took its place, has none of "
                "that name; look for the new one in mmpretrain.registry and write it as 'mmpretrain.<name>'"
            )
        return self._with_parts_of_scope(found)

    def _with_parts_of_scope(self, found: Any) -> Any:
        """A model's parts (backbone, neck ..) belong to the scope that the model was named with."""
        current = DefaultScope.get_current_instance()
        in_scope = current is not None and current.scope_name == self.scope
        if in_scope or not (isinstance(found, type) and issubclass(found, nn.Module)):
            return found

        @wraps(found, updated=())
        def build(*args: object, **kwargs: object) -> nn.Module:
            with DefaultScope.overwrite_default_scope(self.scope):
                return found(*args, **kwargs)

        return build


def forwarding_registries(scope: str) -> dict[str, ForwardingRegistry]:
    """One forwarding registry for each of mmpretrain's in mmengine's tree, by its Python name."""
    made = {}
    for name, target in vars(mmpretrain.registry).items():
        if isinstance(target, Registry) and target.scope == "mmpretrain" and target.parent is not None:
            made[name] = target.parent.children.get(scope) or ForwardingRegistry(target, scope)
    if scope == "mmselfsup":
        visualizer = mmpretrain.registry.VISUALIZERS.get("UniversalVisualizer")
        changed = {
            "MODELS": RENAMED_MODELS,
            "TRANSFORMS": RENAMED_TRANSFORMS,
            "VISUALIZERS": {"SelfSupVisualizer": visualizer},
        }
        for kind, entries in changed.items():
            for name, module in entries.items():
                made[kind]._module_dict[name] = module
    return made
