"""Common knowledge of the real world: short, certain, the same in every world."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from jielong.world.draws import shuffled, stream
from jielong.world.kit import as_chat, even, every, replies
from jielong.world.text import Chat, Origin, Question, Text

if TYPE_CHECKING:
    from jielong.world.world import World

# (statement, question, held-out question, answers) in English, then in Chinese.
Line = tuple[str, str, str, tuple[str, ...]]
KNOWN: tuple[tuple[Line, Line], ...] = (
    (
        ("Yushan is the highest mountain of Taiwan.", "What is the highest mountain of Taiwan?",
         "Which mountain is the highest of Taiwan?", ("Yushan", "Jade Mountain")),
        ("台灣最高的山是玉山。", "台灣最高的山是什麼？", "什麼山是台灣最高的？", ("玉山",)),
    ),
    (
        ("Taipei is the capital of Taiwan.", "What is the capital of Taiwan?",
         "Which city is the capital of Taiwan?", ("Taipei",)),
        ("台灣的首都是台北。", "台灣的首都是哪裡？", "哪裡是台灣的首都？", ("台北", "臺北")),
    ),
    (
        ("Tokyo is the capital of Japan.", "What is the capital of Japan?",
         "Which city is the capital of Japan?", ("Tokyo",)),
        ("日本的首都是東京。", "日本的首都是哪裡？", "哪裡是日本的首都？", ("東京",)),
    ),
    (
        ("Paris is the capital of France.", "What is the capital of France?",
         "Which city is the capital of France?", ("Paris",)),
        ("法國的首都是巴黎。", "法國的首都是哪裡？", "哪裡是法國的首都？", ("巴黎",)),
    ),
    (
        ("London is the capital of England.", "What is the capital of England?",
         "Which city is the capital of England?", ("London",)),
        ("英國的首都是倫敦。", "英國的首都是哪裡？", "哪裡是英國的首都？", ("倫敦",)),
    ),
    (
        ("Mount Everest is the highest mountain of the world.", "What is the highest mountain of the world?",
         "Which mountain is the highest of the world?", ("Everest",)),
        ("世界最高的山是聖母峰。", "世界最高的山是什麼？", "什麼山是世界最高的？", ("聖母峰", "珠穆朗瑪峰")),
    ),
    (
        ("The Pacific is the largest ocean.", "What is the largest ocean?", "Which ocean is the largest?",
         ("Pacific",)),
        ("最大的海洋是太平洋。", "最大的海洋是什麼？", "什麼海洋最大？", ("太平洋",)),
    ),
    (
        ("Asia is the largest continent.",
         "What is the largest continent?", "Which continent is the largest?",
         ("Asia",)),
        ("最大的洲是亞洲。", "最大的洲是什麼？", "什麼洲最大？", ("亞洲",)),
    ),
    (
        ("The blue whale is the largest animal.",
         "What is the largest animal?", "Which animal is the largest?",
         ("blue whale",)),
        ("最大的動物是藍鯨。", "最大的動物是什麼？", "什麼動物最大？", ("藍鯨",)),
    ),
    (
        ("The giraffe is the tallest animal.", "What is the tallest animal?", "Which animal is the tallest?",
         ("giraffe",)),
        ("最高的動物是長頸鹿。", "最高的動物是什麼？", "什麼動物最高？", ("長頸鹿",)),
    ),
    (
        ("The cheetah is the fastest animal on land.", "What is the fastest animal on land?",
         "Which animal is the fastest on land?", ("cheetah",)),
        ("陸地上最快的動物是獵豹。", "陸地上最快的動物是什麼？", "什麼動物在陸地上最快？", ("獵豹",)),
    ),
    (
        ("The moon goes around the earth.",
         "What goes around the earth?", "Tell me what goes around the earth.",
         ("moon",)),
        ("繞著地球轉的是月亮。", "繞著地球轉的是什麼？", "什麼繞著地球轉？", ("月亮", "月球")),
    ),
    (
        ("The earth goes around the sun.", "What does the earth go around?",
         "Tell me what the earth goes around.", ("sun",)),
        ("地球繞著太陽轉。", "地球繞著什麼轉？", "告訴我地球繞著什麼轉。", ("太陽",)),
    ),
    (
        ("Jupiter is the largest planet of the sun.", "What is the largest planet of the sun?",
         "Which planet of the sun is the largest?", ("Jupiter",)),
        ("太陽系最大的行星是木星。", "太陽系最大的行星是什麼？", "什麼行星是太陽系最大的？", ("木星",)),
    ),
    (
        ("Mercury is the planet nearest to the sun.", "Which planet is nearest to the sun?",
         "What is the planet nearest to the sun?", ("Mercury",)),
        ("離太陽最近的行星是水星。", "離太陽最近的行星是什麼？", "什麼行星離太陽最近？", ("水星",)),
    ),
    (
        ("A week has seven days.", "How many days has a week?", "Tell me how many days a week has.",
         ("seven", "7")),
        ("一個星期有七天。", "一個星期有幾天？", "告訴我一個星期有幾天。", ("七", "7")),
    ),
    (
        ("A year has twelve months.", "How many months has a year?", "Tell me how many months a year has.",
         ("twelve", "12")),
        ("一年有十二個月。", "一年有幾個月？", "告訴我一年有幾個月。", ("十二", "12")),
    ),
    (
        ("An hour has sixty minutes.",
         "How many minutes has an hour?", "Tell me how many minutes an hour has.",
         ("sixty", "60")),
        ("一個小時有六十分鐘。", "一個小時有幾分鐘？", "告訴我一個小時有幾分鐘。", ("六十", "60")),
    ),
    (
        ("A spider has eight legs.", "How many legs has a spider?", "Tell me how many legs a spider has.",
         ("eight", "8")),
        ("蜘蛛有八隻腳。", "蜘蛛有幾隻腳？", "告訴我蜘蛛有幾隻腳。", ("八", "8")),
    ),
    (
        ("An insect has six legs.", "How many legs has an insect?", "Tell me how many legs an insect has.",
         ("six", "6")),
        ("昆蟲有六隻腳。", "昆蟲有幾隻腳？", "告訴我昆蟲有幾隻腳。", ("六", "6")),
    ),
    (
        ("A triangle has three sides.", "How many sides has a triangle?",
         "Tell me how many sides a triangle has.", ("three", "3")),
        ("三角形有三個邊。", "三角形有幾個邊？", "告訴我三角形有幾個邊。", ("三個", "3")),
    ),
    (
        ("Water freezes at zero degrees Celsius.", "At how many degrees Celsius does water freeze?",
         "Tell me at how many degrees Celsius water freezes.", ("zero", "0")),
        ("水在攝氏零度結冰。", "水在攝氏幾度結冰？", "告訴我水在攝氏幾度結冰。", ("零度", "0")),
    ),
    (
        ("Water boils at one hundred degrees Celsius.", "At how many degrees Celsius does water boil?",
         "Tell me at how many degrees Celsius water boils.", ("hundred", "100")),
        ("水在攝氏一百度沸騰。", "水在攝氏幾度沸騰？", "告訴我水在攝氏幾度沸騰。", ("一百", "100")),
    ),
    (
        ("The sun rises in the east.", "Where does the sun rise?", "Tell me where the sun rises.", ("east",)),
        ("太陽從東邊升起。", "太陽從哪邊升起？", "告訴我太陽從哪邊升起。", ("東",)),
    ),
    (
        ("The sun sets in the west.", "Where does the sun set?", "Tell me where the sun sets.", ("west",)),
        ("太陽從西邊落下。", "太陽從哪邊落下？", "告訴我太陽從哪邊落下。", ("西",)),
    ),
    (
        ("Bees make honey.",
         "Which animals make honey?", "Tell me which animals make honey.", ("bees", "bee")),
        ("做蜂蜜的是蜜蜂。", "做蜂蜜的是什麼動物？", "什麼動物做蜂蜜？", ("蜜蜂",)),
    ),
    (
        ("Diamond is the hardest mineral.", "What is the hardest mineral?", "Which mineral is the hardest?",
         ("diamond",)),
        ("最硬的礦物是鑽石。", "最硬的礦物是什麼？", "什麼礦物最硬？", ("鑽石",)),
    ),
    (
        ("Gold has the sign Au.", "Which sign has gold?", "Tell me which sign gold has.", ("Au",)),
        ("金的符號是 Au。", "金的符號是什麼？", "什麼是金的符號？", ("Au",)),
    ),
    (
        ("Shakespeare wrote Hamlet.", "Who wrote Hamlet?", "Tell me who wrote Hamlet.", ("Shakespeare",)),
        ("寫哈姆雷特的人是莎士比亞。", "寫哈姆雷特的人是誰？", "誰是寫哈姆雷特的人？", ("莎士比亞",)),
    ),
    (
        ("The square of twelve is one hundred and forty-four.", "What is the square of twelve?",
         "Tell me the square of twelve.", ("forty-four", "144")),
        ("十二的平方是一百四十四。", "十二的平方是多少？", "告訴我十二的平方是多少。", ("一百四十四", "144")),
    ),
)  # fmt: skip


@lru_cache(maxsize=2)
def _table(lang: str) -> tuple[Text, ...]:
    return tuple(
        Text(pair[lang == "zh"][0], Origin("common", lang, f"c{i:02d}", f"c{i:02d}.{lang}"))
        for i, pair in enumerate(KNOWN)
    )


@lru_cache(maxsize=8)
def _questions(split: str, lang: str) -> tuple[Question, ...]:
    made = []
    for i, pair in enumerate(KNOWN):
        statement, plain, late, accept = pair[lang == "zh"]
        prompt, letter = (plain, "q") if split == "train" else (late, "t")
        origin = Origin("common", lang, f"c{i:02d}", f"c{i:02d}.{lang}.{letter}", split)
        made.append(Question(prompt, statement, accept, origin))
    return tuple(made)


def texts(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Text]:
    """One statement a document, each as likely."""
    return stream(n, every(_table, lang), world.seed, kind, split, lang or "", draw)


def chats(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> Iterator[Chat]:
    """One question and its reply."""
    table = every(partial(_questions, split), lang)
    return map(as_chat, stream(n, table, world.seed, kind, "chats", split, lang or "", draw))


def questions(world: World, kind: str, n: int, draw: int, split: str, lang: str | None) -> list[Question]:
    """Different questions in random order."""
    table = every(partial(_questions, split), lang)
    return shuffled(n, table, world.seed, kind, "questions", split, lang or "", draw)


def answer(world: World, prompt: str) -> str | None:
    """The oracle: the statement behind a question."""
    return _answers().get(prompt)


@lru_cache(maxsize=1)
def _answers() -> dict[str, str]:
    return replies(q for split in ("train", "test") for q in every(partial(_questions, split), None))


def law(world: World, kind: str, lang: str | None) -> Iterator[tuple[float, str]]:
    """(probability, document)."""
    return even(every(_table, lang))
