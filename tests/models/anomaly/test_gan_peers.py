"""What GANomaly, ALAD, ALOCC and f-AnoGAN have in common: healthy images in, one score and map out, safe resumes."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from medkit.errors import ConfigError, TrainingError
from tests.models.anomaly.gans import SMALL, batch, build, images

LAST_LAYER = {
    "ganomaly": "discriminator.classifier",
    "alad": "critic_xz.joint.3",
    "alocc": "detector.classifier",
    "fanogan": "critic.last",
}
METHODS = pytest.mark.parametrize("method", list(SMALL))


@METHODS
def test_score_of_an_image_does_not_depend_on_its_batch(method: str) -> None:
    model, wrapper = build(method)
    model.train_step(batch(), wrapper)
    model.eval()
    with torch.no_grad():
        maps, scores = model(images())
        alone = [model(image[None]) for image in images()]
    assert maps.shape == (4, 32, 32) and scores.shape == (4,) and maps.dtype == scores.dtype == torch.float32
    assert 0 <= maps.min() < maps.max() <= 1 and scores.unique().numel() == 4
    torch.testing.assert_close(maps, torch.cat([one[0] for one in alone]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, torch.cat([one[1] for one in alone]), rtol=1e-4, atol=1e-5)


@METHODS
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
def test_resumed_training_equals_the_uninterrupted_one(method: str, amp: bool) -> None:
    """State of model and optimizers, taken after 7 of 10 batches (f-AnoGAN: in its second stage)."""
    model, wrapper = build(method, amp)
    assert isinstance(wrapper, OptimWrapperDict) and tuple(wrapper.keys()) == model.parts
    for number in range(10):
        if number == 7:
            saved = copy.deepcopy((model.state_dict(), wrapper.state_dict()))
            torch.manual_seed(5)
        losses = model.train_step(batch(seed=number), wrapper)
        assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    again, wrapper_again = build(method, amp, seed=1)
    again.load_state_dict(saved[0])
    wrapper_again.load_state_dict(saved[1])
    torch.manual_seed(5)
    for number in (7, 8, 9):
        again.train_step(batch(seed=number), wrapper_again)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert value.dtype != torch.bfloat16


@METHODS
def test_optimizers_hold_all_that_is_trained_and_nothing_stays_frozen(method: str) -> None:
    model, wrapper = build(method)
    trained = {name for name, param in model.named_parameters() if param.requires_grad}
    model.train_step(batch(), wrapper)
    assert {name for name, param in model.named_parameters() if param.requires_grad} == trained
    assert all(param.grad is None for param in model.parameters())  # none left over for the next step of another


@METHODS
def test_nan_names_the_term_and_moves_no_weight(method: str) -> None:
    model, wrapper = build(method)
    layer = model.get_submodule(LAST_LAYER[method])
    torch.nn.init.constant_(layer.bias if layer.bias is not None else layer.weight, float("nan"))
    watched = wrapper[model.parts[1]].param_groups[0]["params"]
    before = [param.detach().clone() for param in watched]
    with pytest.raises(TrainingError, match=r"d_loss is nan, d_loss_\w+ is nan.* in iteration \d+ .*checkpoint"):
        model.train_step(batch(), wrapper)
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(watched, before, strict=True))


@METHODS
def test_bad_sizes_and_optimizers_are_refused(method: str) -> None:
    model, wrapper = build(method)
    for size, said in ((8, "at least 16 x 16 pixels, got 8 x 8"), (48, "was built for 32 x 32 pixels, got 48 x 48")):
        with pytest.raises(ConfigError, match=said):
            model.train_step(batch(size), wrapper)
    with pytest.raises(ConfigError, match="img_size=40, expected 16"):
        build(method, img_size=40)
    with pytest.raises(ConfigError, match=rf"optimizers {', '.join(model.parts)}, got a single .*models/{method}.py"):
        model.train_step(batch(), OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    with pytest.raises(ConfigError, match="has no 'healthy'"):
        model.train_step(dict(inputs=dict(mixed=batch()["inputs"]["healthy"])), wrapper)
