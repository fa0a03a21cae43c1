"""What there is to run: the scripts of the checkout, one line each; or what has run.

python -m chestrobust                  the scripts
python -m chestrobust runs             the runs in runs/
python -m chestrobust runs FOLDER      those in another folder
"""

import argparse
import ast
import sys
from pathlib import Path

from chestrobust import __version__, commandline, startup
from chestrobust.reporting import listing

CHECKOUT = Path(__file__).resolve().parents[1]


def scripts(folder):
    """The first line of the docstring of each script in a folder, by file name; a script is a module with a `main`."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in module.body):
            found[path.name] = ast.get_docstring(module).partition("\n")[0]
    return found


def main(arguments=None):
    """Print the scripts, or where they are if this is an installed package, which leaves them out; or the runs."""
    parser = commandline.OneLineParser(prog="python -m chestrobust", description=__doc__)
    parser.add_argument("--version", action="version", version=f"chestrobust {__version__}")
    parser.add_argument("what", nargs="?", choices=("runs",), help="list runs instead of scripts")
    parser.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where they are (default: runs)")
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    read = parser.parse_args(arguments)
    if read.what:
        print(listing.table(read.folder))
        return
    found = scripts(CHECKOUT) if (CHECKOUT / "pyproject.toml").is_file() else {}
    for name, line in found.items():
        print(f"python {name:<18}{line}")
    if found:
        print("\nEach has --help. python -m chestrobust runs lists what has run.")
    else:
        print("The scripts are in the project's checkout. In Python: from chestrobust import attacks, data, models")


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
