"""From arrays to instances, with sensor depth, estimated depth, and none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spda_sam_core.checkpoint import CheckpointError, file_sha256, save_checkpoint
from spda_sam_core.config import load_model_config
from spda_sam_core.depth import normalise_depth, normalise_inverse_depth
from spda_sam_core.model import SpdaSam, build_model
from spda_sam_core.postprocess import postprocess
from spda_sam_core.predictor import Predictor, check_device
from spda_sam_core.preprocess import Letterbox, prepare


class Ramp:
    """A depth estimator that says: near at the bottom."""

    def __init__(self) -> None:
        self.calls = 0

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        height, width = rgb.shape[:2]
        return np.tile(np.linspace(0, 7, height, dtype=np.float32)[:, None], (1, width))


@pytest.fixture(scope="module")
def model() -> SpdaSam:
    torch.manual_seed(0)
    return build_model(load_model_config("tiny"))


@pytest.fixture
def predictor(model: SpdaSam) -> Predictor:
    return Predictor(model, depth_estimator=Ramp())


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def sensor(height: int = 120, width: int = 160) -> np.ndarray:
    return np.linspace(0.5, 4, height * width, dtype=np.float32).reshape(height, width)


def test_prediction_is_the_three_steps_in_a_row(model: SpdaSam, predictor: Predictor) -> None:
    rgb, depth_m = picture(), sensor()
    result = predictor.predict(rgb, depth_m, score_threshold=0.0)
    with torch.inference_mode():
        output = model(*prepare(rgb, normalise_depth(depth_m), model.config.input_size))
    expected = postprocess(
        output.mask_logits[0].numpy(),
        output.class_logits[0].numpy(),
        output.predicted_iou[0].numpy(),
        letterbox=Letterbox(120, 160, model.config.input_size),
        class_names=model.config.class_names,
        score_threshold=0.0,
    )
    np.testing.assert_array_equal(result.instances.masks, expected.masks)
    np.testing.assert_array_equal(result.instances.scores, expected.scores)
    assert (result.instances.height, result.instances.width) == (120, 160)


def test_the_threshold_holds(predictor: Predictor) -> None:
    scores = predictor.predict(picture(), sensor(), score_threshold=0.0).instances.scores
    assert len(scores)
    kept = predictor.predict(picture(), sensor(), score_threshold=float(scores[0])).instances.scores
    assert kept.tolist() == scores[scores >= scores[0]].tolist()
    assert len(predictor.predict(picture(), sensor(), score_threshold=1.0).instances) == 0


def test_sensor_depth_is_used_and_returned(predictor: Predictor) -> None:
    result = predictor.predict(picture(), sensor())
    assert result.depth_source == "sensor"
    assert result.depth is not None
    np.testing.assert_array_equal(result.depth.inverse_depth, normalise_depth(sensor()).inverse_depth)
    assert predictor.depth_estimator.calls == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("depth_m", [None, np.full((120, 160), np.nan, np.float32), np.zeros((120, 160))])
def test_missing_depth_is_estimated(predictor: Predictor, depth_m: np.ndarray | None) -> None:
    result = predictor.predict(picture(), depth_m)
    assert result.depth_source == "estimated"
    assert result.depth is not None
    expected = normalise_inverse_depth(Ramp().estimate(picture()))
    np.testing.assert_array_equal(result.depth.inverse_depth, expected.inverse_depth)


@pytest.mark.parametrize("depth_m", [None, np.full((120, 160), np.inf, np.float32)])
def test_missing_depth_is_left_out_on_request(predictor: Predictor, depth_m: np.ndarray | None) -> None:
    result = predictor.predict(picture(), depth_m, estimate_depth=False)
    assert (result.depth, result.depth_source) == (None, "none")


def test_without_an_estimator_there_is_no_depth(model: SpdaSam) -> None:
    assert Predictor(model).predict(picture()).depth_source == "none"


def test_the_image_size_may_change_between_frames(predictor: Predictor) -> None:
    for size in ((120, 160), (333, 200), (1, 9)):
        result = predictor.predict(picture(*size), sensor(*size))
        assert (result.instances.height, result.instances.width) == size


def test_stages_are_timed(predictor: Predictor) -> None:
    stage_ms = predictor.predict(picture(), sensor()).stage_ms
    assert list(stage_ms) == ["depth", "preprocess", "model", "postprocess"]
    assert all(ms > 0 for ms in stage_ms.values())


def test_warm_up_runs_the_estimator_too(predictor: Predictor) -> None:
    predictor.warm_up()
    assert predictor.depth_estimator.calls == 1  # type: ignore[union-attr]


def test_bad_images_are_refused_before_anything_runs(predictor: Predictor) -> None:
    for shape in ((0, 160, 3), (120, 160), (120, 160, 4)):
        with pytest.raises(ValueError, match="rgb has shape"):
            predictor.predict(np.zeros(shape, np.uint8))
    with pytest.raises(TypeError, match="rgb is float64"):
        predictor.predict(np.zeros((120, 160, 3)))  # type: ignore[arg-type]
    assert predictor.depth_estimator.calls == 0  # type: ignore[union-attr]


def test_depth_of_another_size_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"depth has \(60, 80\) pixels, the image \(120, 160\)"):
        predictor.predict(picture(), sensor(60, 80))


def test_from_checkpoint(model: SpdaSam, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, {})
    predictor = Predictor.from_checkpoint(path, depth_estimator=None)
    assert predictor.checkpoint_sha256 == file_sha256(path)
    assert predictor.class_names == model.config.class_names
    assert predictor.input_size == model.config.input_size
    assert predictor.preset == "tiny"
    assert predictor.predict(picture()).depth_source == "none"
    with pytest.raises(CheckpointError, match="is for preset 'tiny', but 'base'"):
        Predictor.from_checkpoint(path, depth_estimator=None, preset="base")


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'gpu': use 'cpu', 'cuda' or 'cuda:<n>'"):
        check_device("gpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"device '{missing}' is not there, CUDA devices found"):
        check_device(missing)
    assert check_device("cpu").type == "cpu"
