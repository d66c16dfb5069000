"""Read inside a sandbox, in a Python of its own: bind the limits to this process, then run what comes in.

This file is never imported; `confined.command` gives its text to `python -c`. That a program is run here with `exec`
is safe because nothing of value is in this process, and nothing beyond its folder is within its reach.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing itself would take a third of the time to start
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    bounds = [int(each) for each in sys.argv[1:]]  # resource, most, resource, most, ...
    if bounds:
        import resource

        for what, most in zip(bounds[::2], bounds[1::2]):
            resource.setrlimit(what, (most, most))
    tree: Any = compile(sys.stdin.buffer.read(), "main.py", "exec", 0x400)  # ast.PyCF_ONLY_AST
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    last = tree.body.pop() if tree.body and type(tree.body[-1]).__name__ == "Expr" else None
    exec(compile(tree, "main.py", "exec"), space)  # noqa: S102  (see above)
    if last is not None:
        import _ast

        value = eval(compile(_ast.Expression(last.value), "main.py", "eval"), space)  # noqa: S307  (see above)
        if value is not None:
            print(repr(value))


if __name__ == "__main__":
    sys.argv[0] = "main.py"
    try:
        main()
    except Exception as error:
        if isinstance(error, MemoryError):
            sys.exit(77)  # confined.MEMORY: there may be no room left to print a trace
        if isinstance(error, OSError) and error.errno == 27:  # EFBIG
            sys.exit(78)  # confined.DISK
        trace = error.__traceback__.tb_next if error.__traceback__ else None  # without this file's own places
        sys.excepthook(type(error), error.with_traceback(trace.tb_next if trace else None), None)
        sys.exit(1)
