"""How far a model is from the best that anything could be: its loss beside the exact entropy of the world's text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jielong.base import stats
from jielong.base.result import Interval, Row

if TYPE_CHECKING:
    import numpy as np

    from jielong.world.world import World

GROUP = "loss above the exact entropy"


def document_nats(model: Any, codec: Any, texts: Sequence[str], batch: int = 64) -> np.ndarray:
    """-ln p of each whole document, end included, given that one begins: (N,) float64; arithmetic in float32."""
    import numpy as np
    import torch

    model.eval()
    rows = [[codec.end, *ids, codec.end] for ids in codec.encode_batch(list(texts))]
    found = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with torch.no_grad():
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            width = max(len(rows[i]) for i in some)
            ids = torch.full((len(some), width), codec.end)
            for place, i in enumerate(some):
                ids[place, : len(rows[i])] = torch.tensor(rows[i])
            laws = torch.log_softmax(model(ids[:, :-1].to(model.device)), -1)
            chosen = laws.gather(2, ids[:, 1:, None].to(model.device)).squeeze(2).cpu().double().numpy()
            for place, i in enumerate(some):
                found[i] = -chosen[place, : len(rows[i]) - 1].sum()
    return found


def rows(model: Any, codec: Any, world: World, kinds: Sequence[str], n: int, draw: int) -> list[Row]:
    """For each kind: the model's loss above the entropy, in nats a document, on `n` fresh documents.

    Truth: 0 is what nothing can beat. A model that has learnt several kinds of document pays for not being told
    which one comes, so a perfect one stays a little above 0.
    """
    found = []
    for kind in kinds:
        exact = world.entropy(kind)
        texts = [text.text for text in world.texts(kind, n, draw=draw)]
        excess = document_nats(model, codec, texts) - exact.nats
        t = stats.t_interval(excess)
        found.append(
            Row(
                name=kind,
                estimate=float(excess.mean()),
                interval=Interval(t.low, t.high, t.level, t.method),
                n=n,
                truth=0.0,
                unit="nats a document",
                group=GROUP,
                note=f"entropy {exact.nats:.2f} nats",
            )
        )
    return found
