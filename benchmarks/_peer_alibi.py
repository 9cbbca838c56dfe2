"""alibi-detect's detectors, in a process and a virtual environment of their own (see `requirements-drift-peers.txt`).

Each line read names a detector and a file with two arrays, `reference` and `window`; each line written says whether
that is a drift (`1` or `0`). Imports nothing of evertune.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from alibi_detect.cd import ClassifierDrift, MMDDrift  # type: ignore[import-not-found]  # of the other environment


def mmd(reference: Any) -> Any:
    """As its documentation has it; 100 permutations are its default."""
    return MMDDrift(reference, backend="pytorch", p_val=0.05)


def classifier(reference: Any) -> Any:
    """A small net, judged on held-out folds."""
    net = torch.nn.Sequential(torch.nn.Linear(reference.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    return ClassifierDrift(reference, net, backend="pytorch", p_val=0.05, n_folds=3, epochs=3, verbose=0)


def main() -> None:
    """Answer line by line until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the detectors print is no answer
    for line in sys.stdin:
        name, path = line.rstrip("\n").split("\t")
        with np.load(path) as rows:
            found = {"mmd": mmd, "classifier": classifier}[name](rows["reference"]).predict(rows["window"])
        print(int(found["data"]["is_drift"]), file=answers, flush=True)


if __name__ == "__main__":
    main()
