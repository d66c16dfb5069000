"""Sandboxes: what works in them, what they stop, and that the ways out are ways out where there is no sandbox."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from jielong.agents.sandbox import confined, docker, seccomp
from jielong.agents.sandbox.choose import FULL, SANDBOXES, Probe, choose, named, probe
from jielong.agents.sandbox.escapes.control import Plain
from jielong.agents.sandbox.escapes.escape import Escape
from jielong.agents.sandbox.escapes.ground import Ground, attempt, ground
from jielong.agents.sandbox.escapes.table import ESCAPES
from jielong.agents.sandbox.ran import Limits, Sandbox, check
from jielong.base.errors import UserError

LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="the ways out are those of Linux")
PATIENT = Limits(seconds=30.0, memory=128 << 20, output=2000, disk=1 << 20)
# One of each kind stands for all in the fast tests; all of them are slow.
QUICK = ("subclasses", "ctypes-libc", "proc-environ", "inherited-handle", "link-for-the-host", "fork", "kill",
         "limit-others", "tcp", "abstract", "one-block", "raised-limit", "hole", "flood", "sleep")  # fmt: skip


@lru_cache(maxsize=8)
def works(name: str) -> str:
    """Why a sandbox does not work here; "" where it does."""
    return probe(name).why


@pytest.fixture(scope="module", params=SANDBOXES)
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    if works(request.param):
        pytest.skip(f"{request.param}: {works(request.param)}")
    with named(request.param) as found:
        yield found


@pytest.fixture(scope="module")
def on() -> Iterator[Ground]:
    with ground() as made:
        yield made


def by_name(name: str) -> Escape:
    return next(each for each in ESCAPES if each.name == name)


def test_the_table_is_whole() -> None:
    assert len(ESCAPES) >= 60
    assert len({each.name for each in ESCAPES}) == len(ESCAPES)
    assert {"walk", "file", "process", "network", "memory", "disk", "output", "time"} == {e.kind for e in ESCAPES}
    assert all(compile(e.code.replace("@", ""), e.name, "exec") for e in ESCAPES)


@LINUX
@pytest.mark.parametrize("name", QUICK)
def test_stopped(box: Sandbox, on: Ground, name: str) -> None:
    verdict = attempt(box, by_name(name), on)
    assert verdict.stopped, verdict.how


@LINUX
@pytest.mark.parametrize("name", QUICK)
def test_plain_exec_is_escaped_from(on: Ground, name: str) -> None:
    assert not attempt(Plain(), by_name(name), on).stopped


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("escape", [e for e in ESCAPES if e.name not in QUICK], ids=lambda e: e.name)
def test_all_are_stopped(box: Sandbox, on: Ground, escape: Escape) -> None:
    verdict = attempt(box, escape, on)
    assert verdict.stopped, verdict.how


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("escape", [e for e in ESCAPES if e.name not in QUICK], ids=lambda e: e.name)
def test_plain_exec_is_escaped_from_by_all(on: Ground, escape: Escape) -> None:
    assert not attempt(Plain(), escape, on).stopped


@pytest.mark.parametrize("code, out", [
    ("6 * 7", "42\n"),
    ("print('a')\nNone", "a\n"),
    ("def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nprint(f(15))", "610\n"),
    ("import math, json\nprint(json.dumps({'r': math.sqrt(16)}))", '{"r": 4.0}\n'),
    ("'台北 é'", "'台北 é'\n"),
    ("x = [i * i for i in range(5)]\nsum(x)", "30\n"),
    ("", ""),
])  # fmt: skip
def test_honest_programs_run(box: Sandbox, code: str, out: str) -> None:
    ran = box.run(code, PATIENT)
    assert (ran.end, ran.out, ran.files) == ("done", out, {}), ran.err


def test_files_go_in_and_come_out(box: Sandbox) -> None:
    code = "text = open('in.txt').read()\nwith open('out.txt', 'w') as f:\n    f.write(text.upper())\nNone"
    ran = box.run(code, PATIENT, {"in.txt": b"hello", "same.txt": b"as it was"})
    assert ran.ok and ran.files == {"out.txt": b"HELLO"}


@pytest.mark.parametrize("code, end, word", [
    ("1 / 0", "error", "ZeroDivisionError"),
    ("x = (", "error", ""),
    ("raise ValueError('why')", "error", "why"),
    ("print('x' * 5000)", "output", ""),
    ("x = 'ab' * (300 << 20)", "memory", ""),
    ("with open('x', 'wb') as f:\n    for _ in range(40):\n        f.write(b'x' * 100_000)", "disk", ""),
])  # fmt: skip
def test_every_end_has_its_name(box: Sandbox, code: str, end: str, word: str) -> None:
    ran = box.run(code, PATIENT)
    assert ran.end == end and word in ran.err and len(ran.out) <= PATIENT.output and not ran.ok


def test_time_is_up(box: Sandbox) -> None:
    ran = box.run("while True:\n    pass", Limits(seconds=1.0))
    assert ran.end == "time" and 0.9 < ran.seconds < 10


def test_programs_know_nothing_of_one_another(box: Sandbox) -> None:
    assert box.run("x = 1\nwith open('left', 'w') as f:\n    f.write('x')\nNone", PATIENT).ok
    assert "NameError" in box.run("print(x)", PATIENT).err
    assert not box.run("open('left').read()", PATIENT).ok


def test_traces_do_not_show_what_runs_the_program() -> None:
    if works("sandlock") and works("bubblewrap"):
        pytest.skip("no full sandbox works here")
    with choose(full=True) as full:
        lines = full.run("def f():\n    1 / 0\nf()", PATIENT).err.splitlines()
    assert [line.strip() for line in lines if "File" in line] == [
        'File "main.py", line 3, in <module>', 'File "main.py", line 2, in f']  # fmt: skip


def test_what_is_asked_wrongly_is_said() -> None:
    for wrong in ({"seconds": 0}, {"memory": 1}, {"output": 0}, {"open": 1}):
        with pytest.raises(UserError):
            Limits(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="there is no sandbox 'moon'"):
        named("moon")
    for name in ("", "..", "a/b", "a\0b"):
        with pytest.raises(UserError, match="no plain file name"):
            check("", {name: b""})
    with pytest.raises(UserError, match="at most"):
        check("x" * (2 << 20), {})


def test_without_a_sandbox_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jielong.agents.sandbox.choose.probe", lambda name: Probe(name, False, "no"))
    with pytest.raises(UserError, match="so nothing is run: sandlock: no; bubblewrap: no; docker: no"):
        choose(full=True)
    with pytest.raises(UserError, match="monty: no"):
        choose()


def test_a_sandbox_that_holds_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jielong.agents.sandbox.choose.SANDBOXES", {"exec": Plain})
    found = probe("exec")
    assert not found.works  # it can fork, whatever else


def test_gathering_trusts_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (work / "plain").write_bytes(b"plain")
    (work / "linked").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret", work / "hard")
    os.mkfifo(work / "pipe")
    (work / "folder").mkdir()
    (work / "large").write_bytes(b"x" * 101)
    (work / "old").write_bytes(b"old")
    os.close(os.open(os.fsencode(work) + b"/\xff", os.O_CREAT | os.O_WRONLY))
    assert confined.gather(work, 100, {"old": b"old"}) == {"plain": b"plain"}


def test_the_filter_denies_what_it_says() -> None:
    rows = [struct.unpack("<HBBI", seccomp.program("x86_64")[i : i + 8]) for i in range(0, 8 * 200, 8)
            if i < len(seccomp.program("x86_64"))]  # fmt: skip

    def decide(number: int, flags: int = 0, arch: int = 0xC000003E) -> int:
        """The filter run by hand (struct seccomp_data: number at 0, architecture at 4, first argument at 16)."""
        at, value = 0, 0
        while True:
            what, yes, no, k = rows[at]
            if what == seccomp.LOAD:
                value, at = {0: number, 4: arch, 16: flags}[k], at + 1
            elif what == seccomp.RETURN:
                return k
            else:
                met = {seccomp.EQUAL: value == k, seccomp.ABOVE: value >= k, seccomp.BITS: bool(value & k)}[what]
                at += 1 + (yes if met else no)

    denied, allowed = seccomp.ERRNO | 1, seccomp.ALLOW
    assert {decide(number) for number in seccomp.X86.values()} == {denied}
    assert decide(0) == decide(1) == decide(9) == allowed  # read, write, mmap
    assert decide(56) == denied and decide(56, seccomp.CLONE_THREAD) == allowed  # a process, a thread
    assert decide(435) == seccomp.ERRNO | 38
    assert decide(0, arch=0x40000003) == decide(0x40000000) == seccomp.KILL  # 32 bits, x32
    assert len(seccomp.program("aarch64")) % 8 == 0
    with pytest.raises(UserError, match="no list of system calls for sparc"):
        seccomp.program("sparc")


def test_docker_is_asked_for_nothing_but_the_folder(tmp_path: Path) -> None:
    said = docker.arguments("docker", "python:3.12-slim", "n", tmp_path, PATIENT)
    for pair in (("--network", "none"), ("--cap-drop", "ALL"), ("--pull", "never"), ("--ipc", "none"),
                 ("--user", "65534:65534"), ("--security-opt", "no-new-privileges")):  # fmt: skip
        assert said[said.index(pair[0]) + 1] == pair[1]
    assert "--read-only" in said and said.count("--volume") == 1 and f"{tmp_path}:/work" in said


@LINUX
def test_nothing_is_left_behind(box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    box.run("with open('x', 'w') as f:\n    f.write('x')", PATIENT)
    box.run("while True:\n    pass", Limits(seconds=0.5))
    assert list(tmp_path.iterdir()) == []
    if shutil.which("pgrep"):
        found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
        assert not found.stdout.split()


def test_full_ones_are_full() -> None:
    assert [SANDBOXES[name]().full for name in ("monty", *FULL)] == [False, True, True, True]
