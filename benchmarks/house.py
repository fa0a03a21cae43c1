"""The house in numbers: who imports whom, and what has grown too large.

    python benchmarks/house.py             this checkout
    python benchmarks/house.py FOLDER      another one, also one without the package
    python benchmarks/house.py --arrows    every import, as one floor to another

The floors above the table are counted from the imports: a module without imports of ours is on floor 0, another one
floor above the highest that it imports. The plan is `FLOORS`, which `tests/test_house.py` holds against the imports.
"""

import argparse
import ast
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APART = {"tests", "benchmarks"}  # no part of the house
PACKAGE = "chestrobust"
DOORS = ("attacks", "data", "models")
SCRIPTS = ("diagnosis", "diagnosis_adv", "ensemble", "evaluate", "explain", "report", "tune")
# From the ground up: a module or a wing imports from floors below its own, and from its own without a circle.
FLOORS = (
    ("catalogue", "errors", "interruption", "losses", "titles"),
    ("commandline", "devices", "files", "locks", "tasks", "workers"),
    ("config", "startup"),
    ("data",),
    ("reporting", "runs"),
    ("models",),
    ("attacks",),
    ("evaluation",),
    ("explaining", "training"),
)
LONG_FUNCTION, MANY_ARGUMENTS, LONG_MODULE = 60, 8, 350
CONFIGURATION = {"options", "config"}


@dataclass
class Module:
    """One file of the house.

    Attributes:
        name: As it is imported: `"chestrobust.data.splits"`.
        path: The file.
        imports: Lines of its imports by the name of the module of ours that they import; those in functions apart.
        inside: The same for imports inside functions.
    """

    name: str
    path: Path
    imports: dict = field(default_factory=dict)
    inside: dict = field(default_factory=dict)

    @cached_property
    def text(self):
        return self.path.read_text()

    @cached_property
    def tree(self):
        return ast.parse(self.text)

    @property
    def lines(self):
        return self.text.count("\n")

    @property
    def functions(self):
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]

    @property
    def is_package(self):
        return self.path.name == "__init__.py"


def read(root):
    """The `Module`s of a checkout, by name, with their imports of each other."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] in APART or any(part.startswith(".") for part in parts) or "site-packages" in parts:
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path)
    for module in modules.values():
        nested = {
            id(node)
            for function in module.functions
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        for node in ast.walk(module.tree):
            into = module.inside if id(node) in nested else module.imports
            for target in _targets(node, module, modules):
                into.setdefault(target, node.lineno)
    return modules


def _targets(node, module, modules):
    """Names of the modules of ours that an import statement needs."""
    if isinstance(node, ast.Import):
        wanted = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
        above = package[: len(package) - node.level + 1] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        # `from package import name`: the module of that name if there is one, else the package itself.
        wanted = [name if (name := f"{base}.{alias.name}") in modules else base for alias in node.names]
    else:
        return set()
    return {name for name in wanted if name in modules and name != module.name}


def circles(modules):
    """Groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    order, low, stack, found = {}, {}, [], []

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in modules[name].imports:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in modules:
        if name not in order:
            visit(name)
    return found


def floors(modules):
    """The floor of each module; those of a circle are on one floor."""
    together = {name: group for group in map(tuple, circles(modules)) for name in group}
    counted = {}

    def floor(name):
        if name not in counted:
            group = together.get(name, (name,))
            below = {target for member in group for target in modules[member].imports} - set(group)
            counted.update(dict.fromkeys(group, 1 + max(map(floor, below), default=-1)))
        return counted[name]

    for name in modules:
        floor(name)
    return counted


def arguments(function):
    """Number of a function's arguments without `self`, `cls` and keyword-only ones that have a default.

    Those may be left out by name, so nobody has to know them to read a call; everything else has to be known.
    """
    positional = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    count = len(positional) - (positional[:1] in (["self"], ["cls"]))
    return count + sum(default is None for default in function.args.kw_defaults)


def wing(name):
    """The wing of a module, or the module itself if it stands alone; doors and scripts are theirs."""
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[0]


def planned(name):
    """The floor that the plan gives a module; None if it has none."""
    if name == PACKAGE:
        return -1
    if name in DOORS:
        return len(FLOORS)
    if name in SCRIPTS or name == f"{PACKAGE}.__main__":
        return len(FLOORS) + 1
    known = enumerate(FLOORS if name.startswith(f"{PACKAGE}.") else ())
    return next((floor for floor, wings in known if wing(name) in wings), None)


def upward(modules):
    """Imports of a module from a higher floor, as pairs of names."""
    everything = ((one.name, target) for one in modules.values() for target in (*one.imports, *one.inside))
    return sorted(
        (name, target)
        for name, target in everything
        if None not in (planned(name), planned(target)) and planned(target) > planned(name)
    )


def wings(modules):
    """The wings as `Module`s that import each other, so that `circles` finds those between wings."""
    merged = {}
    for one in modules.values():
        into = merged.setdefault(wing(one.name), Module(wing(one.name), one.path))
        into.imports.update({wing(target): line for target, line in one.imports.items() if wing(target) != into.name})
    return merged


def takes_configuration(module):
    """Whether a function of a module is handed the whole configuration."""
    return any(
        argument.arg in CONFIGURATION
        for function in module.functions
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    )


@dataclass
class Measured:
    """What there is to say about a house: counts, and what is behind each."""

    modules: dict

    def __post_init__(self):
        everything = self.modules.values()
        self.floors = floors(self.modules)
        self.arrows = sorted((one.name, target) for one in everything for target in one.imports)
        self.upward = [" -> ".join(pair) for pair in upward(self.modules)]
        self.circles = circles(self.modules) + circles(wings(self.modules))
        self.inside = sorted({f"{one.name}:{line}" for one in everything for line in one.inside.values()})
        functions = [(one, function) for one in everything for function in one.functions]
        self.long = [
            f"{one.name}.{function.name} {length}"
            for one, function in functions
            if (length := function.end_lineno - function.lineno + 1) > LONG_FUNCTION
        ]
        self.many = [
            f"{one.name}.{function.name} {count}"
            for one, function in functions
            if (count := arguments(function)) > MANY_ARGUMENTS
        ]
        self.large = [f"{one.name} {one.lines}" for one in everything if one.lines > LONG_MODULE]
        # Whoever makes the configuration and whoever asks for it has to hold it whole.
        inner = [one for one in everything if one.name not in SCRIPTS and wing(one.name) != "config"]
        self.handed = [one.name for one in inner if takes_configuration(one)]
        self.top = sorted(one.name for one in everything if "." not in one.name and not one.is_package)

    def table(self):
        """Lines of count, what is counted, and the cases."""
        circles = [" - ".join(group) for group in self.circles]
        rows = [
            (len(self.modules), "modules", []),
            (len(self.top), "of them at the top level", self.top),
            (max(self.floors.values()) + 1, "floors, as counted from the imports", []),
            (len(self.arrows), "imports of each other", []),
            (len(self.upward), "of them upward", self.upward),
            (len(circles), "circles", circles),
            (len(self.inside), "imports of ours inside functions", self.inside),
            (len(self.long), f"functions over {LONG_FUNCTION} lines", self.long),
            (len(self.many), f"functions with more than {MANY_ARGUMENTS} arguments", self.many),
            (len(self.large), f"modules over {LONG_MODULE} lines", self.large),
            (
                len(self.handed),
                "modules below the scripts with a function that takes `options` or `config`",
                self.handed,
            ),
        ]
        return "\n".join(f"{count:4}  {what}{': ' if cases else ''}{', '.join(cases)}" for count, what, cases in rows)


def main(arguments=None):
    """Print the numbers, and the rooms of each floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT, help="root of a checkout (default: this one)")
    parser.add_argument("--arrows", action="store_true", help="print every import")
    options = parser.parse_args(arguments)
    house = Measured(read(options.folder))
    rooms = defaultdict(list)
    for name, floor in house.floors.items():
        rooms[floor].append(name.removeprefix(f"{PACKAGE}.") if "." in name else f"{name}.py")
    for floor in sorted(rooms, reverse=True):
        print(f"{floor:4}  {' '.join(sorted(rooms[floor]))}")
    print(house.table())
    if options.arrows:
        print(*(f"{name} -> {target}" for name, target in house.arrows), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
