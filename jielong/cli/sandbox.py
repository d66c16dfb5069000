"""``jielong sandbox``: run a program where it can do no harm, and see what this machine offers for that."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jielong.cli.common import Common

if TYPE_CHECKING:
    from jielong.agents.sandbox.ran import Ran, Sandbox
    from jielong.base.talk import Talk


def run(
    file: str,
    *,
    full: Annotated[bool, Parameter(negative=())] = False,
    sandbox: str = "",
    seconds: float = 5.0,
    memory: int = 256,
    out: Path | None = None,
    common: Common = Common(),
) -> None:
    """Run a Python program in a sandbox: without network, and without files but those that it makes.

    Parameters
    ----------
    file
        The program, or "-" for standard input.
    full
        All of CPython; else pydantic-monty, a part of Python, where it is installed.
    sandbox
        Which one: monty, sandlock, bubblewrap or docker (default: the best that works here).
    seconds
        The most time.
    memory
        The most memory, in MiB.
    out
        A new folder for the files that the program leaves.
    """
    from jielong.agents.sandbox.choose import choose, named
    from jielong.agents.sandbox.ran import Limits
    from jielong.base.errors import UserError, WorkFailed

    talk = common.talk()
    code = _read(file)
    limits = Limits(seconds=seconds, memory=memory << 20)
    if out is not None and out.exists():
        raise UserError(f"{out} is there already: name a new folder for the files")
    with named(sandbox) if sandbox else choose(full) as box:
        ran = box.run(code, limits)
        name = box.name
    if out is not None:
        _save(ran, out)
    talk.detail(f"{name}: {ran.end} in {ran.seconds * 1000:.0f} ms")
    if ran.err:
        talk.say(ran.err.rstrip("\n"))
    talk.answer(ran.out.removesuffix("\n"))
    left = {file: len(content) for file, content in ran.files.items()}
    talk.document({"sandbox": name, "end": ran.end, "seconds": ran.seconds, "out": ran.out, "err": ran.err,
                   "files": left})  # fmt: skip
    if not ran.ok:
        raise WorkFailed(f"the program did not come to its end: {ran.end}")


def check(
    *,
    sandbox: str = "",
    control: Annotated[bool, Parameter(negative=())] = False,
    common: Common = Common(),
) -> None:
    """Say which sandboxes work here, and try every known way out of them.

    Parameters
    ----------
    sandbox
        Only this one: monty, sandlock, bubblewrap or docker.
    control
        Also try the ways out on plain exec, from which each must get out: else it shows nothing.
    """
    from jielong.agents.sandbox.choose import SANDBOXES, named, probe
    from jielong.agents.sandbox.escapes.control import Plain
    from jielong.base.errors import UserError, WorkFailed

    talk = common.talk()
    probes = [probe(each) for each in ([sandbox] if sandbox else SANDBOXES)]
    found = {each.name: each for each in probes}
    boxes: list[Sandbox] = [named(each.name) for each in probes if each.works]
    tried = {box.name: _try(talk, box) for box in [*boxes, *([Plain()] if control else [])]}
    rows = [[p.name, "works" if p.works else p.why, f"{p.seconds * 1000:.0f} ms" if p.works else "",
             f"{sum(stopped for _, stopped, _ in tried[p.name])} of {len(tried[p.name])}" if p.works else ""]
            for p in found.values()]  # fmt: skip
    if control:
        rows.append(["exec", "no sandbox", "", f"{sum(s for _, s, _ in tried['exec'])} of {len(tried['exec'])}"])
    talk.table(["sandbox", "", "one run", "escapes stopped"], rows)
    talk.document({"sandboxes": probes, "escapes": tried})
    if not boxes:
        raise UserError("no sandbox works on this machine: pip install 'jielong[agents]', or the package bubblewrap")
    out = [f"{name}: {escape}" for name, each in tried.items() for escape, stopped, _ in each
           if not stopped and name != "exec"]  # fmt: skip
    if out:
        raise WorkFailed(f"not stopped: {', '.join(out)}")
    talk.next_command("jielong sandbox run program.py --full")


def _try(talk: Talk, box: Sandbox) -> list[tuple[str, bool, str]]:
    from jielong.agents.sandbox.escapes.ground import attempts
    from jielong.agents.sandbox.escapes.table import ESCAPES

    found = []
    with box, talk.progress(len(ESCAPES), box.name, "escapes") as bar:
        for verdict in attempts(box, ESCAPES):
            found.append((f"{verdict.escape.kind} {verdict.escape.name}", verdict.stopped, verdict.how))
            bar.update(len(found))
    return found


def _read(file: str) -> str:
    from jielong.base.errors import UserError

    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}): is it a Python program?") from error


def _save(ran: Ran, out: Path) -> None:
    from jielong.base.files import atomic_dir

    with atomic_dir(out) as folder:
        for name, content in ran.files.items():
            (folder / name).write_bytes(content)
