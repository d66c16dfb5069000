"""The law of what the server says while it guesses ahead, kept in docs/results/server_law.json.

    .venv-referees/bin/python scripts/server_law.py                    # a million texts: some minutes
    .venv-referees/bin/python scripts/server_law.py --texts 20000 --out /tmp/results

A small random model is served three times, once for each way to verify; openai's client and plain HTTP ask for texts
under several settings and drafters. What comes is held against the law that is computed here: the model read from the
beginning of every text, the settings written out in numpy, none of the engine's code. A G-test for each server, client,
setting and drafter, and one for all texts of each setting, adjusted by Holm for all of them together. Beside them, as a
control, the same texts are held against laws that are a little sharper: all texts of a setting see one that is 3 %
sharper, the 20,000 of one cell see 15 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import serve_clients
import torch

from jielong.base import noise, stats
from jielong.base.device import version
from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.nets import checkpoint
from jielong.units.codec import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PROMPT, LONG, EACH = (40, 41, 42, 40, 41), 4, 125  # tokens; texts in a request
DRAFTS = "int8,early:2,lookup"
SETTINGS: dict[str, dict[str, Any]] = {
    "top_k 4": {"temperature": 0.9, "top_k": 4},
    "repetition, top_k 4": {"temperature": 1.2, "top_k": 4, "repetition_penalty": 1.4},
}
SHARPER = {"together": 0.97, "alone": 0.85}  # the controls' temperatures, in that of the request: what such numbers see
RATE = 0.001  # family-wise

Law = dict[tuple[str, str], float]  # (text, reason) -> probability


def law(model: Any, codec: Tokenizer, setting: dict[str, Any], sharper: float = 1.0) -> Law:
    """Of whole texts, by every token that can come at every place."""
    ends, found = {codec.end, codec.turn_end}, defaultdict[tuple[str, str], float](float)

    def write(written: tuple[int, ...], p: float) -> None:
        if len(written) == LONG:
            found[codec.decode(written), "length"] += p
            return
        with torch.no_grad():
            logits = model(torch.tensor([[*PROMPT, *written]]))[0, -1].double().numpy()
        seen = sorted({*PROMPT, *written})
        penalty = setting.get("repetition_penalty", 1.0)
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
        logits = logits / (setting["temperature"] * sharper)
        kept = np.sort(logits)[-setting["top_k"]]
        weights = np.where(logits >= kept, np.exp(logits - logits.max()), 0.0)
        for token in np.flatnonzero(weights).tolist():
            q = p * float(weights[token] / weights.sum())
            if token in ends:
                found[codec.decode(written), "stop"] += q
            else:
                write((*written, token), q)

    write((), 1.0)
    return dict(found)


def asks(url: str, name: str, client: str) -> Any:
    """A function of a request's body that gives its texts, by openai's client or by nobody's."""
    if client == "openai":
        from openai import OpenAI  # type: ignore[import-not-found]

        openai = OpenAI(base_url=f"{url}/v1", api_key="none", timeout=120)

        def by_openai(body: dict[str, Any]) -> list[tuple[str, str]]:
            given = {key: body.pop(key) for key in ("top_k", "repetition_penalty", "draft") if key in body}
            made = openai.completions.create(model=name, **body, extra_body=given)
            return [(choice.text, choice.finish_reason) for choice in made.choices]

        return by_openai

    def by_http(body: dict[str, Any]) -> list[tuple[str, str]]:
        asked = urllib.request.Request(f"{url}/v1/completions", json.dumps({"model": name, **body}).encode(),
                                       {"content-type": "application/json"})  # fmt: skip
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return [(choice["text"], choice["finish_reason"]) for choice in json.loads(answer.read())["choices"]]

    return by_http


def cells(url: str, name: str, texts: int, seed: str) -> Iterator[tuple[str, str, Counter[tuple[str, str]]]]:
    """(what the cell is called, its setting, counts of `texts` texts) of one server."""
    for client, setting, draft in product(("openai", "HTTP"), SETTINGS, (*DRAFTS.split(","), "all")):
        cell, ask = f"{seed}, {draft}, {client}, {setting}", asks(url, name, client)
        body = {"prompt": list(PROMPT), "max_tokens": LONG, "n": EACH, **SETTINGS[setting]}
        body |= {} if draft == "all" else {"draft": draft}
        bodies = [{**body, "seed": noise.seed_of("server law", cell, i) >> 1} for i in range(texts // EACH)]
        with ThreadPoolExecutor(4) as pool:
            yield cell, setting, Counter(text for found in pool.map(ask, bodies) for text in found)


def measured(
    folder: str, verify: str, texts: int
) -> Iterator[tuple[str, str, Counter[tuple[str, str]]]]:
    """The cells of the server that verifies so."""
    command = [sys.executable, "-m", "jielong", "serve", f"{folder}/model", "--port", "0", "--streams", "128"]
    command += ["--name", "law", "--draft", DRAFTS, "--verify", verify, "--guess", "3"]
    log = Path(folder) / f"{verify}.log"
    with log.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        try:
            url = serve_clients.wait(process, log)
            yield from cells(url, "law", texts, verify)
        finally:
            process.terminate()


def main() -> None:
    """Measure and store."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--texts", type=int, default=1_000_000, help="in all")
    parse.add_argument("--out", type=Path, default=ROOT / store.RESULTS, help="the folder of results")
    args = parse.parse_args()
    from tests.serve.test_clients import small_model

    began, ways = time.monotonic(), ("same", "token", "block")
    per = args.texts // (len(ways) * 2 * len(SETTINGS) * 4)
    per = -(-per // EACH) * EACH
    found: list[tuple[Row, float]] = []
    every: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        loaded = checkpoint.load(small_model(Path(folder) / "model"))
        laws = {(name, sharper): law(loaded.model, loaded.codec, given, sharper)
                for name, given in SETTINGS.items() for sharper in (1.0, *SHARPER.values())}  # fmt: skip

        def held(name: str, setting: str, counts: Counter[tuple[str, str]], many: str) -> None:
            p, control = (stats.g_test(counts, laws[setting, by]) for by in (1.0, SHARPER[many]))
            row = Row(name, p, None, counts.total(), unit="p", group=f"G-tests, {many}, not adjusted")
            found.append((row, control))
            print(f"{time.monotonic() - began:.0f} s: {name}: {row.n} texts, p {p:.3g}", file=sys.stderr)

        for verify in ways:
            for name, setting, counts in measured(folder, verify, per):
                every[setting] += counts
                held(name, setting, counts, "alone")
        for setting, counts in every.items():
            held(f"all texts, {setting}", setting, counts, "together")
    least, controls = min(stats.holm([row.estimate for row, _ in found])), stats.holm([c for _, c in found])
    total, group = sum(counts.total() for counts in every.values()), "a million texts over HTTP"
    rows = (
        Row("texts", total, None, total, bar=1e6, unit="texts", group=group),
        Row("least p of all G-tests, Holm", least, None, len(found), bar=RATE, unit="p", group=group),
        Row("control: tests that see a sharper law", sum(c < RATE for c in controls) / len(controls), None,
            len(found), bar=0.9, unit="share", group=group),
        *(row for row, _ in found),
    )  # fmt: skip
    meta = store.origin("jielong.serve.load", command="python scripts/server_law.py", mode="fast",
                        minutes=(time.monotonic() - began) / 60)  # fmt: skip
    meta = {**meta, "versions": {"openai": version("openai")}}
    print(store.save(Result("server_law", "The law of what the server says", rows, meta=meta), args.out))
    for row in rows[:3]:
        print(f"{row.name}: {row.estimate:.3g} {row.unit} (bar {row.bar}, n {row.n})")


if __name__ == "__main__":
    main()
