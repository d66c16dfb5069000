"""Which guesses stay, so that the text is the target's own: one function for each way to decide.

All take `laws` (the target's law after some of the guesses), the drafts of one row, and `choose`; all give the
accepted guesses and one token more. The arithmetic is float64. Laws are asked for only where they matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jielong.infer.draft.types import PLACE, Accepted, Choose, Draft, Floats, Laws, Verify


def token(laws: Laws, drafts: Sequence[Draft], choose: Choose) -> Accepted:
    """Guess by guess, of the first draft: x drawn from q stays with probability min(1, p(x) / q(x)); the first that
    goes is replaced by a draw from (p - q)+. A guess stays with probability sum min(p, q).

    Source: Leviathan et al. 2023 (arXiv 2211.17192), algorithm 1; Chen et al. 2023 (arXiv 2302.01318).
    """
    return multi(laws, drafts[:1], choose)


def multi(laws: Laws, drafts: Sequence[Draft], choose: Choose) -> Accepted:
    """Several drafts of one text: at each depth the next guesses of those drafts that began with what was accepted are
    tried in turn, each against what the ones before it left of the target's law.

    A guess that stands there already is passed over, and one that does not was drawn from its law given that it is
    new. So it does not matter whether drafts share a beginning that was drawn once, or were drawn independently, or
    without replacement; nor whether their drafters are the same.
    Source: Miao et al. 2023, SpecInfer (arXiv 2305.09781), algorithm 2; without replacement: Jeon et al. 2024
    (arXiv 2402.14160), Yang et al. 2024 (arXiv 2401.06706).
    """
    done: tuple[int, ...] = ()
    while True:
        left = laws(done)
        tried: list[int] = []
        for j, draft in enumerate(drafts):
            if len(draft.tokens) <= len(done) or draft.tokens[: len(done)] != done:
                continue
            guess = draft.tokens[len(done)]
            if guess in tried:
                continue
            q = _new(draft.law(len(done), len(left)), tried)
            stays = min(1.0, float(left[guess] / q[guess]))
            if choose((stays, 1.0 - stays), "accept", len(done), j) == 0:
                done = (*done, guess)
                break
            left = _rest(left, q)
            tried.append(guess)
        else:
            return Accepted((*done, choose(left, "residual", len(done))), len(done))


def block(laws: Laws, drafts: Sequence[Draft], choose: Choose) -> Accepted:
    """All guesses of the first draft together: never fewer stay, on average, than with `token`, and often more.

    Source: Sun et al. 2024 (arXiv 2403.10444), algorithm 2: with w the running min(1, w p(x) / q(x)), the first i
    guesses can stay with probability S / (S + 1 - w), S = sum (w p - q)+, and all of them with probability w; the most
    that can, do. Looking from the end, the first that can decides.
    """
    guesses, draft = (drafts[0].tokens, drafts[0]) if drafts else ((), Draft())
    w, parts, chances = 1.0, list[Floats](), list[float]()
    for i, guess in enumerate(guesses):
        p = laws(guesses[:i])
        q = draft.law(i, len(p))
        parts.append(np.maximum(w * p - q, 0.0))
        mass = float(parts[i].sum())
        chances.append(mass / (mass + (1.0 - w)) if mass > 0 else 0.0)
        w = min(1.0, w * float(p[guess] / q[guess]))
        if w == 0:
            break
    if len(parts) == len(guesses) and choose((w, 1.0 - w), "accept", len(guesses)) == 0:
        return Accepted((*guesses, choose(laws(guesses), "residual", len(guesses))), len(guesses))
    for i in range(len(parts) - 1, 0, -1):
        if choose((chances[i], 1.0 - chances[i]), "accept", i) == 0:
            return Accepted((*guesses[:i], choose(parts[i], "residual", i)), i)
    left = parts[0] if parts[0].any() else laws(())
    return Accepted((choose(left, "residual", 0),), 0)


def coupled(laws: Laws, drafts: Sequence[Draft], choose: Choose) -> Accepted:
    """The token that plain sampling would take at each place, by the same number; as long as a draft has guessed it,
    the next one too. The same text as without drafts, whatever the drafter.

    With q drawn by the same Gumbel numbers a guess stays at least as often as (1 - d) / (1 + d), d the total variation
    between the laws. Nothing here depends on how the two are coupled: whatever was guessed, the text is the target's.
    Source: Daliri et al. 2024, drafter-invariant decoding (arXiv 2408.07978).
    """
    done: tuple[int, ...] = ()
    while True:
        own = choose(laws(done), PLACE, len(done))
        longer = (*done, own)
        if not any(draft.tokens[: len(longer)] == longer for draft in drafts):
            return Accepted(longer, len(done))
        done = longer


VERIFIERS: Mapping[str, Verify] = {"token": token, "block": block, "multi": multi, "coupled": coupled}


def _new(q: Floats, tried: Sequence[int]) -> Floats:
    """The law given that it is none of those tried."""
    if not tried:
        return q
    q = q.copy()
    q[list(tried)] = 0.0
    return q / q.sum()


def _rest(p: Floats, q: Floats) -> Floats:
    """(p - q)+ as a law. Where p and q are equal nothing is left, and nothing was refused but by a last bit: p."""
    rest = np.maximum(p - q, 0.0)
    total = rest.sum()
    return rest / total if total > 0 else p
