"""Functions fit a screen, and folders fit a glance; CONTRIBUTING.md has a table of the exceptions and their reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("export", "loadtest", "server", "trainer")
MAX_LINES = 60
MAX_PARAMETERS = 8
MAX_MODULES = 16
NOT_COUNTED = ("__init__.py", "__main__.py")
HEADING = "### Exceptions to the limits of size"

Function = ast.FunctionDef | ast.AsyncFunctionDef
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """The functions of a file with their names; those of a class are named `Class.function`."""
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        prefix, parent = pending.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, Function):
                yield prefix + node.name, node
            pending.append((f"{prefix}{node.name}." if isinstance(node, Function | ast.ClassDef) else prefix, node))


def is_command(decorator: ast.expr) -> bool:
    """Tell whether `decorator` is `app.command(...)` of a command-line program."""
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(".command")


def registered_commands(tree: ast.Module) -> Iterator[str]:
    """The commands that a file imports and registers by `app.command()(function)`, as `file:function`."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_command(node.func))
    names = {argument.id for call in calls for argument in call.args if isinstance(argument, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("astec."):
            path = str(node.module).removeprefix("astec.").replace(".", "/") + ".py"
            yield from (f"{path}:{alias.name}" for alias in node.names if alias.name in names)


def excesses(function: Function) -> list[str]:
    """Name the limits that a function exceeds."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    count = sum(parameter.arg not in ("self", "cls") for parameter in parameters)
    too_long = [f"{lines} lines"] if lines > MAX_LINES else []
    return too_long + ([f"{count} parameters"] if count > MAX_PARAMETERS else [])


def too_large() -> dict[str, str]:
    """Everything over a limit: how large it is, by `file:function` or folder."""
    commands = {command for tree in FILES.values() for command in registered_commands(tree)}
    found = {}
    for path, tree in FILES.items():
        for name, function in functions(tree):
            is_kernel = any("jit" in ast.unparse(decorator) for decorator in function.decorator_list)
            is_entry = f"{path}:{name}" in commands or any(map(is_command, function.decorator_list))
            if not (is_kernel or is_entry) and (over := excesses(function)):
                found[f"{path}:{name}"] = " and ".join(over)
    modules = [Path(path) for path in FILES if Path(path).name not in NOT_COUNTED]
    for folder in {path.parent for path in modules}:
        count = sum(path.parent == folder for path in modules)
        if count > MAX_MODULES:
            found[f"{folder.as_posix()}/"] = f"{count} modules"
    return found


def exceptions() -> dict[str, str]:
    """The table of CONTRIBUTING.md: the reason for an exception, by `file:function` or folder."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition(f"{HEADING}\n")[2].partition("\n#")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))


def test_everything_larger_than_the_limits_is_in_the_table_of_exceptions() -> None:
    unlisted = {where: size for where, size in too_large().items() if where not in exceptions()}
    assert not unlisted, f"make these smaller, or give a reason under {HEADING!r} of CONTRIBUTING.md"


def test_the_table_of_exceptions_has_nothing_that_keeps_the_limits() -> None:
    stale = exceptions().keys() - too_large().keys()
    assert not stale, f"these keep the limits now: remove them under {HEADING!r} of CONTRIBUTING.md"


def test_every_exception_has_a_reason() -> None:
    assert all(len(reason.split()) > 4 for reason in exceptions().values())


def test_an_excess_is_noticed() -> None:
    source = "def f(a, b, c, d, e, f, g, h, *, i):\n" + "    pass\n" * MAX_LINES
    (function,) = (function for _, function in functions(ast.parse(source)))
    assert excesses(function) == [f"{MAX_LINES + 1} lines", "9 parameters"]
