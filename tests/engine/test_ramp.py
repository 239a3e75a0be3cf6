"""A number of the model that rises while training."""

from types import SimpleNamespace

import pytest
import torch

from medkit.engine import RampValueHook
from medkit.engine.ramp import ramp
from medkit.errors import ConfigError


def runner(**values: object) -> SimpleNamespace:
    logged: dict[str, list[float]] = {}
    hub = SimpleNamespace(update_scalar=lambda name, value: logged.setdefault(name, []).append(value))
    model = torch.nn.Linear(2, 2)
    for name, value in values.items():
        setattr(model, name, value)
    return SimpleNamespace(model=model, max_iters=10, iter=0, message_hub=hub, logged=logged)


@pytest.mark.parametrize(
    "begin, full, wanted",
    [(0.2, 0.6, [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]), (0.3, 0.3, [0] * 3 + [1] * 7), (0.0, 0.0, [1] * 10)],
)
def test_values_and_log(begin: float, full: float, wanted: list[float]) -> None:
    run, hook = runner(alpha=3.0), RampValueHook("alpha", begin, full)
    hook.before_train(run)
    found = []
    for run.iter in range(10):
        hook.before_train_iter(run, 0)
        found.append(run.model.alpha / 3)
    assert found == pytest.approx(wanted) == [value / 3 for value in run.logged["train/alpha"]]
    run.model.alpha = 0.0
    hook.after_train(run)
    assert run.model.alpha == 3


def test_resumed_run_has_the_value_of_its_iteration() -> None:
    run, hook = runner(alpha=2.0), RampValueHook("alpha", 0.0, 1.0)
    run.iter = 5
    hook.before_train(run)
    hook.before_train_iter(run, 0)
    assert run.model.alpha == pytest.approx(2 * ramp(0.5, 0.0, 1.0)) == 1.0


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match=r"begin=0.5, full=0.2"):
        RampValueHook(begin=0.5, full=0.2)
    with pytest.raises(ConfigError, match=r"RampValueHook: Linear.alpha is None, expected a number"):
        RampValueHook("alpha").before_train(runner())
