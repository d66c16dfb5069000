"""Many clients at once against an OpenAI-compatible server, a part of them hanging up in the middle.

    python scripts/serve_clients.py --model runs/demo --clients 200 --seconds 300
    python scripts/serve_clients.py --url http://127.0.0.1:8000 --name demo --pid 1234

Says, as one JSON document, what the clients met (answers, errors that are not their own, times) and the server's
memory over time. Exit code 1 when there was an error, an answer mixed up, or memory that grew. With --same, every
answer to the same prompt and seed must be the same text (`--mode exact`, or a server that promises it).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROMPTS = ["the cat", "a mat", "Karl Wren lives in", "玉山", "How much is 47 + 38?", "one two three", "x", "接龍"]
GROWTH, SLACK = 0.05, 16.0  # memory is flat when it grows by less than this share, or these megabytes
PATIENCE = 120.0  # seconds after which an answer counts as hanging


@dataclass
class Tally:
    """What was met."""

    answers: int = 0
    left: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    first: list[float] = field(default_factory=list)  # seconds to the first byte of the body
    whole: list[float] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)  # (second, megabytes)
    cpu: list[float] = field(default_factory=list)  # seconds of it that the server has had, each second
    lag: float = 0.0  # the longest that this process itself was kept waiting by the machine


def body_of(number: int, name: str, chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A request of one of several kinds; the same number gives the same one."""
    chance.seed(number)
    most = chance.choice([4, 16, 48])
    shared: dict[str, Any] = {"model": name, "max_tokens": most, "seed": number, "temperature": chance.choice([0, 0.8])}
    prompt = chance.choice(PROMPTS)
    kind = number % 4
    if kind == 0:
        return "/v1/completions", {**shared, "prompt": prompt, "stream": True}
    if kind == 1:
        return "/v1/completions", {**shared, "prompt": prompt, "logprobs": 2, "n": 2}
    chat = {**shared, "messages": [{"role": "user", "content": prompt}]}
    return "/v1/chat/completions", {**chat, "stream": kind == 2, "logprobs": kind == 2}


async def ask(host: str, port: int, path: str, body: dict[str, Any], leave: float) -> tuple[int, bytes, float]:
    """(status, body, seconds to its first byte); with `leave` the client hangs up after so many seconds: (0, ...)."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"{head}content-length: {len(data)}\r\nconnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        if leave:
            await asyncio.sleep(leave)
            return 0, b"", 0.0
        top = await reader.readuntil(b"\r\n\r\n")
        first = await reader.read(1)
        at = time.perf_counter() - began
        rest = await reader.read()
        found = first + rest
        if b"transfer-encoding: chunked" in top.lower():
            found = unchunked(found)
        return int(top.split()[1]), found, at
    finally:
        writer.transport.abort()


def unchunked(data: bytes) -> bytes:
    """A body that came in chunks. ValueError when it is not complete."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def text_of(body: dict[str, Any], data: bytes) -> str:
    """What was said, of all choices. ValueError and KeyError for what is no answer."""
    if not body.get("stream"):
        found = json.loads(data)
        return "|".join(c["text"] if "text" in c else c["message"]["content"] or "" for c in found["choices"])
    events = data.decode().strip().split("\n\n")
    if events[-1] != "data: [DONE]":
        raise ValueError("the stream has no end")
    read = [json.loads(e.removeprefix("data: ")) for e in events[:-1]]
    choices = [e["choices"][0] for e in read]
    return "".join(c["text"] if "text" in c else c["delta"].get("content") or "" for c in choices)


async def client(number: int, args: argparse.Namespace, tally: Tally, until: float) -> None:
    """One client: request after request until time is up."""
    where, chance, pick = urlsplit(args.url), random.Random(), random.Random(number)
    while time.monotonic() < until:
        which = pick.randrange(args.kinds)
        path, body = body_of(which, args.name, chance)
        leaves = pick.random() < args.leaving
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                status, data, first = await ask(where.hostname or "", where.port or 80, path, body,
                                                pick.uniform(0.001, 0.2) if leaves else 0.0)  # fmt: skip
            if leaves:
                tally.left += 1
                continue
            if status != 200:
                tally.errors[f"{status} {data[:200].decode(errors='replace')}"] += 1
                continue
            text = text_of(body, data)
        except Exception as error:
            tally.errors[f"{type(error).__name__}: {error}"[:200]] += 1
            await asyncio.sleep(0.1)
            continue
        tally.answers += 1
        tally.first.append(first)
        tally.whole.append(time.perf_counter() - began)
        if args.same and tally.texts.setdefault(str(which), text) != text:
            tally.mixed += 1


async def watch(pid: int, tally: Tally, until: float) -> None:
    """The server's memory, once a second."""
    began = time.monotonic()
    while pid and time.monotonic() < until:
        now = time.monotonic()
        tally.memory.append((now - began, megabytes(pid)))
        tally.cpu.append(cpu_seconds(pid))
        await asyncio.sleep(1)
        tally.lag = max(tally.lag, time.monotonic() - now - 1)


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    parts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


async def run(args: argparse.Namespace) -> Tally:
    """All clients for `args.seconds`."""
    tally = Tally()
    until = time.monotonic() + args.seconds
    await asyncio.gather(watch(args.pid, tally, until), *(client(i, args, tally, until) for i in range(args.clients)))
    return tally


def flat(memory: list[tuple[float, float]]) -> tuple[bool, float, float]:
    """Whether the last third of the time needed no more than the second; the two medians in megabytes."""
    values = [m for _, m in memory]
    third = len(values) // 3
    if third < 3:
        return True, 0.0, 0.0
    middle, last = (sorted(part)[third // 2] for part in (values[third : 2 * third], values[-third:]))
    return last - middle <= max(SLACK, GROWTH * middle), middle, last


def ends(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """Megabytes at the start and at the end: medians of five seconds each."""
    values = [m for _, m in memory] or [0.0]
    first, last = sorted(values[:5]), sorted(values[-5:])
    return first[len(first) // 2], last[len(last) // 2]


def report(args: argparse.Namespace, tally: Tally) -> dict[str, Any]:
    """The document."""
    fine, middle, last = flat(tally.memory)
    start, end = ends(tally.memory)

    def centiles(values: list[float]) -> dict[str, float]:
        ordered = sorted(values) or [0.0]
        return {f"p{p}": round(ordered[min(len(ordered) - 1, len(ordered) * p // 100)], 4) for p in (50, 90, 99)}

    return {
        "clients": args.clients, "seconds": args.seconds, "answers": tally.answers, "hung_up": tally.left,
        "errors": dict(tally.errors.most_common(10)), "mixed_up": tally.mixed,
        "first_byte_seconds": centiles(tally.first), "whole_seconds": centiles(tally.whole),
        "memory_flat": fine, "megabytes_second_third": round(middle, 1), "megabytes_last_third": round(last, 1),
        "megabytes_start": round(start, 1), "megabytes_end": round(end, 1),
        "server_cpu_seconds": round(tally.cpu[-1] - tally.cpu[0], 1) if tally.cpu else 0.0,
        "longest_lag_of_the_clients": round(tally.lag, 2),
        "fine": fine and not tally.errors and not tally.mixed and tally.answers > 0,
    }  # fmt: skip


def started(args: argparse.Namespace, log: Path) -> subprocess.Popen[bytes]:
    """A server of our own, its words in `log`; its URL and process are put into `args`."""
    command = [sys.executable, "-m", "jielong", "serve", args.model, "--port", "0"]
    command += ["--name", args.name, "--mode", args.mode]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out)
    args.url, args.pid = wait(process, log), process.pid
    return process


def wait(process: subprocess.Popen[bytes], log: Path) -> str:
    """The URL of a server that has just been started, from its words in `log`. SystemExit where it does not start."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"http://[\w.:]+", log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0]
        time.sleep(0.1)
    process.kill()
    raise SystemExit(f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def tail(log: Path) -> list[str]:
    """The server's last lines after those of its beginning."""
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[3:][-20:]


def main() -> int:
    """The command."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--model", help="a checkpoint folder: a server is started for it")
    parse.add_argument("--mode", default="fast")
    parse.add_argument("--url", help="a server that is running")
    parse.add_argument("--name", default="model", help="what the server calls its model")
    parse.add_argument("--pid", type=int, default=0, help="the server's process, to watch its memory")
    parse.add_argument("--clients", type=int, default=200)
    parse.add_argument("--seconds", type=float, default=300.0)
    parse.add_argument("--leaving", type=float, default=1 / 3, help="share of requests whose client hangs up")
    parse.add_argument("--kinds", type=int, default=64, help="different requests")
    parse.add_argument("--same", action="store_true", help="the same request must have the same answer")
    args = parse.parse_args()
    if bool(args.model) == bool(args.url):
        parse.error("give --model or --url, one of them")
    log = Path(tempfile.mkdtemp()) / "server.log"
    process = started(args, log) if args.model else None
    try:
        found = report(args, asyncio.run(run(args)))
    finally:
        if process is not None:
            process.terminate()
            code = process.wait(90)
    if process is not None:
        found |= {"server_exit": code, "fine": found["fine"] and code == 0, "server_said": tail(log)}
    print(json.dumps(found, ensure_ascii=False))
    return 0 if found["fine"] else 1


if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(5)  # the server goes first
    sys.exit(main())
