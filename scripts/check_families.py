"""Every family beside transformers, kept in docs/results/families.json.

    .venv-referees/bin/python scripts/check_families.py         # half a minute

The tiny random models are those of tests/nets/test_families_referee.py: each family with and without tied heads,
grouped queries, biases, windows and every rotation it may have. A row is the worst of a family's cases.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from jielong.base.result import Result, Row
from jielong.labs import store
from jielong.nets import checkpoint
from jielong.units import bpe
from jielong.units.codec import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.nets import test_families_referee as cases  # noqa: E402 (the folder above is its home)

TYPES = (torch.float32, torch.bfloat16, torch.float16)
PROMPT, WRITTEN = 9, 45


def difference(case: str, codec: Tokenizer, folder: Path) -> tuple[float, int]:
    """The largest difference of a logit over texts within and beyond windows and trained contexts; their number."""
    other = cases.saved(case, folder, codec)
    model = checkpoint.load(folder).model
    worst, count = 0.0, 0
    for length in (12, 60):
        ids = cases.IDS[:, :length]
        with torch.no_grad():
            gap = (model(ids) - other(ids).logits).abs()
        worst, count = max(worst, float(gap.max())), count + gap.numel()
    return worst, count


def agreement(case: str, codec: Tokenizer, folder: Path) -> float:
    """The share of greedy tokens that are the same."""
    other = cases.saved(case, folder, codec)
    model = checkpoint.load(folder).model
    prompt = cases.IDS[:1, :PROMPT]
    cached = case not in cases.UNCACHED
    theirs = other.generate(prompt, max_new_tokens=WRITTEN, do_sample=False, use_cache=cached, pad_token_id=0)
    with torch.no_grad():
        for _ in range(WRITTEN):
            prompt = torch.cat([prompt, model(prompt)[:, -1:].argmax(-1)], 1)
    return float((prompt == theirs)[:, PROMPT:].float().mean())


def kept(case: str, codec: Tokenizer, folder: Path) -> tuple[int, int]:
    """Tensors that come back bit for bit in their own type, and all of them."""
    same = total = 0
    for number, dtype in enumerate(TYPES):
        here, there = folder / f"a{number}", folder / f"b{number}"
        cases.saved(case, here, codec, dtype)
        checkpoint.copy(checkpoint.load(here), there)
        before, after = cases.tensors(here), cases.tensors(there)
        total += len(before.keys() | after.keys())
        for name, value in before.items():
            back = after.get(name, torch.empty(0))
            same += back.dtype == value.dtype and torch.equal(back, value)
    return same, total


def rows(codec: Tokenizer, folder: Path) -> Iterator[Row]:
    """Three for each family."""
    for kind in sorted({kind for kind, _ in cases.CASES.values()}):
        mine = [case for case, (of, _) in cases.CASES.items() if of == kind]
        places = [folder / f"{kind}{number}" for number in range(len(mine))]
        note = f"{len(mine)} configurations"
        gaps = [difference(case, codec, place / "l") for case, place in zip(mine, places, strict=True)]
        worst, count = max(gap for gap, _ in gaps), sum(n for _, n in gaps)
        yield Row(f"{kind}: largest difference of a logit", worst, None, count, bar=1e-5, unit="nats",
                  group="logits", note=note)  # fmt: skip
        text = [agreement(case, codec, place / "g") for case, place in zip(mine, places, strict=True)]
        yield Row(f"{kind}: same greedy tokens", min(text), None, WRITTEN * len(mine), bar=1.0, unit="share",
                  group="text", note=note)  # fmt: skip
        back = [kept(case, codec, place) for case, place in zip(mine, places, strict=True)]
        same, total = (sum(pair[i] for pair in back) for i in (0, 1))
        yield Row(f"{kind}: tensors written back bit for bit", same / total, None, total, bar=1.0, unit="share",
                  group="written back", note=note)  # fmt: skip


def main() -> None:
    """Check and store."""
    began = time.monotonic()
    torch.set_num_threads(1)
    codec = bpe.train(["the quick brown fox jumps over the lazy dog 接龍就是文字接龍" * 3], 300, at_most=True)
    with tempfile.TemporaryDirectory() as folder:
        found = tuple(rows(codec, Path(folder)))
    command = "python " + shlex.join(["scripts/check_families.py", *sys.argv[1:]])
    meta = store.origin("jielong.nets.families.known", command=command, minutes=(time.monotonic() - began) / 60)
    at_most = [row.name for row in found if row.group == "logits"]
    versions = {"transformers": version("transformers")}
    made = Result("families", "Families beside transformers", found,
                  meta={**meta, "versions": versions, "at_most": at_most})  # fmt: skip
    print(store.save(made, ROOT / "docs/results"))
    for row in found:
        print(f"{row.name}: {row.estimate:.3g} (bar {row.bar}, {row.note})")


if __name__ == "__main__":
    main()
