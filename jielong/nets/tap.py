"""A way into the model: read or edit any named activation while it is computed.

    seen = {}
    def keep(x, at):
        seen["h"] = x
        return x
    model(ids, tap=Tap({"block.3.resid_out": keep}))

Sites: `embed`, `block.N.resid_in|attn_in|q|k|v|pattern|heads|attn_out|resid_mid|mlp_in|mlp_act|mlp_out|resid_out`,
`norm`, `logits`. q and k are read after rotation. An edit gets the absolute positions (B, T) and the request
rows (B,) of what it sees, so that it means the same however a prompt was chunked or batched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from jielong.base.errors import UserError

PLAIN_SITES = ("embed", "norm", "logits")
BLOCK_SITES = (
    "resid_in", "attn_in", "q", "k", "v", "pattern", "heads", "attn_out",
    "resid_mid", "mlp_in", "mlp_act", "mlp_out", "resid_out",
)  # fmt: skip


@dataclass(frozen=True)
class Where:
    """Absolute positions (B, T) and request rows (B,) of the values a tap sees."""

    positions: Tensor
    rows: Tensor


Edit = Callable[[Tensor, Where], Tensor]


@dataclass(frozen=True)
class Tap:
    """Site name to function; each returns the value to go on with (the same tensor, if it only reads)."""

    edits: Mapping[str, Edit]

    def __post_init__(self) -> None:
        for site in self.edits:
            parts = site.split(".")
            block = len(parts) == 3 and parts[0] == "block" and parts[1].isdigit() and parts[2] in BLOCK_SITES
            if not block and site not in PLAIN_SITES:
                raise UserError(
                    f"no activation is called {site!r}; sites are {', '.join(PLAIN_SITES)} and "
                    f"block.N.{'|'.join(BLOCK_SITES)}"
                )

    def wants(self, site: str) -> bool:
        """Whether anything is read or edited there."""
        return site in self.edits

    def __call__(self, site: str, value: Tensor, where: Where) -> Tensor:
        edit = self.edits.get(site)
        return value if edit is None else edit(value, where)
