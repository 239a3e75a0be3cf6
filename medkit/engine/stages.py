"""The parts of a backbone that `StepwiseUnfreezeHook` looks up by name, freezes and releases."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from medkit.errors import ConfigError


class BackboneStages:
    """Groups of parts of a backbone, released from the first to the last; what no group names stays frozen.

    Args:
        backbone: still as it was built; parameters that are frozen now without ``frozen_stages`` explaining
            it are taken to be ones that the model never trains (``norm_cfg=dict(requires_grad=False)``, fixed
            position embeddings).
        groups: names of modules or parameters of the backbone, dots allowed; ``''`` is the backbone itself.

    Raises:
        ConfigError: unknown name, a part in two groups, or a group that could never train.
    """

    def __init__(self, backbone: nn.Module, groups: Sequence[Sequence[str]]) -> None:
        self.backbone = backbone
        parts = [[_lookup(backbone, name) for name in group] for group in groups]
        self.roots = [[part for part in group if isinstance(part, nn.Module)] for group in parts]
        self.params = [{p for part in group for p in _parameters(part)} for group in parts]
        off = {p for p in backbone.parameters() if not p.requires_grad}
        self.never = off if getattr(backbone, "frozen_stages", -1) < 0 else off & _untrained_norms(backbone)
        self.off_at_start = off - self.never
        _check_groups(groups, self.params, self.never)

    def trainable(self, count: int | None = None) -> set[nn.Parameter]:
        """Parameters that train once ``count`` groups are released; ``None``: all groups."""
        return set().union(*self.params[:count]) - self.never

    def frozen(self, count: int) -> set[nn.Parameter]:
        """Parameters that do not train yet but could."""
        return set(self.backbone.parameters()) - self.trainable(count) - self.never

    def frozen_modules(self, count: int) -> list[nn.Module]:
        """Modules of the backbone that neither are released nor contain one that is."""
        if not self.frozen(count):
            return []
        released = {m for group in self.roots[:count] for root in group for m in root.modules()}
        return [m for m in self.backbone.modules() if released.isdisjoint(m.modules())]

    def apply(self, count: int) -> None:
        """Set ``requires_grad`` of the whole backbone; a frozen parameter loses its gradient."""
        trainable = self.trainable(count)
        for param in self.backbone.parameters():
            param.requires_grad_(param in trainable)
            if param not in trainable:
                param.grad = None  # the optimizer would move it by a stale one


def named_module(model: nn.Module, name: str) -> nn.Module:
    """The submodule called ``name`` (dots allowed)."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        children = ", ".join(child for child, _ in model.named_children())
        raise ConfigError(
            f"StepwiseUnfreezeHook: {type(model).__name__} has no module {name!r}; set `backbone` to one of: "
            f"{children}"
        ) from None


def _lookup(backbone: nn.Module, name: str) -> nn.Module | nn.Parameter:
    modules, params = dict(backbone.named_modules()), dict(backbone.named_parameters())
    if name in params:
        return params[name]
    if name not in modules:
        known = [child for child, _ in backbone.named_children()]
        known += [param for param, _ in backbone.named_parameters(recurse=False)]
        raise ConfigError(
            f"StepwiseUnfreezeHook: {type(backbone).__name__} has no stage {name!r}; set `stages` to groups "
            f"of: {', '.join(known)}"
        )
    return modules[name]


def _parameters(part: nn.Module | nn.Parameter) -> list[nn.Parameter]:
    return [part] if isinstance(part, nn.Parameter) else list(part.parameters())


def _check_groups(
    groups: Sequence[Sequence[str]], params: Sequence[set[nn.Parameter]], never: set[nn.Parameter]
) -> None:
    seen: set[nn.Parameter] = set()
    for group, members in zip(groups, params, strict=True):
        if members & seen:
            raise ConfigError(
                f"StepwiseUnfreezeHook: {', '.join(group)} shares parameters with an earlier group of stages"
            )
        if not members - never:
            raise ConfigError(
                f"StepwiseUnfreezeHook: releasing {', '.join(group)} would train nothing: it has "
                f"{len(members)} parameters, all with requires_grad=False before training starts; remove "
                "what freezes it, the hook does that"
            )
        seen |= members


def _untrained_norms(backbone: nn.Module) -> set[nn.Parameter]:
    """Parameters of norm layers that ``norm_cfg=dict(requires_grad=False)`` excludes from training."""
    if (getattr(backbone, "norm_cfg", None) or {}).get("requires_grad", True):
        return set()
    kinds = (_NormBase, nn.GroupNorm, nn.LayerNorm)
    return {p for m in backbone.modules() if isinstance(m, kinds) for p in m.parameters(recurse=False)}
