"""A checkpoint with random weights, a DDS domain of our own, and node processes that do not outlive a test."""

from contextlib import contextmanager

import pytest
import torch
from node_bench import NodeProcess, Robot, faults_in, free_domain

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import save_checkpoint

FAST = {"depth_policy": "rgb_only", "score_threshold": 0.0, "device": "cpu"}
"""No depth is estimated, and there are detections from random weights."""


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "random_tiny.safetensors"
    save_checkpoint(path, build_network(load_model_config("tiny", class_names=("anode", "object"))), {})
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start a node and a robot on one domain: `with start({...}, "--remap", "...") as (node, robot)`.

    With `faults` it is the node of `faulty_node`, whose docstring has their names.
    """

    @contextmanager
    def started(parameters, *ros_arguments, name="/spda_sam", faults=None, variables=None):
        domain = free_domain()
        log = tmp_path_factory.mktemp("node") / "log"
        try:
            with Robot(domain, name) as robot:
                faulty = {} if faults is None else {"module": "faulty_node"}
                faulty["variables"] = (variables or {}) | ({} if faults is None else faults_in(faults))
                with NodeProcess(log, domain, {**FAST, **parameters}, *ros_arguments, **faulty) as node:
                    yield node, robot
        finally:
            print(log.read_text(errors="replace"))  # pytest shows it where a test fails

    return started
