"""Print what an extra of the project requires, a line each, for a layer of an image that does not hold the project.

`pip install .[serve]` would need the source, and fetch everything again whenever that changes.
"""

import re
import sys
import tomllib
from pathlib import Path


def requirements(extra: str, pyproject: Path) -> list[str]:
    """The project's own requirements and those of `extra`; an extra of its own among them is resolved.

    Raises:
        KeyError: there is no such extra.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    own_extras = re.compile(rf"{re.escape(project['name'])}\[([\w,-]+)\]")
    found = list(project["dependencies"])
    waiting = [extra]
    while waiting:
        for requirement in project["optional-dependencies"][waiting.pop()]:
            if match := own_extras.fullmatch(requirement):
                waiting.extend(match[1].split(","))
            else:
                found.append(requirement)
    return found


if __name__ == "__main__":
    print(*requirements(sys.argv[1], Path("pyproject.toml")), sep="\n")
