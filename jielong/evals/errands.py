"""Small stories of several steps with a number at their end: problems for models that find the world's sums easy.

A person has some things; they buy, give away, double, halve or receive them, two to five times; how many are left?
English and Traditional Chinese, made by addressed noise, so another `draw` is another set and none is ever used up.
"""

from __future__ import annotations

from dataclasses import dataclass

from jielong.base import noise

NAMES = {
    "en": ("Ada", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jonas"),
    "zh": ("小美", "小明", "阿華", "雅婷", "志強", "怡君", "家豪", "淑芬", "建宏", "佩珊"),
}
THINGS = {
    "en": ("apples", "pens", "books", "stamps", "eggs", "buttons", "coins", "cards", "stones", "shells"),
    "zh": ("顆蘋果", "枝筆", "本書", "張郵票", "顆蛋", "個鈕扣", "枚硬幣", "張卡片", "顆石頭", "個貝殼"),
}
BEGIN = {"en": "{name} has {n} {thing}.", "zh": "{name}有{n}{thing}。"}
EVENTS = {
    "en": {
        "more": ("Then {a} more are bought.", "A friend brings {a} more."),
        "boxes": ("Then {a} boxes with {b} {thing} each arrive.", "{name} finds {a} bags of {b} {thing} each."),
        "less": ("{a} of them are given away.", "{name} loses {a} of them."),
        "double": ("After that there are twice as many as before.", "The number then doubles."),
        "half": ("Half of them are sold.", "{name} keeps only half of them."),
    },
    "zh": {
        "more": ("後來又買了{a}{unit}。", "朋友又送來{a}{unit}。"),
        "boxes": ("接著來了{a}盒，每盒{b}{unit}。", "{name}又找到{a}袋，每袋{b}{unit}。"),
        "less": ("其中{a}{unit}送給了別人。", "{name}弄丟了{a}{unit}。"),
        "double": ("之後的數量變成原來的兩倍。", "數量接著加倍了。"),
        "half": ("賣掉了其中的一半。", "{name}只留下一半。"),
    },
}
ASK = {"en": "How many {thing} are there now?", "zh": "現在一共有多少{thing}？"}
FEWEST, MOST = 2, 5  # events of a story
HIGHEST = 2000


@dataclass(frozen=True)
class Errand:
    """A story, the number at its end, and the calculation of each step."""

    text: str
    answer: int
    steps: tuple[str, ...]
    lang: str


def errand(number: int, *, lang: str, draw: int = 0, seed: int = 0) -> Errand:
    """Story `number` of a draw."""
    u = iter(noise.uniform(noise.seed_of("errands", seed, lang, draw), number, n=64).tolist())

    def pick(count: int) -> int:
        return int(next(u) * count)

    name, thing = NAMES[lang][pick(10)], THINGS[lang][pick(10)]
    now = 3 + pick(60)
    said, steps = [BEGIN[lang].format(name=name, n=now, thing=thing)], []
    for _ in range(FEWEST + pick(MOST - FEWEST + 1)):
        able = ["more", "boxes"] + ["less"] * 2 * (now > 1) + ["half"] * (now % 2 == 0 and now > 2)
        able += ["double"] * (now * 2 <= HIGHEST)
        kind, a, b, wording = able[pick(len(able))], 2 + pick(30), 2 + pick(11), pick(2)
        a = {"less": 1 + a % (now - 1) if now > 2 else 1, "boxes": 2 + a % 6}.get(kind, a)
        after = {"more": now + a, "boxes": now + a * b, "less": now - a, "double": now * 2, "half": now // 2}[kind]
        how = {"more": f"+{a}", "boxes": f"+{a}*{b}", "less": f"-{a}", "double": "*2", "half": "/2"}[kind]
        steps.append(f"{now}{how}={after}")
        said.append(EVENTS[lang][kind][wording].format(name=name, a=a, b=b, thing=thing, unit=thing[:1]))
        now = after
    said.append(ASK[lang].format(thing=thing))
    return Errand(("" if lang == "zh" else " ").join(said), now, tuple(steps), lang)
