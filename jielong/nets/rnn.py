"""Recurrent language models, with attention or without, under the Transformer's face: `model(ids) -> logits`.

model = RNN(RNNConfig(vocab=512))                  # Elman 1990; cell="gru": Cho et al. 2014
model = RNN(RNNConfig(vocab=512, attend=True))     # looks back as well: Bahdanau et al. 2015
model(torch.tensor([[1, 2, 3]]))                   # (1, 3, 512)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jielong.base.errors import UserError
from jielong.nets.ngram import place_in_document
from jielong.nets.weights import read_one, write_one

CELLS = ("elman", "gru", "lstm")
QUERIES = 32  # positions whose additive scores are computed at a time; bounds memory, changes nothing else


@dataclass(frozen=True)
class RNNConfig:
    """`attend`: each position also reads a weighted mean of its document's states so far. `context` None:
    reads text of any length."""

    vocab: int
    dim: int = 128
    layers: int = 1
    cell: Literal["elman", "gru", "lstm"] = "elman"
    attend: bool = False
    context: int | None = None

    def __post_init__(self) -> None:
        if min(self.vocab, self.dim, self.layers) < 1:
            raise UserError(
                f"a recurrent network needs a vocabulary, width and layers of 1 or more, not {self}"
            )
        if self.cell not in CELLS:
            raise UserError(f"cell {self.cell!r} is none of {', '.join(CELLS)}")


class RNN(nn.Module):
    """Embedding, recurrent layers, additive attention over the states so far if asked, tied output."""

    def __init__(self, config: RNNConfig, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        kind = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        self.embed = nn.Parameter(torch.empty(config.vocab, config.dim))
        self.recurrent = kind(config.dim, config.dim, config.layers, batch_first=True)
        self.attention = Attention(config.dim) if config.attend else None
        self.bias = nn.Parameter(torch.zeros(config.vocab))
        if seed is not None:
            self.initialise(seed)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Recurrent matrices orthogonal (Saxe et al. 2014), others N(0, 1/fan-in), embeddings N(0, 1/dim),
        biases zero. Depends on nothing but the seed."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name == "embed":
                parameter.normal_(0.0, self.config.dim**-0.5, generator=generator)
            elif "weight_hh" in name:
                for gate in parameter.split(self.config.dim):
                    gate.copy_(torch.linalg.qr(torch.randn(gate.shape, generator=generator))[0])
            elif parameter.ndim == 2:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
            else:
                parameter.zero_()
        if self.attention is not None:
            self.attention.score.normal_(0.0, self.config.dim**-0.5, generator=generator)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.embed.device

    @property
    def head_weight(self) -> Tensor:
        """The matrix of the output layer (V, D): the embedding's own."""
        return self.embed

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Logits (B, T, V) float32 of the token after each of ids (B, T).

        documents (B, T): where the number changes the state starts again from zero, and attention does not
        look across. positions and dtype are there for the common face and change nothing.
        """
        return self.logits(self.hidden(ids, documents=documents))

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """What the output layer reads, (B, T, D)."""
        x_BTD = F.embedding(ids, self.embed)
        if documents is None:
            return self._read(x_BTD)
        # A library's recurrence cannot be reset half-way, so every document becomes a row of its own.
        at_BT = place_in_document(ids, documents)
        row_N = (at_BT.flatten() == 0).cumsum(0) - 1
        at_N = at_BT.flatten()
        rows = x_BTD.new_zeros(int(row_N[-1]) + 1, int(at_N.max()) + 1, x_BTD.shape[-1])
        rows = rows.index_put((row_N, at_N), x_BTD.flatten(0, 1))
        return self._read(rows)[row_N, at_N].view_as(x_BTD)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V) float32."""
        return F.linear(hidden, self.embed, self.bias).float()

    def _read(self, x_BTD: Tensor) -> Tensor:
        """States of rows that each begin a document. Padding at a row's end reaches nothing before it."""
        states_BTD: Tensor = self.recurrent(x_BTD)[0]
        return states_BTD if self.attention is None else self.attention(states_BTD)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, whole or not at all."""
        write_one(path, "rnn", self.config, self.state_dict())


class Attention(nn.Module):
    """Additive attention of every state over those up to its own (Bahdanau et al. 2015, appendix A.1.2):

        score(t, s) = v . tanh(W h_t + U h_s),   c_t = sum_{s <= t} softmax_s(score) h_s,
        out = tanh(C [c_t; h_t])

    The last step is Luong et al. 2015, equation 5: there is no decoder's own recurrence to feed c_t into.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.score = nn.Parameter(torch.empty(dim))
        self.join = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, states_BTD: Tensor) -> Tensor:
        """States (B, T, D) -> the same with what was found behind them, (B, T, D)."""
        length = states_BTD.shape[1]
        query_BTD, key_BTD = self.query(states_BTD), self.key(states_BTD)
        found = []
        for begin in range(0, length, QUERIES):
            end = min(begin + QUERIES, length)
            sum_BQSD = query_BTD[:, begin:end, None] + key_BTD[:, None, :end]
            score_BQS = torch.tanh(sum_BQSD) @ self.score
            place = torch.arange(end, device=score_BQS.device)
            later = place > place[begin:, None]
            found.append(score_BQS.masked_fill(later, -torch.inf).softmax(-1) @ states_BTD[:, :end])
        out: Tensor = torch.tanh(self.join(torch.cat([torch.cat(found, dim=1), states_BTD], dim=-1)))
        return out


def load(path: Path | str) -> RNN:
    """Read what `RNN.save` wrote. Raises UserError for anything else."""
    return read_one(path, "rnn", _build)


def _build(about: dict[str, Any], tensors: dict[str, Tensor]) -> RNN:
    numbers = {name: int(about[name]) for name in ("vocab", "dim", "layers")}
    model = RNN(RNNConfig(**numbers, cell=about["cell"], attend=about["attend"] == "True"), seed=None)
    model.load_state_dict(tensors)
    return model
