"""From arrays to instances, with sensor depth, estimated depth, and none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.depth.normalisation import normalise_depth, normalise_inverse_depth
from spda_sam_core.network.network import SpdaSamNetwork, SpdaSamOutput, build_network
from spda_sam_core.preprocess import Letterbox, prepare
from spda_sam_core.results.calibration import Calibration
from spda_sam_core.results.postprocess import postprocess
from spda_sam_core.spda_sam import Prediction, SpdaSam, check_device
from spda_sam_core.weights.checkpoint import save_checkpoint
from spda_sam_core.weights.files import CheckpointError, file_sha256


class Ramp:
    """A depth estimator that says: near at the bottom."""

    def __init__(self) -> None:
        self.calls = 0

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        height, width = rgb.shape[:2]
        return np.tile(np.linspace(0, 7, height, dtype=np.float32)[:, None], (1, width))


@pytest.fixture(scope="module")
def network() -> SpdaSamNetwork:
    torch.manual_seed(0)
    return build_network(load_model_config("tiny", class_names=("anode", "object")))


@pytest.fixture
def model(network: SpdaSamNetwork) -> SpdaSam:
    return SpdaSam(network, depth_estimator=Ramp())


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def sensor(height: int = 120, width: int = 160) -> np.ndarray:
    return np.linspace(0.5, 4, height * width, dtype=np.float32).reshape(height, width)


def predict_one(model: SpdaSam, rgb: np.ndarray, depth_m: np.ndarray | None = None, **options: Any) -> Prediction:
    return model.predict_batch([rgb], [depth_m], **options)[0]


def test_prediction_is_the_three_steps_in_a_row(network: SpdaSamNetwork, model: SpdaSam) -> None:
    rgb, depth_m = picture(), sensor()
    result = model.predict(rgb, depth_m, score_threshold=0.0)
    with torch.inference_mode():
        output = network(*prepare(rgb, normalise_depth(depth_m), network.config.input_size))
    expected = postprocess(
        output.mask_logits[0].numpy(),
        output.class_logits[0].numpy(),
        output.predicted_iou[0].numpy(),
        letterbox=Letterbox(120, 160, network.config.input_size),
        class_names=network.config.class_names,
        score_threshold=0.0,
    )
    np.testing.assert_array_equal(result.masks, expected.masks)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert (result.height, result.width) == (120, 160)


def test_scores_go_through_the_calibration(
    network: SpdaSamNetwork, model: SpdaSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = network.forward

    def confident(*inputs: torch.Tensor) -> SpdaSamOutput:
        output = plain(*inputs)
        return output._replace(predicted_iou=output.predicted_iou + 0.6)  # untrained, it is about 0, and so are scores

    monkeypatch.setattr(network, "forward", confident)
    calibration = Calibration((2.0,), (0.5,))
    raw = model.predict(picture(), sensor(), score_threshold=0.0)
    result = SpdaSam(network, calibration=calibration).predict(picture(), sensor(), score_threshold=0.0)
    assert raw.scores.max() > 0.01
    np.testing.assert_allclose(result.scores, calibration(raw.scores, raw.class_ids), rtol=1e-5)
    assert not np.allclose(result.scores, raw.scores, atol=1e-3)


def test_the_threshold_holds(model: SpdaSam) -> None:
    scores = model.predict(picture(), sensor(), score_threshold=0.0).scores
    assert len(scores)
    kept = model.predict(picture(), sensor(), score_threshold=float(scores[0])).scores
    assert kept.tolist() == scores[scores >= scores[0]].tolist()
    assert len(model.predict(picture(), sensor(), score_threshold=1.0)) == 0


def test_sensor_depth_is_used_and_returned(model: SpdaSam) -> None:
    result = predict_one(model, picture(), sensor())
    assert result.depth_source == "sensor"
    assert result.depth is not None
    np.testing.assert_array_equal(result.depth.inverse_depth, normalise_depth(sensor()).inverse_depth)
    assert model.depth_estimator.calls == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("depth_m", [None, np.full((120, 160), np.nan, np.float32), np.zeros((120, 160))])
def test_missing_depth_is_estimated(model: SpdaSam, depth_m: np.ndarray | None) -> None:
    result = predict_one(model, picture(), depth_m)
    assert result.depth_source == "estimated"
    assert result.depth is not None
    expected = normalise_inverse_depth(Ramp().estimate(picture()))
    np.testing.assert_array_equal(result.depth.inverse_depth, expected.inverse_depth)


@pytest.mark.parametrize("depth_m", [None, np.full((120, 160), np.inf, np.float32)])
def test_missing_depth_is_left_out_on_request(model: SpdaSam, depth_m: np.ndarray | None) -> None:
    result = predict_one(model, picture(), depth_m, estimate_depth=False)
    assert (result.depth, result.depth_source) == (None, "none")


def test_without_an_estimator_there_is_no_depth(network: SpdaSamNetwork) -> None:
    assert predict_one(SpdaSam(network), picture()).depth_source == "none"


def test_relative_depth_stands_in_for_an_estimate_and_metric_depth_for_both(model: SpdaSam) -> None:
    inverse = np.linspace(9, 2, 120 * 160, dtype=np.float32).reshape(120, 160)
    for depth_m, source, expected in (
        (None, "relative", normalise_inverse_depth(inverse)),
        (np.zeros((120, 160), np.float32), "relative", normalise_inverse_depth(inverse)),  # knows nothing
        (sensor(), "sensor", normalise_depth(sensor())),
    ):
        result = predict_one(model, picture(), depth_m, relative_inverse_depths=[inverse])
        assert result.depth_source == source
        assert result.depth is not None
        assert np.array_equal(result.depth.inverse_depth, expected.inverse_depth)
    assert model.depth_estimator.calls == 0  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"relative inverse depth has \(5, 6\) pixels, the image \(120, 160\)"):
        predict_one(model, picture(), relative_inverse_depths=[np.ones((5, 6), np.float32)])


def test_the_image_size_may_change_between_frames(model: SpdaSam) -> None:
    for size in ((120, 160), (333, 200), (1, 9)):
        result = model.predict(picture(*size), sensor(*size))
        assert (result.height, result.width) == size


def test_stages_are_timed(model: SpdaSam) -> None:
    stage_ms = predict_one(model, picture(), sensor()).stage_ms
    assert list(stage_ms) == ["depth", "preprocess", "model", "postprocess"]
    assert all(ms > 0 for ms in stage_ms.values())


def test_warm_up_runs_the_estimator_too(model: SpdaSam) -> None:
    model.warm_up()
    assert model.depth_estimator.calls == 1  # type: ignore[union-attr]


def test_bad_images_are_refused_before_anything_runs(model: SpdaSam) -> None:
    for shape in ((0, 160, 3), (120, 160), (120, 160, 4)):
        with pytest.raises(ValueError, match="rgb has shape"):
            model.predict(np.zeros(shape, np.uint8))
    with pytest.raises(TypeError, match="rgb is float64"):
        model.predict(np.zeros((120, 160, 3)))  # type: ignore[arg-type]
    assert model.depth_estimator.calls == 0  # type: ignore[union-attr]


def test_depth_of_another_size_is_refused(model: SpdaSam) -> None:
    with pytest.raises(ValueError, match=r"depth has \(60, 80\) pixels, the image \(120, 160\)"):
        model.predict(picture(), sensor(60, 80))


def test_from_pretrained(network: SpdaSamNetwork, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, network, {})
    model = SpdaSam.from_pretrained(path, depth_estimator=None)
    assert model.checkpoint_sha256 == file_sha256(path)
    assert model.class_names == network.config.class_names
    assert model.input_size == network.config.input_size
    assert model.preset == "tiny"
    assert predict_one(model, picture()).depth_source == "none"
    with pytest.raises(CheckpointError, match="is for preset 'tiny', but 'base'"):
        SpdaSam.from_pretrained(path, depth_estimator=None, preset="base")


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'gpu': use 'cpu', 'cuda' or 'cuda:<n>'"):
        check_device("gpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"device '{missing}' is not there, CUDA devices found"):
        check_device(missing)
    assert check_device("cpu").type == "cpu"
