"""Run the benchmarks one after the other: `python -m benchmarks [NAME …]`. Each is a script of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run those that were named, or all; status 1 where one did not end well."""
    there = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    names = sys.argv[1:] or there
    if unknown := set(names) - set(there):
        print(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(there)}", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"not well: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
