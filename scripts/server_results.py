"""The server beside its clients, kept in docs/results/server.json.

    make referees                                              # once: openai's client and lm-eval
    .venv-referees/bin/python scripts/server_results.py        # all of it: fifteen minutes
    .venv-referees/bin/python scripts/server_results.py fuzz   # one part: openai, lm-eval, fuzz or clients
    .venv-referees/bin/python scripts/server_results.py --quick --out /tmp/results

Parts that are not named keep what was stored of them, if it was by the same code on the same machine. With --quick
every part is small: it shows that the measurement runs, and is not for docs/results.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measure

from jielong.base.device import version
from jielong.base.errors import UserError
from jielong.base.plain import plain
from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.labs.sources import combined, sources

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
GROUPS = {  # part -> what its rows stand under
    "openai": "openai-python",
    "lm-eval": "lm-eval, unmodified",
    "fuzz": "request fields",
    "clients": "many clients",
}
AT_MOST = (
    "largest difference of a log-likelihood from the library's own",
    "answers that are wrong, or no answer",
    "errors inside (500)",
    "errors that are not the client's",
    "answers that differ from an earlier one to the same request",
    "memory, last third of the time against the second",
)
WORDS = ("the", "cat", "sat", "on", "mat", "ate", "a", "玉山", "很高", "。", ",", ".", "x", "47")


def openai_rows(quick: bool) -> Iterator[Row]:
    """openai's own client, its answers validated by its types."""
    tests = ["tests/serve/test_openai_referee.py", *(["-k", "test_chat"] if quick else [])]
    note = "streams, tool deltas, logprobs, usage, json_schema, responses, errors: tests/serve/test_openai_referee.py"
    row = measure.passed("typed answers as they should be", Path(sys.executable), tests, note)
    if row is not None:
        yield row


def lm_eval_rows(quick: bool) -> Iterator[Row]:
    """lm-eval over HTTP against the model in this process."""
    from tests.serve import test_lm_eval_referee as cases

    chance, parts = random.Random(0), cases.tiny()

    def words(least: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(least, 12)))

    pairs = [*cases.PAIRS, *((words(0), " " + words(1)) for _ in range(8 if quick else 192))]
    found: list[tuple[float, bool]] = []
    with cases.served(parts) as url:
        for batch, concurrent in cases.WAYS.values():
            found += cases.gaps(cases.asking(url, batch, concurrent), parts, pairs)
    note = f"{len(pairs)} pairs, {', '.join(cases.WAYS)}"
    yield Row(AT_MOST[0], max(gap for gap, _ in found), None, len(found), bar=cases.TOLERANCE, unit="nats", note=note)
    same = sum(greedy for _, greedy in found) / len(found)
    yield Row("agreed on which continuation is the greedy one", same, None, len(found), bar=1.0, unit="share")


def fuzz_rows(quick: bool) -> Iterator[Row]:
    """Requests drawn from the public schema, right and wrong; every answer is checked."""
    import tests.conftest  # noqa: F401 (its examples are the same every time)
    from tests.serve import test_fuzz as cases
    from tests.serve.conftest import service_of

    faults: list[str] = []

    class Counting(cases.Server):
        def ask(self, path: str, body: dict[str, Any]) -> None:
            try:
                super().ask(path, body)
            except Exception as fault:
                faults.append(f"{path} {json.dumps(body)[:300]}: {type(fault).__name__}: {fault}"[:600])

    began = time.monotonic()
    server = cases.fuzz(service_of, 100 if quick else 10_000, Counting)
    seconds, n = time.monotonic() - began, server.asked
    for fault in faults[:10]:
        print(fault, file=sys.stderr)
    note = "each checked against what it asked for; no slot, page or task stays behind"
    yield Row(AT_MOST[1], len(faults), None, n, bar=0.0, unit="requests", note=note)
    yield Row(AT_MOST[2], server.statuses[500], None, n, bar=0.0, unit="requests")
    names = {200: "answered (200)", 400: "refused by name (400)", 404: "of a model that is not there (404)"}
    for status, name in names.items():
        yield Row(name, server.statuses[status], None, n, unit="requests")
    yield Row("time of all", seconds, None, n, unit="seconds")


def client_rows(quick: bool) -> Iterator[Row]:
    """Two hundred clients for five minutes, a third of their requests hung up on; a server process of its own."""
    from tests.serve.test_clients import small_model

    clients, seconds = (20, 5) if quick else (200, 300)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "scripts/serve_clients.py", "--model", str(small_model(Path(folder) / "model"))]
        command += ["--mode", "exact", "--same", "--clients", str(clients), "--seconds", str(seconds)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        raise SystemExit(f"scripts/serve_clients.py gave no result:\n{done.stdout}{done.stderr}") from error
    asked, errors = found["answers"] + found["hung_up"], sum(found["errors"].values())
    note = f"{clients} clients, {seconds} s, exact mode; {'; '.join(found['errors'])}".rstrip("; ")
    yield Row(AT_MOST[3], errors, None, asked + errors, bar=0.0, unit="requests", note=note)
    yield Row(AT_MOST[4], found["mixed_up"], None, found["answers"], bar=0.0, unit="requests")
    yield Row("answered", found["answers"], None, asked, unit="requests")
    yield Row("hung up on in the middle", found["hung_up"], None, asked, unit="requests")
    for end in ("start", "end"):
        yield Row(f"memory at the {end}", found[f"megabytes_{end}"], None, seconds, unit="MB")
    before, after = found["megabytes_second_third"], found["megabytes_last_third"]
    if before:  # there was time for thirds
        note = f"{before} MB, {after} MB"
        yield Row(AT_MOST[5], after / before, None, seconds, bar=1.05, unit="times", note=note)
    yield Row("whole answers, the slowest in a hundred", found["whole_seconds"]["p99"], None, found["answers"],
              unit="seconds")  # fmt: skip
    stopped = float(found["server_exit"] == 0)
    yield Row("stopped gracefully afterwards", stopped, None, 1, bar=1.0, unit="share",
              note=" ".join(found["server_said"])[:300])  # fmt: skip


PARTS = {"openai": openai_rows, "lm-eval": lm_eval_rows, "fuzz": fuzz_rows, "clients": client_rows}


def origin(command: str) -> dict[str, Any]:
    """Where it was measured; the sources are those of the process and of what it loads."""
    meta = store.origin("jielong.serve.load", command=command, minutes=0.0, mode="exact and fast")
    files = {**meta["sources"], **sources("jielong.serve.run")}
    versions = {name: version(name) for name in ("openai", "lm-eval", "starlette", "uvicorn", "hypothesis")}
    more = {"sources": files, "sources_hash": combined(files), "versions": versions, "at_most": list(AT_MOST)}
    return {**meta, **more}


def stored(folder: Path, meta: Mapping[str, Any]) -> dict[str, tuple[float, list[Row]]]:
    """Minutes and rows of every part that was measured before, by this code on this machine."""
    before = store.load("server", folder)
    if before is None or any(before.meta.get(key) != meta[key] for key in ("sources_hash", "machine", "command")):
        return {}
    minutes = before.meta["part_minutes"]
    return {part: (minutes[part], [row for row in before.rows if row.group == GROUPS[part]]) for part in minutes}


def main() -> None:
    """Measure and store."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them by default")
    parse.add_argument("--quick", action="store_true", help="a small one of each")
    parse.add_argument("--out", type=Path, default=ROOT / store.RESULTS, help="the folder of results")
    args = parse.parse_args()
    wanted = args.parts or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        parse.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    if args.quick and args.out.resolve() == (ROOT / store.RESULTS).resolve():
        parse.error("what --quick measures is not for docs/results: give --out")
    for part, module in (("openai", "openai"), ("lm-eval", "lm_eval")):
        if part in wanted and find_spec(module) is None:
            raise UserError(f"{part} is not installed here: `make referees`, then .venv-referees/bin/python {__file__}")
    measured: dict[str, tuple[float, list[Row]]] = {}
    for part in wanted:
        began = time.monotonic()
        rows = [replace(row, group=GROUPS[part]) for row in PARTS[part](args.quick)]
        measured[part] = round((time.monotonic() - began) / 60, 3), rows
    meta = plain(origin("python scripts/server_results.py" + " --quick" * args.quick))
    found = stored(args.out, meta) | measured
    meta |= {"part_minutes": {part: m for part, (m, _) in found.items()}, "minutes": sum(m for m, _ in found.values())}
    ordered = tuple(row for part in PARTS if part in found for row in found[part][1])
    made = Result("server", "The server beside its clients", ordered, meta=meta)
    print(store.save(made, args.out))
    for row in made.rows:
        print(f"{row.group}: {row.name}: {row.estimate:.3g} {row.unit} (bar {row.bar}, n {row.n}) {row.note}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"server_results: {error}", file=sys.stderr)
        sys.exit(2)
