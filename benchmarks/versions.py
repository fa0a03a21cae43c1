"""Install the lowest and the newest versions that are allowed of every requirement, and run the fast tests with each.

    python benchmarks/versions.py                       both, for this Python; make test-versions
    python benchmarks/versions.py --ends lowest         one of them
    python benchmarks/versions.py --resolve             only see whether pip finds versions that go together
    python benchmarks/versions.py --python python3.13   another Python
    python benchmarks/versions.py --processes 1         on one core
    python benchmarks/versions.py --tests data/test_npz.py test_files.py   these tests alone

Each end has a fresh virtual environment in a temporary folder (some 3 GB), so it takes a while. Prints a Markdown row
per end, and on standard error what the tests say; exits with 1 if a set of versions can't be installed or tests fail.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENDS = ("lowest", "newest")
EXTRAS = "dev"  # with all that it includes


def requirements(root=ROOT):
    """Every requirement of the package and of its tests, `{name: specifier}`."""
    lines = (root / "requirements.txt").read_text().splitlines()
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("hub", "tune", EXTRAS):
        lines += extras[name]
    found = (re.match(r"([A-Za-z0-9-]+)\s*([<>=~!][^#]*)", line.strip()) for line in lines)
    return {match[1]: match[2].strip() for match in found if match}


def lowest(specifier):
    """The specifier of the lowest versions that one allows: any patch of them, as Python's wheels come late."""
    (low,) = (part[2:] for part in specifier.split(",") if part.startswith((">=", "==")))
    low = low if "." in low else f"{low}.0"
    return f"=={low}.*" if low.count(".") < 2 else f"=={low}"


def constraints(end):
    """Lines for `pip install --constraint`."""
    return [f"{name}{lowest(versions) if end == 'lowest' else versions}" for name, versions in requirements().items()]


def attempt(end, python, folder, processes, tests=()):
    """Install one end, and test it in so many processes, if any; returns the outcome, versions, and exit code.

    Args:
        end: One of `ENDS`.
        python: The interpreter.
        folder: An empty folder.
        processes: How many test at a time; 0 installs and tests nothing.
        tests: Files or folders in `tests/`; all if there are none.
    """
    (folder / "constraints.txt").write_text("\n".join(constraints(end)) + "\n")
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    own = str(folder / "venv" / "bin" / "python")
    command = [own, "-m", "pip", "install", "--quiet", "--constraint", str(folder / "constraints.txt")]
    done = _run([*command, *([] if processes else ["--dry-run"]), f"{ROOT}[{EXTRAS}]"])
    if done.returncode:
        return "can't be installed: " + " ".join(done.stderr.split())[:300], "", 1
    if not processes:
        return "resolves", "", 0
    listed = _run([own, "-m", "pip", "list", "--format=freeze"]).stdout.split()
    versions = dict(line.split("==") for line in listed if "==" in line)
    known = ", ".join(f"{name} {versions[name]}" for name in requirements() if name in versions)
    last = ""
    command = [own, "-m", "pytest", "-q", "-n", str(processes), "--dist", "loadfile"]
    command += [f"tests/{name}" for name in tests]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tested:
        for line in tested.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
    return last, known, tested.returncode


def _run(command, **settings):
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


def main():
    """Try the ends that are asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ends", nargs="+", choices=ENDS, default=ENDS)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--processes", type=int, default=2, help="that test at a time")
    parser.add_argument("--resolve", action="store_const", dest="processes", const=0, help="install and test nothing")
    parser.add_argument("--tests", nargs="+", default=(), help="in tests/ (default: all)")
    options = parser.parse_args()
    print("| Versions | Outcome | Of what is required |", "| --- | --- | --- |", sep="\n")
    failures = 0
    for end in options.ends:
        with tempfile.TemporaryDirectory() as folder:
            outcome, versions, code = attempt(end, options.python, Path(folder), options.processes, options.tests)
        failures += code != 0
        print(f"| {end} | {outcome} | {versions} |", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
