"""Files: whole or not there, after a kill at any moment, on a full disk, and with a broken input."""

import errno
import gzip
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jielong.base import files
from jielong.base.errors import UserError, WorkFailed


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_atomic_write_and_links(tmp_path: Path) -> None:
    place = tmp_path / "new" / "a.txt"
    files.atomic_write(place, "接龍\r\n")
    assert place.read_bytes() == "接龍\r\n".encode()
    link = tmp_path / "link"
    link.symlink_to(place)
    files.atomic_write(link, b"2")
    assert link.is_symlink() and place.read_bytes() == b"2"
    assert names(place.parent) == ["a.txt"]
    assert place.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "a"
    files.atomic_write(place, "old")

    def fail(error: type[BaseException]) -> None:
        with files.atomic_file(place) as temporary:
            temporary.write_text("half")
            raise error("of the caller's own")

    for error in (KeyboardInterrupt, KeyError, FileNotFoundError):
        with pytest.raises(error):
            fail(error)
        assert place.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_device_is_written_directly(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"  # never a real device: code that is wrong here would replace it
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.atomic_write(pipe, "x")
    assert os.read(reader, 9) == b"x" and pipe.is_fifo() and names(tmp_path) == ["pipe"]
    os.close(reader)


@pytest.mark.parametrize("make", [files.atomic_write, files.write_json])
def test_places_that_cannot_be_written(tmp_path: Path, make) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(UserError) as caught:
            make(place, "x")
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


KILLED = """
import os, sys, signal
from jielong.base import files
place, moment = sys.argv[1:]
real = {"replace": os.replace, "fsync": os.fsync}
def die(*a, **k): os.kill(os.getpid(), signal.SIGKILL)
def after(*a, **k): real["replace"](*a, **k); die()
if moment == "sync": os.fsync = die
if moment == "replace": os.replace = die
if moment == "after": os.replace = after
with files.atomic_file(place) as t:
    t.write_text("ne")
    if moment == "body": die()
    t.write_text("new")
"""


@pytest.mark.parametrize("moment", ["body", "sync", "replace", "after"])
def test_kill_9_at_any_moment(tmp_path: Path, moment: str) -> None:
    place = tmp_path / "a[1].txt"
    files.atomic_write(place, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(place), moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert place.read_text() == ("new" if moment == "after" else "old")
    for old in tmp_path.glob(".*.tmp"):
        os.utime(old, (0, 0))
    files.atomic_write(place, "newer")  # the next writer sweeps up what the dead one left
    assert names(tmp_path) == ["a[1].txt"] and place.read_text() == "newer"


def test_a_living_writers_temporary_is_not_swept(tmp_path: Path) -> None:
    with files.atomic_file(tmp_path / "a") as mine:
        os.utime(mine, (0, 0))
        files.atomic_write(tmp_path / "a", "another writer")
        assert mine.exists()
        mine.write_text("mine")
    assert (tmp_path / "a").read_text() == "mine" and names(tmp_path) == ["a"]


def test_a_young_unlocked_temporary_is_left_alone_and_a_folder_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.young.tmp").touch()
    (tmp_path / ".a.old.tmp").mkdir()
    os.utime(tmp_path / ".a.old.tmp", (0, 0))
    files.atomic_write(tmp_path / "a", "")
    assert names(tmp_path) == [".a.young.tmp", "a"]


def test_atomic_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, rename = tmp_path / "checkpoint", os.rename
    with files.atomic_dir(place) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a").write_text("1")
        assert not place.exists()
    with pytest.raises(UserError, match="exists"), files.atomic_dir(place):
        pass
    with pytest.raises(ZeroDivisionError), files.atomic_dir(place, overwrite=True) as folder:
        (folder / "b").write_text(str(1 / 0))
    assert (place / "deep" / "a").read_text() == "1"
    for exchange in (True, False):  # in one step, and where the system has no such step
        if sys.platform == "linux":
            monkeypatch.setattr(os, "rename", None if exchange else rename)
        if not exchange:
            monkeypatch.setattr("ctypes.CDLL", lambda *a, **k: object())
        with files.atomic_dir(place, overwrite=True) as folder:
            (folder / "c").write_text(str(exchange))
        assert names(place) == ["c"] and (place / "c").read_text() == str(exchange)
        assert names(tmp_path) == ["checkpoint"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a"
    files.atomic_write(place, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(WorkFailed, match="disk is full") as caught:
            files.atomic_write(place, "new")
    assert "\n" not in str(caught.value)
    messages = ["131072 requested and 0 written", "No space left on device (os error 28)"]
    for error in (OSError(messages[0]), RuntimeError(messages[1])):  # numpy's and safetensors' words
        with pytest.raises(WorkFailed), files.atomic_file(place):
            raise error
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkFailed), files.atomic_dir(tmp_path / "d") as folder:
            (folder / "x").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        with pytest.raises(WorkFailed, match="disk failed"):
            files.atomic_write(place, "new")
    assert place.read_text() == "old" and names(tmp_path) == ["a"]


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_real_limit_in_the_middle_of_real_writes(tmp_path: Path) -> None:
    code = """
import sys, numpy as np
from pathlib import Path
from jielong.base import files
from jielong.base.errors import WorkFailed
root = Path(sys.argv[1])
files.atomic_write(root / "a", "old")
def save(path):
    with files.atomic_file(path) as t, open(t, "wb") as f:
        np.save(f, np.zeros(10_000))
def lines(path):
    for i in range(10_000):
        files.append_jsonl(path, {"step": i, "pad": "x" * 30})
for work in (lambda: files.atomic_write(root / "a", "x" * 10_000), lambda: save(root / "a"),
             lambda: lines(root / "l.jsonl")):
    try:
        work()
    except WorkFailed as error:
        print(str(error).count(chr(10)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=_small_files,
    )
    assert done.stdout.split() == ["0", "0", "0"]
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a", "l.jsonl"]
    steps = [r["step"] for r in files.read_jsonl(tmp_path / "l.jsonl")]  # the torn line was taken back
    assert steps == list(range(len(steps))) and len(steps) > 50


def test_json(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": [1, 2.5, float("inf")], "鍵": None})
    assert files.read_json(tmp_path / "a.json") == {"x": [1, 2.5, float("inf")], "鍵": None}
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_json(tmp_path / "bom.json") == [1]
    for bad in (b"", b'{"a": 1', b"\xff\xfe\x00", b"[" * 99_999, b"9" * 9999):
        (tmp_path / "bad.json").write_bytes(bad)
        with pytest.raises(UserError, match=r"bad\.json") as caught:
            files.read_json(tmp_path / "bad.json")
        assert "\n" not in str(caught.value)
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            files.read_json(missing)


@pytest.mark.parametrize("bad", [b'{"a": 1', b"nothing", b"\xff\xfe", b"[1]", b"3", b"\x00\x01"])
def test_a_broken_line_is_named(tmp_path: Path, bad: bytes) -> None:
    place = tmp_path / "a.jsonl"
    place.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n' + bad + b'\n{"a": 2}\n')
    for tolerate in (True, False):  # only a torn last line is ever tolerated
        reading = files.read_jsonl(place, tolerate_tail=tolerate)
        assert next(reading) == {"a": 1}
        with pytest.raises(UserError, match="line 3"):
            next(reading)


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_torn_tail_is_tolerated_and_never_grows_into_a_broken_line(tmp_path: Path, cut: int) -> None:
    place = tmp_path / "m.jsonl"
    for step in range(3):
        files.append_jsonl(place, {"step": step}, sync=True)
    whole = place.read_bytes()
    os.truncate(place, len(whole) - cut)
    kept = [{"step": 0}, {"step": 1}] + ([{"step": 2}] if cut == 1 else [])  # only the line end is missing
    assert list(files.read_jsonl(place, tolerate_tail=True)) == kept
    if 1 < cut < len(whole) / 3:
        with pytest.raises(UserError, match="line 3"):
            list(files.read_jsonl(place))
    files.append_jsonl(place, {"step": 9})
    assert list(files.read_jsonl(place)) == [*kept, {"step": 9}]


def test_a_long_torn_tail_is_found(tmp_path: Path) -> None:
    place = tmp_path / "m.jsonl"
    place.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 200_000)
    files.append_jsonl(place, {"c": 1})
    assert list(files.read_jsonl(place)) == [{"a": 1}, {"c": 1}]


def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    place = tmp_path / "m.jsonl"
    code = (
        "import sys; from jielong.base.files import append_jsonl\n"
        "for i in range(300):\n"
        " append_jsonl(sys.argv[1], {'w': sys.argv[2], 'i': i, 'pad': 'x' * (i * 7 % 500)})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(place), w]) for w in "ab"]
    assert [w.wait() for w in writers] == [0, 0]
    rows = list(files.read_jsonl(place))
    assert all([r["i"] for r in rows if r["w"] == w] == list(range(300)) for w in "ab")


def test_compressed_lines_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"a": 1}\n{"a": 2}\n' * 50)
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    assert sum(r["a"] for r in files.read_jsonl(tmp_path / "a.jsonl.gz")) == 150
    for bad in (packed[:-9], b"text", packed[:12] + b"\x00\xff" * 9):
        (tmp_path / "b.gz").write_bytes(bad)
        with pytest.raises(UserError, match="cannot read"):
            list(files.read_jsonl(tmp_path / "b.gz"))
    with pytest.raises(UserError, match="cannot read"):
        list(files.read_jsonl(tmp_path / "none"))
    with pytest.raises(UserError, match="cannot write"):
        files.append_jsonl(tmp_path, {})


def test_a_run_is_never_overwritten_unasked(tmp_path: Path) -> None:
    run = files.run_dir(tmp_path / "runs", "demo")
    assert run == tmp_path / "runs" / "demo" and run.is_dir()
    (run / "metrics.jsonl").touch()
    with pytest.raises(UserError, match="--overwrite"):
        files.run_dir(tmp_path / "runs", "demo")
    assert names(files.run_dir(tmp_path / "runs", "demo", overwrite=True)) == [files.RUN_MARK]
    assert names(tmp_path / "runs") == ["demo"]


def test_overwrite_removes_only_what_a_run_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").touch()
    with pytest.raises(UserError, match="not made by a run"):
        files.run_dir(tmp_path, "home", overwrite=True)
    assert names(home) == ["thesis.tex"]
    (tmp_path / "file").touch()
    for overwrite in (True, False):
        with pytest.raises(UserError, match="exists"):
            files.run_dir(tmp_path, "file", overwrite)
    (tmp_path / "empty").mkdir()
    assert files.run_dir(tmp_path, "empty").is_dir()
    for name in ("", ".", "..", "a/b", "/"):
        with pytest.raises(UserError, match="not a name"):
            files.run_dir(tmp_path, name)  # without overwrite: wrong code must not remove what is above


def test_digest(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, "abc"
    (tmp_path / "a").write_bytes(b"abc")
    assert files.digest(tmp_path / "a") == files.digest(b"abc") == known
    with pytest.raises(UserError, match="cannot read"):
        files.digest(tmp_path / "none")


def test_a_line_costs_little(tmp_path: Path) -> None:
    began = time.perf_counter()
    for step in range(500):
        files.append_jsonl(tmp_path / "m.jsonl", {"step": step, "loss": float(np.float32(step))})
    assert time.perf_counter() - began < 2.0
