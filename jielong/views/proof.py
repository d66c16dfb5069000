"""The page of `jielong prove`: drafter x verifier, how far each is from the exact law and what it accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jielong.views.heat import heat, heat_table
from jielong.views.html import Section, Tile, command, figure, page, paragraph, table, tiles
from jielong.views.markup import Html, Words, element, join, number, text
from jielong.views.verdicts import MISSED, REACHED, mark

TITLE = Words("Guessing ahead changes nothing: the proof", "預先猜測不改變任何結果：證明")
LEAD = Words(
    "Every text's probability with guesses, beside its exact probability: all random outcomes are enumerated, on a "
    "small model, through the functions that the engine runs.",
    "把每段文字在有猜測時的機率與精確機率相比：在小模型上列舉所有隨機結果，用的正是引擎執行的函式。",
)
READ = Words(
    "In each cell: the largest total variation from the exact law of whole texts, over all chains of settings. What "
    "is there is rounding in float64; a wrong rule is off by a hundredth or more.",
    "每格：在所有設定鏈中，整段文字的分布與精確分布的最大總變異距離。"
    "數值是 float64 的捨入誤差；錯誤的規則會差百分之一以上。",
)
ACCEPTED = Words(
    "Guesses accepted in the first step, mean over the chains",
    "第一步接受的猜測數，對所有設定鏈取平均",
)
BESIDE = Words(
    "In each cell: how many of the verifiers are right with this drafter beside this feature, in the engine's own "
    "step. With coupled every text is, to the bit, what it is alone and without guesses; what the others wrote is "
    "written again without guesses, and its tokens are held against their laws (Kolmogorov-Smirnov, Holm).",
    "每格：在引擎本身的步驟中，這個猜測者與這項功能並用時，有幾種驗證者正確。coupled 的每段文字都與單獨、"
    "無猜測時逐位元相同；其他驗證者寫出的文字再以無猜測方式重寫一次，並以其分布檢定（K–S，Holm 校正）。",
)


def proof(document: Mapping[str, Any], line: str) -> str:
    """The page of a matrix's `document()`; `line` is the command that made it."""
    groups: Sequence[Mapping[str, Any]] = document["groups"]
    composed = document.get("compose")
    sections = [
        Section("matrix", Words("Drafter × verifier", "猜測者 × 驗證者"), _matrix(groups), Words("matrix", "矩陣")),
        Section("accepted", Words("What is accepted", "接受了多少"), _accepted(groups), Words("accepted", "接受")),
        Section("chains", Words("Chains of settings", "設定鏈"), _chains(document), Words("chains", "設定")),
        *([Section("compose", Words("Beside every feature", "與每項功能並用"), _composed(composed),
                   Words("features", "功能"))] if composed else []),
        Section("again", Words("Run it again", "再跑一次"), command(line)),
    ]
    return page(TITLE, sections, lead=LEAD, before=_tiles(document))


def _tiles(document: Mapping[str, Any]) -> Html:
    bar, wrong = number(document["bar"]), len(document["wrong"])
    refused = number(document["refused"] / document["cells"], "share")
    size, far, guess = document["vocab"], document["horizon"], document["guess"]
    said = Words(f"{size} tokens, horizon {far}, {guess} guesses", f"{size} 個詞元、長度 {far}、猜 {guess} 個")
    same = f"{document['same']:,}/{document['paths']:,}"
    return tiles(
        [
            Tile(number(document["worst"]), Words("largest distance", "最大距離"), Words(f"bar {bar}", f"標準 {bar}")),
            Tile(f"{document['cells']:,}", Words("cells", "格"), Words(f"{wrong} wrong", f"錯 {wrong} 格")),
            Tile(f"{document['refused']:,}", Words("refused by name", "明確拒絕"), refused),
            Tile(same, Words("texts token for token the same", "逐字相同的文字"), "coupled"),
            Tile(number(document["seconds"], "s"), Words("took", "耗時"), said),
        ]
    )


def _matrix(groups: Sequence[Mapping[str, Any]]) -> Html:
    drafters, verifiers = _axes(groups)
    at = {(g["drafter"], g["verifier"]): g for g in groups}
    rows = [[name, *(_state(at[name, v]) for v in verifiers)] for name in drafters]
    reasons = sorted({g["reason"] for g in groups if g["reason"]})
    body = [table([Words("drafter", "猜測者"), *verifiers], rows), paragraph(READ, "sub")]
    return join([*body, *(paragraph(Words(f"Refused: {r}.", f"拒絕：{r}。"), "sub") for r in reasons)])


def _state(group: Mapping[str, Any]) -> Html:
    if group["distance"] is None:
        return text(Words("refused", "拒絕"))
    count = group["refused"]
    rest = [element("div", text(Words(f"{count} refused", f"拒絕 {count}")), class_="sub")] if count else []
    sign = mark(MISSED if group["wrong"] else REACHED)
    return join([sign, " ", text(number(group["distance"])), *rest])


def _accepted(groups: Sequence[Mapping[str, Any]]) -> Html:
    drafters, verifiers = _axes(groups)
    at = {(g["drafter"], g["verifier"]): g["accepted"] for g in groups}
    values = [[math.nan if at[d, v] is None else at[d, v] for v in verifiers] for d in drafters]
    picture = heat(values, drafters, verifiers, title=ACCEPTED)
    return figure(picture, ACCEPTED, heat_table(values, drafters, verifiers))


def _chains(document: Mapping[str, Any]) -> Html:
    different, orders = len(document["chains"]), document["orders"]
    said = Words(
        f"{different} different requests stand for {orders} chains: the engine applies settings in one order, so "
        "both orders of a pair are one request. None, each by itself, all pairs, and longer ones drawn once, their "
        "numbers too.",
        f"{different} 個不同的請求代表 {orders} 條鏈：引擎以固定順序套用設定，因此一對設定的兩種次序是同一請求。"
        "包括：無設定、單一設定、所有成對設定，以及隨機抽取的較長鏈。",
    )
    rows = [[str(i), " + ".join(names) or "none"] for i, names in enumerate(document["chains"])]
    return join([paragraph(said), table(["", Words("settings", "設定")], rows)])


def _composed(document: Mapping[str, Any]) -> Html:
    groups, features = document["groups"], document["features"]
    few = Words(f"of {document['cells']:,}; bar {number(document['bar'], 'share')}",
                f"共 {document['cells']:,} 格；標準 {number(document['bar'], 'share')}")  # fmt: skip
    counts = tiles(
        [
            Tile(f"{document['right']:,}", Words("right", "正確"), Words(f"{document['wrong']} wrong",
                                                                       f"錯 {document['wrong']} 格")),
            Tile(f"{document['refused']:,}", Words("refused by name", "明確拒絕"), few),
            Tile(f"{document['tokens']:,}", Words("tokens compared", "比較的詞元"), f"{document['texts']:,}"),
            Tile(number(document["p"]), Words("smallest p", "最小 p 值"), document["worst_law"]),
            Tile(number(document["seconds"], "s"), Words("took", "耗時"), ", ".join(document["verifiers"])),
        ]
    )  # fmt: skip
    head = [Words("drafter", "猜測者"), *features, Words("accepted", "接受")]
    rows = [
        [g["drafter"], *(_counts(g["features"][f]) for f in features),
         "" if g["accepted"] is None else number(g["accepted"], "share")]
        for g in groups
    ]  # fmt: skip
    odd = [[c["drafter"], c["feature"], c["verifier"], c["state"], c["said"]] for c in document["odd"]]
    what = Words("drafter", "猜測者"), Words("feature", "功能"), Words("verifier", "驗證者")
    names: list[str | Words] = [*what, "", ""]
    return join([counts, table(head, rows), paragraph(BESIDE, "sub"), *([table(names, odd)] if odd else [])])


def _counts(states: Mapping[str, int]) -> Html:
    right, refused, wrong = (states.get(name, 0) for name in ("right", "refused", "wrong"))
    rest = [element("div", text(Words(f"{refused} refused", f"拒絕 {refused}")), class_="sub")] if refused else []
    return join([mark(MISSED if wrong else REACHED), " ", text(f"{right}/{right + refused + wrong}"), *rest])


def _axes(groups: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    return list(dict.fromkeys(g["drafter"] for g in groups)), list(dict.fromkeys(g["verifier"] for g in groups))
