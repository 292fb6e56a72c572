"""Losses of relative depth: blind to scale and offset, silent where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.learning.depth_losses import absolute_loss, aligned_residual, gradient_loss, median_and_deviation


def random_truth() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 16, 20, generator=generator) + 0.2
    return truth, torch.rand(3, 16, 20, generator=generator) > 0.3


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (7.0, -3.0), (0.01, 100.0)])
def test_losses_are_zero_for_any_scale_and_offset_of_the_truth(scale: float, offset: float) -> None:
    truth, known = (t.double() if t.is_floating_point() else t for t in random_truth())
    residual, counts = aligned_residual(scale * truth + offset, truth, known)
    assert float(absolute_loss(residual, counts)) == pytest.approx(0, abs=1e-9)
    assert float(gradient_loss(residual, counts)) == pytest.approx(0, abs=1e-9)


def test_losses_do_not_depend_on_scale_and_offset_of_the_prediction() -> None:
    truth, known = random_truth()
    prediction = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(1))
    first = absolute_loss(*aligned_residual(prediction, truth, known))
    assert float(first) > 0.1
    assert float(absolute_loss(*aligned_residual(5 * prediction + 2, truth, known))) == pytest.approx(
        float(first), rel=1e-4
    )


def test_a_prediction_upside_down_is_penalised() -> None:
    truth, known = random_truth()
    # aligned maps have a mean absolute deviation of 1, so that of their difference is 2
    residual, counts = aligned_residual(-truth, truth, torch.ones_like(known))
    assert float(absolute_loss(residual, counts)) == pytest.approx(2, rel=0.02)


def test_aligned_residual_by_hand() -> None:
    truth = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]])  # median 3, mean absolute deviation 6/5
    prediction = torch.tensor([[[0.0, 0.0, 10.0, 20.0, 30.0]]])  # median 10, deviation 50/5
    residual, counts = aligned_residual(prediction, truth, torch.ones(1, 1, 5, dtype=torch.bool))
    expected = np.array([0, 0, 10, 20, 30]) / 10 - 1 - (np.array([1, 2, 3, 4, 5]) - 3) / 1.2
    np.testing.assert_allclose(residual[0, 0].numpy(), expected, atol=1e-6)
    assert bool(counts.all())
    assert float(absolute_loss(residual, counts)) == pytest.approx(np.abs(expected).mean(), rel=1e-6)


def test_median_and_deviation_agree_with_numpy() -> None:
    truth, known = random_truth()
    median, deviation = median_and_deviation(truth, known)
    for i in range(3):
        inside = truth[i][known[i]].numpy()
        middle = np.sort(inside)[(inside.size - 1) // 2]
        assert float(median[i]) == pytest.approx(float(middle))
        assert float(deviation[i]) == pytest.approx(float(np.abs(inside - middle).mean()), rel=1e-5)


def test_gradient_loss_of_a_ramp() -> None:
    residual = 0.25 * torch.arange(16.0).expand(1, 8, 16)
    # at scale s neighbours differ by 0.25 * s, between n - 1 of the n columns
    expected = sum(0.25 * s * (16 // s - 1) / (16 // s) for s in (1, 2))
    loss = gradient_loss(residual, torch.ones(1, 8, 16, dtype=torch.bool), scales=2)
    assert float(loss) == pytest.approx(expected)


def test_unknown_pixels_change_nothing_and_get_no_gradient() -> None:
    truth, known = random_truth()
    prediction = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(1), requires_grad=True)
    residual, counts = aligned_residual(prediction, truth, known)
    loss = absolute_loss(residual, counts) + gradient_loss(residual, counts)
    loss.backward()
    assert prediction.grad is not None
    assert float(prediction.grad[~known].abs().max()) == 0
    assert float(prediction.grad[known].abs().max()) > 0
    wild = torch.where(known, truth, torch.inf)
    residual, counts = aligned_residual(prediction.detach(), wild, known)
    again = absolute_loss(residual, counts) + gradient_loss(residual, counts)
    assert float(again) == float(loss.detach())


def test_open_water_belongs_with_the_farthest_known_pixel() -> None:
    truth = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 0.0, 0.0]]])
    known = truth > 0
    with_water_far = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 1.0, 1.0]]])
    residual, counts = aligned_residual(10 * with_water_far, truth, known, ~known)
    assert bool(counts.all())
    assert float(absolute_loss(residual, counts)) == pytest.approx(0, abs=1e-6)
    with_water_near = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 4.0, 4.0]]])
    residual, counts = aligned_residual(10 * with_water_near, truth, known, ~known)
    # 2 of 6 pixels are wrong by 3, in units of the mean absolute deviation 1 of 1 2 3 4 from 2
    assert float(absolute_loss(residual, counts)) == pytest.approx(2 * 3 / 6)


@pytest.mark.parametrize("truth", [torch.zeros(2, 4, 4), torch.full((2, 4, 4), 0.5)])
def test_pictures_without_depth_or_relief_teach_nothing(truth: torch.Tensor) -> None:
    prediction = torch.rand(2, 4, 4, requires_grad=True)
    residual, counts = aligned_residual(prediction, truth, truth > 0, truth == 0)
    loss = absolute_loss(residual, counts) + gradient_loss(residual, counts)
    loss.backward()
    assert float(loss) == 0
    assert prediction.grad is not None
    assert float(prediction.grad.abs().max()) == 0


def test_a_flat_prediction_gives_finite_gradients() -> None:
    truth, known = random_truth()
    prediction = torch.ones_like(truth).requires_grad_()
    residual, counts = aligned_residual(prediction, truth, known)
    (absolute_loss(residual, counts) + gradient_loss(residual, counts)).backward()
    assert prediction.grad is not None
    assert bool(torch.isfinite(prediction.grad).all())
