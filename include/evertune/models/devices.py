"""Where a model computes, and with which of torch's kernels there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def best() -> torch.device:
    """CUDA where there is one, else the CPU. From then on attention in this process is not given to cuDNN.

    On Hopper torch prefers cuDNN's attention in bf16, which makes a plan of 23 to 37 ms for each shape that it has not
    met. Batches here are of another (rows, length) nearly each time, packed ones many times over, so a training would
    wait for plans more than it computes. The flash and memory-efficient kernels have none to make.
    """
    import torch

    torch.backends.cuda.enable_cudnn_sdp(False)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
