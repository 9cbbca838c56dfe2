"""Make the hash-pinned locks from requirements.txt and requirements-dev.txt (`make lock`).

torch's own stack is split off, because which build is right depends on the machine: the build for CUDA brings
gigabytes of libraries that a machine without such a GPU has no use for.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("requirements.txt", "requirements-dev.txt", "requirements-s3.txt", "requirements-gs.txt")
"""The drivers of S3 and GCS come along because the tests use them."""
TORCH_STACK = re.compile(r"(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)(==|\[)")
CUDA_HEADER = "# torch as PyPI has it, with the CUDA libraries that it needs. Made by `make lock`.\n"
BASE_HEADER = "# Everything but torch's own stack, for Python 3.11 and 3.12. Made by `make lock`.\n"


def split(text: str) -> tuple[str, str]:
    """The compiled lock as (everything else, torch's stack)."""
    blocks = re.split(r"\n(?=[a-z0-9])", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    torch = [block for block in blocks if TORCH_STACK.match(block.strip())]
    rest = [block for block in blocks if block not in torch]
    return "\n".join(rest).strip() + "\n", "\n".join(torch).strip() + "\n"


def main() -> int:
    """Write requirements.lock and requirements-torch-cuda.lock."""
    command = [
        "uv", "pip", "compile", *SOURCES, "--universal", "--python-version", "3.11", "--generate-hashes",
        "--no-header", "--no-emit-index-url", "--quiet", *sys.argv[1:],
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        return done.returncode
    base, torch = split(done.stdout)
    (ROOT / "requirements.lock").write_text(BASE_HEADER + base)
    (ROOT / "requirements-torch-cuda.lock").write_text(CUDA_HEADER + torch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
