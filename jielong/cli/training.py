"""What stands in a run's folder for people: `report.html` with curves, shape and a few texts of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jielong.train.run import Work
    from jielong.views.demo_parts import Curve
    from jielong.views.markup import Prose

POINTS = 400  # of a drawn line: more cannot be seen
NONE: Mapping[str, tuple[Prose, float]] = MappingProxyType({})


def curve(folder: Path, name: Prose, step_tokens: int, kinds: Mapping[str, tuple[Prose, float]] = NONE) -> Curve:
    """The losses in a run's `metrics.jsonl`, thinned to what a picture can show.

    `kinds`: further validation sets with the name to show and their exact entropy in bits a byte.
    """
    from jielong.base import files
    from jielong.train.loop import METRICS
    from jielong.views.demo_parts import Curve

    records = list(files.read_jsonl(folder / METRICS, tolerate_tail=True))
    stride = max(1, len(records) // POINTS)
    kept = [r for i, r in enumerate(records) if i % stride == 0 or "val_loss" in r or i == len(records) - 1]

    def column(key: str) -> list[float]:
        return [r.get(key, math.nan) for r in kept]

    return Curve(
        name, [r["step"] * step_tokens for r in kept], column("loss"), column("val_loss"),
        column("val_bits_per_byte"), column("step"), [r["clock"]["seconds"] for r in kept], None,
        [(shown, column(f"val_{kind}_bits_per_byte"), exact) for kind, (shown, exact) in kinds.items()],
    )  # fmt: skip


def write_report(work: Work, folder: Path, figures: Mapping[str, float], samples: Sequence[str]) -> Path:
    """`folder/report.html`: one self-contained page."""
    from jielong.base import device, files
    from jielong.train.settings import to_json
    from jielong.views import demo_parts as parts
    from jielong.views.html import Section, facts, fold, page, table
    from jielong.views.markup import Words, escape, join

    name = str(work.info["name"])
    drawn = parts.curves([curve(folder, name, work.step_tokens)])
    numbers = table(
        [Words("measure", "量測"), Words("value", "數值")],
        [[key, f"{value:.4f}"] for key, value in figures.items()],
    )
    made = join(
        [
            fold(Words("Shape", "模型形狀"), facts(shape(work.model))),
            fold(Words("Settings", "設定"), facts(to_json(work.settings))),
            fold(Words("Machine", "機器"), facts(device.machine())),
        ]
    )
    written = table([Words("What it writes by itself", "它自己寫的")], [[escape(text)] for text in samples])
    sections = [
        Section("curves", Words("How it learnt", "它怎麼學會"), drawn),
        Section("figures", Words("Figures", "數字"), numbers),
        *([Section("samples", Words("Samples", "樣本"), written)] if samples else []),
        Section("made", Words("How it was made", "它怎麼做成"), made),
    ]
    path = folder / "report.html"
    files.atomic_write(path, page(f"Jielong: {name}", sections, foot=parts.FOOT))
    return path


def shape(model: Any) -> dict[str, Any]:
    """The configuration of a Transformer, or of a head that guesses for one, as JSON values."""
    from dataclasses import asdict

    from jielong.nets.config import TransformerConfig, to_json

    return to_json(model.config) if isinstance(model.config, TransformerConfig) else asdict(model.config)


def samples(work: Work, n: int = 4, tokens: int = 80) -> list[str]:
    """A few texts that the model writes from nothing (a language model) or that it answers (a tuned one)."""
    from jielong.infer.generate import generate
    from jielong.infer.sampling import Sampling

    model = (work.beside or work.model).eval()  # an adapter is attached to what stands beside it
    work.model.eval()
    length = min(tokens, model.config.context - 1)
    ends = (work.codec.end, work.codec.turn_end)
    each = [Sampling(temperature=0.8, max_tokens=length, seed=i, stop_ids=ends) for i in range(n)]
    draws = generate(model, [[work.codec.end]] * n, each)
    return [work.codec.decode(list(draw.ids), skip_special=True).strip() for draw in draws]
