"""ALOCC in the paper's form: clean target, score 1 - D(R(x)), and a training that stops at an error and stays there."""

import pytest
import torch
from torch import nn

from medkit.errors import ConfigError
from medkit.models.anomaly import ALOCC
from tests.models.anomaly.gans import batch, build, images, moved


def test_score_is_one_minus_the_detector_of_the_refined_image() -> None:
    model, _ = build("alocc")
    model.eval()
    maps, scores = model(images())
    refined = model.refiner(images())  # no noise in scoring
    torch.testing.assert_close(scores, 1 - torch.sigmoid(model.detector(refined)))
    torch.testing.assert_close(maps, (images() - refined).abs().mean(dim=1) / 2)


def test_confident_scores_keep_their_order() -> None:
    model, _ = build("alocc")
    model.eval()
    with torch.no_grad():
        model.detector.classifier.bias.fill_(30.0)
        scores = model(images())[1]
        logits = model.detector(model.refiner(images()))
    assert (1 - torch.sigmoid(logits)).unique().numel() == 1  # what the plain formula would leave
    assert scores.unique().numel() == 4 and torch.equal(scores.argsort(), (-logits).argsort())


def test_losses_are_the_papers() -> None:
    model, _ = build("alocc")
    model.eval()
    clean, noisy = images(), images() + 0.155
    refined = model.refiner(noisy)
    fooled, real, fake = (torch.sigmoid(model.detector(x)) for x in (refined, clean, refined))
    losses = model.refiner_losses(clean, noisy)
    torch.testing.assert_close(losses["r_loss_rec"], (clean - refined).square().mean())
    torch.testing.assert_close(losses["r_loss"], -fooled.log().mean() + 0.4 * losses["r_loss_rec"])
    expected = -real.log().mean() - (1 - fake).log().mean()
    torch.testing.assert_close(model.detector_losses(clean, noisy)["d_loss"], expected)


def test_noise_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model, wrapper = build("alocc")
    seen: list[torch.Tensor] = []
    original = model.refiner_losses
    monkeypatch.setattr(model, "refiner_losses", lambda x, noisy: seen.append(noisy - x) or original(x, noisy))
    model.train_step(batch(number=16), wrapper)
    assert len(seen) == 2 and torch.equal(*seen)  # two steps of the refiner with the same images
    assert float(seen[0].std()) == pytest.approx(0.155, rel=0.02) and abs(float(seen[0].mean())) < 0.005


def test_refiner_moves_twice_to_the_detectors_once() -> None:
    model, wrapper = build("alocc")
    assert moved(model, wrapper) == {"refiner", "detector"}
    steps = [next(iter(wrapper[part].optimizer.state.values()))["step"] for part in ("refiner", "detector")]
    assert [int(step) for step in steps] == [2, 1]


def test_training_stops_at_the_error_and_a_resumed_one_stays_stopped() -> None:
    model, wrapper = build("alocc", stop_error=10.0)
    losses = model.train_step(batch(), wrapper)
    assert float(losses["stopped"]) == 1 and float(losses["rec_error"]) == pytest.approx(float(losses["r_loss_rec"]))
    assert moved(model, wrapper) == set()
    again, wrapper_again = build("alocc", stop_error=10.0, seed=1)
    again.load_state_dict(model.state_dict())
    assert moved(again, wrapper_again) == set() and bool(again.stopped)


def test_running_error_decides_and_by_default_nothing_stops() -> None:
    model, wrapper = build("alocc")
    errors = [float(model.train_step(batch(), wrapper)["r_loss_rec"]) for _ in range(3)]
    expected = errors[0] * 0.99**2 + errors[1] * 0.01 * 0.99 + errors[2] * 0.01
    assert float(model.error) == pytest.approx(expected, rel=1e-4) and not model.stopped
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-6}


@pytest.mark.parametrize("arguments", [dict(noise=-1.0), dict(refiner_steps=0), dict(stop_error=0.0)], ids=str)
def test_bad_arguments_are_refused(arguments: dict) -> None:
    name, value = next(iter(arguments.items()))
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        ALOCC(img_size=16, detector_width=4, **arguments)
