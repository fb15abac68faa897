"""`python -m benchmarks [NAME …]`: run every benchmark, or the named ones, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_NOT_BENCHMARKS = {"__init__", "__main__", "machine"}


def benchmark_names() -> list[str]:
    """Return the modules and packages of this folder that measure something."""
    here = Path(__file__).parent
    found = {path.stem for path in here.glob("*.py")} | {path.parent.name for path in here.glob("*/__main__.py")}
    return sorted(found - _NOT_BENCHMARKS)


def main(asked: list[str]) -> int:
    """Run the benchmarks and return 1 if one failed."""
    known = benchmark_names()
    unknown = sorted(set(asked) - set(known))
    if unknown:
        print(f"no benchmark called {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = []
    for name in asked or known:
        print(f"\n## {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
