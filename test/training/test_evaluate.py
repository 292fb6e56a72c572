"""Evaluation gives the model what the depth mode says, and its numbers do not depend on batches and workers."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from coco_cases import FOUND, SIZE, A, Oracle, open_folder, write_folder
from folder_cases import encoded, noise, write_set

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import SpdaSamOutput, build_network
from spda_sam_core.runtimes.torch_runtime import TorchRuntime
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import save_checkpoint
from spda_sam_core.weights.files import file_sha256
from training.data.coco_file import annotation_of_mask
from training.data.dataset import CocoRgbdDataset
from training.data.pictures import DepthImages
from training.evaluate import main
from training.measuring.measure import evaluate, measure_predicted
from training.measuring.predict import predict
from training.world.frame import render_image
from training.world.scene import CLASS_NAMES

REPOSITORY = Path(__file__).resolve().parents[2]


def test_evaluate_maps_class_ids_to_the_ids_of_the_data(folder: Path) -> None:
    metrics = evaluate(Oracle(FOUND), open_folder(folder))  # type: ignore[arg-type]
    assert metrics["mask_ap"] == pytest.approx(200 / 3)
    assert metrics["checkpoint_sha256"] == "abc"
    assert metrics["images_per_second"] > 0
    assert metrics["per_class"]["hull"]["n_instances"] == 1
    json.dumps(metrics)


def test_a_limit_leaves_the_other_pictures_out_of_the_labels_too(folder: Path) -> None:
    metrics = evaluate(Oracle(FOUND), open_folder(folder, limit=1))  # type: ignore[arg-type]
    assert metrics["n_images"] == 1
    assert metrics["mask_ap"] == pytest.approx(50)
    assert metrics["per_class"]["object"]["mask_ap"] is None


def test_depth_modes_decide_what_the_network_sees(folder: Path) -> None:
    for mode, with_depth, estimate in (("true", True, False), ("estimated", False, True), ("none", False, False)):
        oracle = Oracle(FOUND)
        oracle.estimates_depth = True
        evaluate(oracle, open_folder(folder), mode)  # type: ignore[arg-type]
        assert [number for number, *_ in oracle.given] == [0, 1]
        for _, depth_m, relative, estimated in oracle.given:
            assert (depth_m is not None, relative, estimated) == (with_depth, None, estimate)


def test_relative_depth_images_are_the_depth_of_the_data(folder: Path) -> None:
    for i in range(2):
        cv2.imwrite(str(folder / "depth" / f"{i}.png"), np.full(SIZE, 40, np.uint8))
    relative = DepthImages("relative", near="bright")
    dataset = CocoRgbdDataset(folder, folder / "annotations.json", depth_images=relative)
    for holes, share in ((0.0, 1.0), (0.5, 0.5)):
        oracle = Oracle(FOUND)
        evaluate(oracle, dataset, "true", depth_holes=holes)  # type: ignore[arg-type]
        for _, depth_m, inverse, _ in oracle.given:
            assert depth_m is None
            assert np.nanmax(inverse) == 40
            assert abs(np.isfinite(inverse).mean() - share) < 0.02
    oracle = Oracle(FOUND)
    evaluate(oracle, dataset, "none")  # type: ignore[arg-type]
    assert [(depth_m, inverse) for _, depth_m, inverse, _ in oracle.given] == [(None, None)] * 2


def test_what_cannot_be_evaluated_is_refused(folder: Path) -> None:
    oracle = Oracle(FOUND)
    with pytest.raises(ValueError, match="'estimated' needs a network that reads depth"):
        evaluate(oracle, open_folder(folder), "estimated")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth mode 'both': choose one of true, estimated, none"):
        evaluate(oracle, open_folder(folder), "both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size 0 and workers 2 must be at least 1"):
        evaluate(oracle, open_folder(folder), batch_size=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_size 1 and workers 0 must be at least 1"):
        evaluate(oracle, open_folder(folder), workers=0)  # type: ignore[arg-type]
    (folder / "depth" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1\.png has no depth: choose depth mode"):
        evaluate(oracle, open_folder(folder))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rendered_pictures(tmp_path_factory: pytest.TempPathFactory) -> CocoRgbdDataset:
    """Rendered pictures of different sizes."""
    root = tmp_path_factory.mktemp("sizes")
    document = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": i + 1, "name": name} for i, name in enumerate(CLASS_NAMES)]
    for name in ("rgb", "depth"):
        (root / name).mkdir()
    for i, size_hw in enumerate([(144, 192), (192, 144), (120, 240), (144, 192), (160, 160)]):
        frame = render_image(7, i, size_hw)
        cv2.imwrite(str(root / "rgb" / f"{i}.png"), frame.rgb[..., ::-1])
        millimetres = np.nan_to_num(1000 * frame.depth_m).clip(0, 65535).astype(np.uint16)
        cv2.imwrite(str(root / "depth" / f"{i}.png"), millimetres)
        document["images"].append({"id": i, "height": size_hw[0], "width": size_hw[1], "file_name": f"{i}.png"})
        for k, class_id in enumerate(frame.class_ids, start=1):
            annotation = annotation_of_mask(frame.label == k, i, class_id + 1)
            document["annotations"].append({"id": len(document["annotations"]) + 1, **annotation})
    (root / "annotations.json").write_text(json.dumps(document))
    return CocoRgbdDataset(root, root / "annotations.json")


def test_numbers_do_not_depend_on_batch_size_and_workers(rendered_pictures: CocoRgbdDataset) -> None:
    model = SpdaSam.from_pretrained("tiny")
    one = evaluate(model, rendered_pictures, batch_size=1, workers=1)
    several = evaluate(model, rendered_pictures, batch_size=3, workers=3)
    assert several["doubles"] == pytest.approx(one["doubles"], abs=0.02)
    assert one["mask_ap"] > 10
    for key in ("mask_ap", "mask_ap50", "mask_ap_agnostic", "box_ap", "box_ap_agnostic50"):
        assert several[key] == pytest.approx(one[key], abs=0.2), key


@pytest.mark.parametrize("batch_size", [1, 3])
def test_doubles_are_counted_among_all_that_the_network_decodes(
    rendered_pictures: CocoRgbdDataset, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SpdaSam(TorchRuntime(build_network(load_model_config("tiny", class_names=CLASS_NAMES))))

    def forward(image: torch.Tensor, *_: torch.Tensor) -> SpdaSamOutput:
        b = len(image)
        masks = torch.full((b, 4, 96, 96), -5.0)
        masks[:, :2, 2:40, 2:20] = 5  # twice the same, and two others
        masks[:, 2, 2:40, 22:30] = masks[:, 3, 2:40, 34:40] = 5
        classes = torch.zeros(b, 4, len(model.class_names))
        return SpdaSamOutput(
            masks, classes, torch.tensor([[0.9, 0.8, 0.7, 0.01]] * b), torch.zeros(b, 4, 4), torch.zeros(b, 1, 96, 96)
        )

    monkeypatch.setattr(model.runtime.network, "forward", forward)
    predicted = predict(model, rendered_pictures, "none", batch_size=batch_size)
    assert predicted.doubles == (5, 15)  # in each of five pictures; the fourth candidate scores too little
    assert measure_predicted(rendered_pictures, predicted).metrics["doubles"] == pytest.approx(1 / 3)
    assert min(result["score"] for result in predicted.results) < 0.01  # the weakest is a result all the same
    assert evaluate(model, rendered_pictures, "none")["doubles"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2), (20, 4)])
def test_results_come_picture_by_picture_whoever_is_first(tmp_path: Path, batch_size: int, workers: int) -> None:
    found = [[(A, i % 3, 0.9)] for i in range(10)]
    oracle = Oracle(found)
    dataset = write_folder(tmp_path, [[] for _ in found])
    results, *_ = predict(oracle, dataset, batch_size=batch_size, workers=workers)  # type: ignore[arg-type]
    assert [(r["image_id"], r["category_id"]) for r in results] == [(i, 10 * (i % 3 + 1)) for i in range(10)]
    assert oracle.batch_sizes == [batch_size] * (10 // batch_size) + [10 % batch_size] * (10 % batch_size > 0)


def test_only_a_few_pictures_are_read_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_folder(tmp_path, [[] for _ in range(20)])
    read, ahead = [], []
    plain = CocoRgbdDataset.__getitem__

    def counted(self: CocoRgbdDataset, index: int) -> object:
        read.append(index)
        return plain(self, index)

    class Watched(Oracle):
        def predict_batch(self, *arguments: object, **options: object) -> list[object]:
            predictions = super().predict_batch(*arguments, **options)  # type: ignore[arg-type]
            ahead.append(len(read) - len(self.given))
            return predictions

    monkeypatch.setattr(CocoRgbdDataset, "__getitem__", counted)
    predict(Watched([[]] * 20), dataset, batch_size=2, workers=3)  # type: ignore[arg-type]
    assert sorted(read) == list(range(20))
    assert max(ahead) <= 5


@pytest.mark.parametrize("depth", ["true", "none"])
def test_the_command_writes_the_numbers_and_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], depth: str
) -> None:
    data = tmp_path / "rendered.yaml"
    data.write_text(
        f"root: {tmp_path}/data\nimage_size_hw: [48, 64]\nclasses: [{', '.join(CLASS_NAMES)}]\n"
        "splits: {val: {seed: 2, n_images: 2}}\n"
    )
    checkpoint = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, build_network(load_model_config("tiny", class_names=CLASS_NAMES)), {})
    command = f"--data {data} --split val --checkpoint {checkpoint} --depth {depth} --limit 2 --device cpu"
    main([*command.split(), "--json", str(tmp_path / "out" / "val.json"), "--report", str(tmp_path / "a" / "report")])
    metrics = json.loads((tmp_path / "out" / "val.json").read_text())
    required = ("n_images", "mask_ap", "mask_ap50", "mask_ap75", "mask_ap_agnostic", "box_ap", "per_class")
    required += ("mask_ar100", "mask_olrp", "laece", "calibration_error", "doubles")
    assert set(required) <= set(metrics)
    assert metrics["n_images"] == 2
    assert 0 <= metrics["mask_ap"] <= 100
    assert metrics["depth"] == depth
    assert metrics["checkpoint_sha256"] == file_sha256(checkpoint)
    assert tuple(metrics["per_class"]) == CLASS_NAMES
    assert json.loads((tmp_path / "a" / "report" / "metrics.json").read_text()) == metrics
    assert metrics["checkpoint_sha256"] in (tmp_path / "a" / "report" / "report.md").read_text()
    printed = capsys.readouterr().out
    assert "sea_chest_grating" in printed
    assert "lack" not in printed
    assert str(tmp_path / "a" / "report" / "report.md") in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data {root}/none.yaml", r"error: .*none\.yaml: no such data set: see config/ for examples"),
        ("--data {root}/data.yaml --split test", r"error: .*no split 'test': choose one of val"),
        ("--data {root}/data.yaml --checkpoint {root}/none.safetensors", r"error: .*none\.safetensors"),
        ("--data {root}/data.yaml", r"error: a\.png has no depth: choose depth mode 'estimated' or 'none'"),
        ("--data {root}/data.yaml --limit 0", "error: limit 0 must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_line(
    tmp_path: Path, arguments: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path, {"val": {"a.png": encoded(noise(0))}})
    monkeypatch.setattr("sys.argv", ["evaluate.py", *arguments.format(root=tmp_path).split(), "--device", "cpu"])
    with pytest.raises(SystemExit, match=message) as caught:
        runpy.run_path(str(REPOSITORY / "training/evaluate.py"), run_name="__main__")
    assert "\n" not in str(caught.value)
