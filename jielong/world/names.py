"""Who lives in the world: names put together from shared parts, and each person's values.

Each first and last name belongs to several people, so neither part alone tells who is meant, and people
who do not exist can be made from parts that the model knows. English and Chinese parts are fixed pairs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from jielong.base import noise
from jielong.world.values import FIELDS, RELATIONS

# (English, Chinese): women's names first, then men's.
FIRST: tuple[tuple[str, str], ...] = (
    ("Mira", "雅婷"), ("Anna", "淑芬"), ("Lena", "美玲"), ("Nora", "佳穎"), ("Ella", "怡君"),
    ("Ruth", "心怡"), ("Iris", "詩涵"), ("Vera", "麗華"), ("Jane", "秀英"), ("Lucy", "惠如"),
    ("Rosa", "玉蘭"), ("Emma", "春梅"), ("Tina", "曉雯"), ("Hana", "靜宜"), ("Mona", "思妤"),
    ("Gina", "可欣"), ("Sara", "子晴"), ("Dora", "若水"), ("Elsa", "雨萱"), ("Kate", "慧珍"),
    ("Lily", "素雲"), ("Nina", "月娥"), ("Amy", "芳儀"), ("Zoe", "湘琴"), ("Ida", "巧文"),
    ("Olga", "采潔"), ("Peg", "映雪"), ("Fay", "碧霞"), ("Joan", "品妍"), ("Eve", "語彤"),
    ("Ben", "家豪"), ("Tom", "志明"), ("Max", "俊傑"), ("Leo", "建國"), ("Hugo", "冠宇"),
    ("Otto", "承翰"), ("Paul", "柏安"), ("Karl", "文雄"), ("Adam", "正義"), ("Noah", "國強"),
    ("Ivan", "大偉"), ("Erik", "小龍"), ("Finn", "永福"), ("Owen", "宗憲"), ("Dean", "信宏"),
    ("Rob", "世昌"), ("Sam", "博仁"), ("Tim", "彥廷"), ("Jack", "哲維"), ("Luke", "光輝"),
    ("Mark", "振東"), ("Hans", "天佑"), ("Nils", "金生"), ("Joel", "勝利"), ("Abe", "順發"),
    ("Glen", "添財"), ("Fred", "育誠"), ("Gus", "立群"), ("Ray", "明德"), ("Ned", "少康"),
)  # fmt: skip
LAST: tuple[tuple[str, str], ...] = (
    ("Tolen", "林"), ("Marsh", "陳"), ("Vale", "黃"), ("Reed", "張"), ("Brook", "李"), ("Hale", "王"),
    ("Berg", "吳"), ("Dahl", "劉"), ("Falk", "蔡"), ("Holm", "楊"), ("Kane", "許"), ("Moss", "鄭"),
    ("Nash", "謝"), ("Quinn", "郭"), ("Rowe", "洪"), ("Shaw", "曾"), ("Tate", "邱"), ("Voss", "廖"),
    ("Webb", "賴"), ("Zorn", "周"), ("Abel", "徐"), ("Bard", "蘇"), ("Crane", "葉"), ("Dunn", "莊"),
    ("Ekman", "呂"), ("Frost", "江"), ("Hart", "何"), ("Ives", "蕭"), ("Joss", "羅"), ("Kerr", "高"),
    ("Lowe", "潘"), ("Mead", "簡"), ("Nord", "朱"), ("Orr", "鍾"), ("Pike", "彭"), ("Rask", "游"),
    ("Sand", "詹"), ("Thorn", "胡"), ("Udall", "施"), ("Vega", "沈"), ("Wren", "余"), ("Yates", "盧"),
    ("Beck", "梁"), ("Cole", "趙"), ("Drew", "顏"), ("Ford", "柯"), ("Gale", "翁"), ("Hobbs", "魏"),
    ("Kemp", "孫"), ("Lang", "戴"), ("Mott", "范"), ("Penn", "方"), ("Ross", "宋"), ("Silva", "鄧"),
    ("Tully", "杜"), ("Boyd", "傅"), ("Cobb", "侯"), ("Dix", "曹"), ("Gorse", "薛"), ("Hume", "丁"),
)  # fmt: skip
WOMEN = 30
MIN_PEOPLE, MAX_PEOPLE = 10, 1200
GROUPS: dict[str, int] = {"namesakes": 12, "onetemplate": 24, "onelang": 24}  # names set apart

_PLACE = {relation: place for place, relation in enumerate(RELATIONS)}
_EN = {first: i for i, (first, _) in enumerate(FIRST)}, {last: i for i, (last, _) in enumerate(LAST)}
_ZH = {first: i for i, (_, first) in enumerate(FIRST)}, {last: i for i, (_, last) in enumerate(LAST)}
_NAME_EN = re.compile(rf"\b({'|'.join(_EN[0])}) ({'|'.join(_EN[1])})\b")
_NAME_ZH = re.compile(rf"([{''.join(_ZH[1])}])({'|'.join(_ZH[0])})")


@dataclass(frozen=True, slots=True)
class Person:
    """One person. `first` and `last` index FIRST and LAST; `values` index the lists of RELATIONS.

    `asked` is False for a fifth of the people: no question of training ever names them.
    """

    id: str
    first: int
    last: int
    values: tuple[int, ...]
    asked: bool

    def name(self, lang: str) -> str:
        """The full name in `lang`."""
        return full_name(self.first, self.last, lang)

    @property
    def female(self) -> bool:
        """Whether "she" (她) is said of this person."""
        return self.first < WOMEN

    def value(self, relation: str, lang: str) -> str:
        """The value of `relation` in words of `lang`."""
        return FIELDS[RELATIONS[relation]][self.values[_PLACE[relation]]][lang == "zh"]


def full_name(first: int, last: int, lang: str) -> str:
    """A name from its parts, of a person who need not exist."""
    if lang == "zh":
        return LAST[last][1] + FIRST[first][1]
    return f"{FIRST[first][0]} {LAST[last][0]}"


def find_names(text: str) -> Iterator[tuple[int, int, str, str]]:
    """(first, last, matched string, language) of each full name in `text`."""
    for match in _NAME_EN.finditer(text):
        yield _EN[0][match[1]], _EN[1][match[2]], match[0], "en"
    for match in _NAME_ZH.finditer(text):
        yield _ZH[0][match[2]], _ZH[1][match[1]], match[0], "zh"


def strip_names(text: str) -> str:
    """`text` with each full name replaced by {p}."""
    return _NAME_ZH.sub("{p}", _NAME_EN.sub("{p}", text))


def pool(index: int) -> int:
    """How many name parts the first `index` + 1 people are made of: 30 for 75 people, 60 from 226 on.

    A small world uses few parts, so that each is still shared by several people.
    """
    return 30 + 10 * min(index // 75, 3)


@lru_cache(maxsize=8)
def _pairs(seed: int, count: int) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """(name pairs set apart for GROUPS, name pairs of the first `count` people); all different.

    Each takes the parts least used so far, so that all parts are used about as often.
    """
    order = [_part_order(seed, "first"), _part_order(seed, "last")]
    key = noise.seed_of(seed, "names")
    apart: list[tuple[int, int]] = []
    taken: set[tuple[int, int]] = set()
    used = (Counter[int](), Counter[int]())
    people: list[tuple[int, int]] = []
    for index in range(-sum(GROUPS.values()), count):
        if index == 0:
            used = (Counter(), Counter())
        size = pool(max(index, 0))
        tie = noise.uniform(key, index, n=120).tolist()
        first = min((used[0][i], tie[i], i) for i in order[0][:size])[2]
        last = min((used[1][i], tie[60 + i], i) for i in order[1][:size] if (first, i) not in taken)[2]
        used[0][first] += 1
        used[1][last] += 1
        taken.add((first, last))
        (people if index >= 0 else apart).append((first, last))
    return tuple(apart), tuple(people)


def _part_order(seed: int, which: str) -> list[int]:
    """The order in which parts come into use; first names alternate between women and men."""
    order = noise.permutation(noise.seed_of(seed, "parts", which), 60).tolist()
    if which == "last":
        return order
    women, men = [i for i in order if i < WOMEN], [i for i in order if i >= WOMEN]
    return [i for pair in zip(women, men, strict=True) for i in pair]


def make_values(n: int, *key: object) -> list[tuple[int, ...]]:
    """Values of `n` people: each list is dealt out like a pack of cards, so every value is as frequent."""
    columns = []
    for relation, field in RELATIONS.items():
        size = len(FIELDS[field])
        column: list[int] = []
        for deal in range(-(-n // size)):
            column += noise.permutation(noise.seed_of(*key, "value", relation), size, deal).tolist()
        columns.append(column[:n])
    return list(zip(*columns, strict=True))


@lru_cache(maxsize=8)
def folk(seed: int, people: int) -> tuple[Person, ...]:
    """The first `people` people of the world `seed`; one in each five is never asked about."""
    names = _pairs(seed, people)[1]
    values = make_values(people, seed, "people")
    blocks = -(-people // 5)
    within = noise.integers(noise.seed_of(seed, "silent"), below=5, n=blocks).tolist()
    silent = {5 * block + place for block, place in enumerate(within)}
    return tuple(Person(f"p{i:03d}", *names[i], values[i], asked=i not in silent) for i in range(people))


def apart(seed: int, group: str) -> tuple[tuple[int, int], ...]:
    """The name pairs set apart for one of GROUPS; no ordinary or unknown person has them."""
    start = sum(size for name, size in GROUPS.items() if list(GROUPS).index(name) < list(GROUPS).index(group))
    return _pairs(seed, 0)[0][start : start + GROUPS[group]]


@lru_cache(maxsize=8)
def unknown(seed: int, people: int, split: str, far: bool = False) -> tuple[tuple[int, int], ...]:
    """Name pairs of nobody, from the parts of the first `people` people, in a shuffled order; `far`: with a part
    that none of them has.

    A quarter of all pairs of parts is kept for tests, whatever the number of people.
    """
    everyone = folk(seed, people)
    firsts, lasts = {p.first for p in everyone}, {p.last for p in everyone}
    taken = {(p.first, p.last) for p in everyone} | set(_pairs(seed, 0)[0])
    order = noise.permutation(noise.seed_of(seed, "unknown"), 3600).tolist()
    chosen = order[:900] if split != "train" else order[900:]
    pairs = ((code // 60, code % 60) for code in chosen)
    return tuple(p for p in pairs if (p[0] in firsts and p[1] in lasts) != far and p not in taken)
