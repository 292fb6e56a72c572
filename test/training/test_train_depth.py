"""Training of the depth estimator: losses against closed forms, repeatable order, resuming, measuring."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from spda_sam_core.depth.estimators import DepthEstimator
from spda_sam_core.weights.files import read_header
from training.data.dataset import CocoRgbdDataset
from training.data.depth_data import DepthPictures, augment
from training.evaluate_depth import constant, depth_metrics, evaluate_depth, vertical_gradient
from training.learning.depth_losses import absolute_loss, aligned_residual, gradient_loss, median_and_deviation
from training.learning.depth_model import load_depth_model, sine_positions
from training.train_depth import DepthTrainConfig, DepthTrainer, load_train_config, train

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = """
input: {side: 32, multiple_of: 8}
transformers:
  patch_size: 8
  reassemble_hidden_size: 16
  reassemble_factors: [2, 2, 1, 1]
  neck_hidden_sizes: [8, 8, 8, 8]
  fusion_hidden_size: 8
  head_hidden_size: 8
  backbone_config:
    {model_type: dinov2, hidden_size: 16, num_hidden_layers: 4, num_attention_heads: 2, patch_size: 8,
     image_size: 32, out_features: [stage1, stage2, stage3, stage4], reshape_hidden_states: false,
     use_mask_token: false}
"""


@pytest.fixture
def dataset(tmp_path: Path) -> CocoRgbdDataset:
    """Ten tilted planes; what is near is bright; a corner is unknown."""
    root, rng = tmp_path / "planes", np.random.default_rng(0)
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
    y, x = np.mgrid[0:48, 0:64].astype(np.float64) / 64
    images = []
    for i in range(10):
        a, b = rng.uniform(-0.3, 0.3, 2)
        inverse = 0.6 + a * x + b * y
        depth_mm = np.round(1000 / inverse).astype(np.uint16)
        depth_mm[:8, :8] = 0
        grey = np.clip(inverse * 200 + rng.normal(0, 2, inverse.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "rgb" / f"{i}.png"), np.repeat(grey[..., None], 3, axis=2))
        cv2.imwrite(str(root / "depth" / f"{i}.png"), depth_mm)
        images.append({"id": i, "file_name": f"{i}.png", "height": 48, "width": 64})
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "plane"}]}
    (root / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return CocoRgbdDataset(root, root / "annotations.json")


@pytest.fixture
def config(tmp_path: Path) -> DepthTrainConfig:
    (tmp_path / "model.yaml").write_text(MODEL, encoding="utf-8")
    (tmp_path / "data.yaml").write_text("splits: {}\n", encoding="utf-8")
    return DepthTrainConfig(
        data=str(tmp_path / "data.yaml"),
        model=str(tmp_path / "model.yaml"),
        output=str(tmp_path / "run"),
        seed=3,
        steps=6,
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=2,
        weight_decay=0.01,
        gradient_weight=0.5,
        unknown_is_open_water=True,
        validate_every=3,
        n_validation=4,
    )


def new_trainer(config: DepthTrainConfig, dataset: CocoRgbdDataset) -> DepthTrainer:
    return DepthTrainer(config, dataset, dataset, torch.device("cpu"))


def random_truth() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 16, 20, generator=generator) + 0.2
    return truth, torch.rand(3, 16, 20, generator=generator) > 0.3


# ---- losses


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


# ---- data


def test_every_picture_is_seen_once_per_epoch_in_changing_order(dataset: CocoRgbdDataset) -> None:
    pictures = DepthPictures(dataset, (32, 40), batch_size=5, seed=0)
    epochs = [pictures.indices(2 * e) + pictures.indices(2 * e + 1) for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert DepthPictures(dataset, (32, 40), batch_size=5, seed=1).indices(0) != pictures.indices(0)


def test_a_batch_depends_on_its_step_alone(dataset: CocoRgbdDataset) -> None:
    one = DepthPictures(dataset, (32, 40), batch_size=4, seed=0)
    two = DepthPictures(dataset, (32, 40), batch_size=4, seed=0)
    two.batch(0)
    two.batch(1)
    a, b = one.batch(2), two.batch(2)
    assert a.image.shape == (4, 3, 32, 40)
    assert a.inverse_depth.shape == a.known.shape == (4, 32, 40)
    assert torch.equal(a.image, b.image)
    assert torch.equal(a.inverse_depth, b.inverse_depth)
    assert not torch.equal(a.image, one.batch(3).image)
    assert bool((a.inverse_depth[~a.known] == 0).all())
    assert 0.2 < float(a.inverse_depth[a.known].min()) < float(a.inverse_depth.max()) < 1.3


def test_augmentation_moves_picture_and_depth_together() -> None:
    ramp = np.mgrid[0:60, 0:80].sum(0).astype(np.float32) + 1
    rgb = np.repeat(ramp[..., None].astype(np.uint8), 3, axis=2)
    for seed in range(10):
        small, depth = augment(np.random.default_rng(seed), rgb, ramp, (48, 64))
        assert small.shape == (48, 64, 3)
        assert depth.shape == (48, 64)
        # up to the new exposure and noise, the picture still is its depth
        assert np.corrcoef(small.mean(2).ravel(), depth.ravel())[0, 1] > 0.99


def test_a_picture_without_depth_is_named(dataset: CocoRgbdDataset) -> None:
    for path in (dataset.root / "depth").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"\d\.png: no metric depth for this picture"):
        DepthPictures(dataset, (32, 40), batch_size=4, seed=0).batch(0)


# ---- model and configuration


def test_shipped_configurations_fit_together() -> None:
    config = load_train_config(REPOSITORY / "config/train/depth_tiny.yaml")
    model, depth_input = load_depth_model(REPOSITORY / config.model)
    assert depth_input.size_hw(480, 640)[1] * 3 == depth_input.size_hw(480, 640)[0] * 4
    parameters = sum(p.numel() for p in model.parameters())
    assert 2 * parameters < 4e6  # bytes in float16
    assert (REPOSITORY / config.data).is_file()


def test_a_new_model_gives_a_map_that_can_learn(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(MODEL, encoding="utf-8")
    torch.manual_seed(0)
    model, _ = load_depth_model(tmp_path / "model.yaml")
    prediction = model(torch.randn(2, 3, 32, 40)).predicted_depth
    assert float((prediction > 0).float().mean()) > 0.9
    prediction.std().backward()
    # the first residual layer of the first fusion has nothing to add to; zero weights shield what lies before them
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert all("fusion_stage.layers.0.residual_layer1" in name for name in without)


def test_position_embeddings_tell_near_from_far_places() -> None:
    positions = sine_positions(14, 64)[0].reshape(14, 14, 64)
    distance = (positions - positions[5, 5]).norm(dim=-1)
    assert float(distance[5, 5]) == 0
    assert float(distance[5, 6]) == pytest.approx(float(distance[6, 5]))
    assert bool((distance[5, 6:10].diff() > 0).all())


def test_configuration_errors_name_the_fix(tmp_path: Path, config: DepthTrainConfig) -> None:
    entries = dataclasses.asdict(config)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump({**entries, "learning_rat": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown key 'learning_rat': did you mean 'learning_rate'"):
        load_train_config(path)
    path.write_text(yaml.safe_dump({k: v for k, v in entries.items() if k != "seed"}), encoding="utf-8")
    with pytest.raises(ValueError, match="missing seed"):
        load_train_config(path)
    with pytest.raises(ValueError, match="warmup_steps 6 must be in"):
        dataclasses.replace(config, warmup_steps=6)
    (tmp_path / "bad.yaml").write_text(MODEL.replace("num_hidden_layers", "n_hidden_layers"), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown key 'n_hidden_layers': did you mean 'num_hidden_layers'"):
        load_depth_model(tmp_path / "bad.yaml")
    (tmp_path / "bad.yaml").write_text(MODEL.replace("multiple_of: 8", "multiple_of: 16"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"are \[8, 16\]: they must be equal"):
        load_depth_model(tmp_path / "bad.yaml")


# ---- training


def test_training_learns_that_bright_is_near(config: DepthTrainConfig, dataset: CocoRgbdDataset) -> None:
    config = dataclasses.replace(config, steps=60, warmup_steps=5, validate_every=60, learning_rate=3e-3)
    path = train(new_trainer(config, dataset))
    metrics = evaluate_depth(DepthEstimator.from_pretrained(path).estimate, dataset)
    assert metrics["spearman"] > 0.8
    assert metrics["abs_rel"] < 0.7 * evaluate_depth(constant, dataset)["abs_rel"]
    header = read_header(path)
    assert json.loads(header["metrics"])["spearman"] == pytest.approx(metrics["spearman"], abs=0.01)
    assert json.loads(header["training"])["seed"] == 3


def test_resuming_is_the_same_as_never_having_stopped(
    config: DepthTrainConfig, dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    whole = new_trainer(config, dataset)
    train(whole)
    config = dataclasses.replace(config, output=str(tmp_path / "second"))
    stopped = new_trainer(config, dataset)
    train(stopped, max_minutes=0)  # one step
    assert stopped.step == 1
    resumed = new_trainer(config, dataset)
    resumed.resume()
    assert resumed.step == 1
    train(resumed)
    assert resumed.step == whole.step == 6
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_resuming_needs_a_checkpoint_of_the_same_configuration(
    config: DepthTrainConfig, dataset: CocoRgbdDataset
) -> None:
    trainer = new_trainer(config, dataset)
    with pytest.raises(FileNotFoundError, match=r"resume\.pt: nothing to resume"):
        trainer.resume()
    trainer.save()
    other = new_trainer(dataclasses.replace(config, batch_size=5), dataset)
    with pytest.raises(ValueError, match="configuration changed \\(batch_size 4 -> 5\\)"):
        other.resume()


def test_a_loss_that_is_not_finite_stops_training(config: DepthTrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = new_trainer(config, dataset)
    with torch.no_grad():
        trainer.model.head.conv3.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="at step 0: start anew with a learning_rate below"):
        trainer.run_step()


# ---- measuring


def test_metrics_are_perfect_for_any_scale_and_offset_of_the_truth() -> None:
    depth_m = np.random.default_rng(0).uniform(1, 5, (30, 40)).astype(np.float32)
    depth_m[:5] = np.nan
    metrics = depth_metrics((3 / depth_m - 1).astype(np.float32), depth_m)
    assert metrics["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert metrics["delta1"] == 1
    assert metrics["spearman"] == pytest.approx(1, abs=1e-4)
    assert metrics["normalised_error"] == pytest.approx(0, abs=1e-4)


def test_metrics_of_a_constant() -> None:
    depth_m = np.array([[1.0, 2.0], [1.0, 2.0]], np.float32)
    metrics = depth_metrics(constant(np.zeros((2, 2, 3), np.uint8)), depth_m)
    # best constant inverse depth is 0.75, a depth of 4/3
    assert metrics["abs_rel"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert metrics["delta1"] == 0
    assert metrics["spearman"] == 0


def test_rank_correlation_agrees_with_scipy() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    depth_m = rng.uniform(1, 5, (20, 30)).astype(np.float32)
    estimate = (1 / depth_m + rng.normal(0, 0.2, depth_m.shape)).astype(np.float32)
    expected = spearmanr(estimate.ravel(), (1 / depth_m.astype(np.float64)).ravel()).statistic
    assert depth_metrics(estimate, depth_m)["spearman"] == pytest.approx(expected)


def test_lower_is_nearer_suits_a_sea_floor() -> None:
    depth_m = (1 / np.linspace(0.2, 1, 30, dtype=np.float32))[:, None].repeat(40, axis=1)
    metrics = depth_metrics(vertical_gradient(np.zeros((30, 40, 3), np.uint8)), depth_m)
    assert metrics["spearman"] == pytest.approx(1)
    assert metrics["delta1"] == 1


def test_a_set_without_depth_cannot_be_measured(dataset: CocoRgbdDataset) -> None:
    for path in (dataset.root / "depth").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="none of 10 pictures has depth"):
        evaluate_depth(constant, dataset)
