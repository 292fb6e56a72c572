"""What commands that train ask about the machine, and do with the answers."""

from __future__ import annotations

import argparse

import torch

from spda_sam_core.runtimes.memory import keep_freed_memory


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Let a command take `--device`, `--workers` and `--threads`."""
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or cuda:<n>"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches, per GPU (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads of the network (default: all cores)")


def prepare_machine(options: argparse.Namespace) -> None:
    """Before anything is computed: memory that stays with the process, and the threads of the options."""
    keep_freed_memory()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
