"""What there is to run: the scripts of the checkout, one line each."""

import ast
from pathlib import Path

from chestrobust import __version__, commandline

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
    """Print them, or where they are if this is an installed package, which leaves them out."""
    parser = commandline.OneLineParser(prog="python -m chestrobust", description=__doc__)
    parser.add_argument("--version", action="version", version=f"chestrobust {__version__}")
    parser.parse_args(arguments)
    found = scripts(CHECKOUT) if (CHECKOUT / "pyproject.toml").is_file() else {}
    for name, line in found.items():
        print(f"python {name:<18}{line}")
    if found:
        print("\nEach has --help.")
    else:
        print("The scripts are in the project's checkout. In Python: from chestrobust import attacks, data, models")


if __name__ == "__main__":
    main()
