"""PyTorch as the runtime: on the CPU the network as it was trained, on CUDA in float16 and as a CUDA graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.runtimes.cuda_network import CudaNetwork, candidates_of
from spda_sam_core.runtimes.memory import keep_freed_memory
from spda_sam_core.runtimes.runtime import NetworkInfo, RawOutput
from spda_sam_core.weights.checkpoint import load_checkpoint


class TorchRuntime:
    """Runs a `SpdaSamNetwork` as it is, on the device that it is on; one that is loaded onto a GPU, by `CudaNetwork`.

    Args:
        network: put into evaluation mode here.
        checkpoint_sha256: hash of the network's file, empty where it has none.
        calibration: what makes scores of raw ones.
        terms: see `NetworkInfo`.
    """

    def __init__(
        self,
        network: SpdaSamNetwork,
        *,
        checkpoint_sha256: str = "",
        calibration: Calibration = UNCALIBRATED,
        terms: tuple[str, ...] = (),
    ) -> None:
        self.network = network.eval()
        self._on_gpu: CudaNetwork | None = None
        config = network.config
        self.info = NetworkInfo(
            config.preset,
            config.class_names,
            config.input_size,
            config.use_depth,
            checkpoint_sha256,
            calibration,
            terms,
        )

    @classmethod
    def load(
        cls, checkpoint: str | Path, *, device: str = "cpu", preset: str | None = None, num_threads: int = 0
    ) -> TorchRuntime:
        """Load a checkpoint.

        Args:
            checkpoint: a file, or the preset of a shipped checkpoint.
            device: see `check_device`.
            preset: refuse a checkpoint of another preset.
            num_threads: CPU threads of this process's PyTorch; 0 leaves it to PyTorch.

        Raises:
            CheckpointError: a file that is missing, damaged, or for something else.
            ValueError: a device that this machine or this build of torch does not have.
        """
        keep_freed_memory()
        target = check_device(device)
        if num_threads:
            torch.set_num_threads(num_threads)
        network, found = load_checkpoint(checkpoint, target, preset=preset)
        made = cls(network, checkpoint_sha256=found.sha256, calibration=found.calibration, terms=found.terms)
        if target.type == "cuda":
            made._on_gpu = CudaNetwork(made.network)
        return made

    @property
    def device(self) -> str:
        """Where the network is: "cpu" or "cuda:<n>"."""
        return str(next(self.network.parameters()).device)

    @torch.inference_mode()
    def run(
        self,
        image: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        depth_valid: NDArray[np.float32],
        estimate: NDArray[np.float32],
    ) -> RawOutput:
        """See `Runtime.run`."""
        arrays = (torch.from_numpy(array) for array in (image, inverse_depth, depth_valid, estimate))
        if self._on_gpu is not None:
            return RawOutput(*(tensor.numpy() for tensor in self._on_gpu(*arrays)))
        output = self.network(*(tensor.to(self.device) for tensor in arrays))
        return RawOutput(*(tensor.cpu().numpy() for tensor in candidates_of(output)))  # waits for a GPU to finish

    def facts(self) -> dict[str, str]:
        """See `Runtime.facts`."""
        facts = {
            "backend": "torch",
            "device": self.device,
            "precision": "float32" if self._on_gpu is None else "float16",
            "threads": str(torch.get_num_threads()),
        }
        if self._on_gpu is not None:
            facts["cuda_graph"] = "launched" if self._on_gpu.is_recorded else "none"
        if self.device.startswith("cuda"):
            facts["gpu_memory_mb"] = f"{torch.cuda.memory_allocated(self.device) / 2**20:.0f}"
        return facts

    def close(self) -> None:
        """See `Runtime.close`."""
        on_gpu = self.device.startswith("cuda")
        del self.network, self._on_gpu
        if on_gpu:
            torch.cuda.empty_cache()


def check_device(device: str) -> torch.device:
    """The torch device of this name, if it is there.

    Args:
        device: "cpu", "cuda", "cuda:<n>", or "auto": CUDA where there is one.

    Raises:
        ValueError: an unknown name, or CUDA where there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device '{device}': use 'auto', 'cpu', 'cuda' or 'cuda:<n>'") from error
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device '{device}' is not there, CUDA devices found: {torch.cuda.device_count()}: use 'cpu', or "
            "install the NVIDIA driver and a CUDA build of torch"
        )
    return target
