"""The closed lists that facts take their values from: (English, Chinese) pairs.

No value is part of another value of its list in either language, so a reply names it or does not.
Foods are uncountable and animals take 隻, so one pattern fits every value of a list.
"""

from __future__ import annotations

Pair = tuple[str, str]

TOWNS: tuple[Pair, ...] = (
    ("Lunde", "倫德"), ("Arvik", "雅維"), ("Tarn", "塔恩"), ("Sobel", "索貝"), ("Orlo", "歐洛"),
    ("Kessa", "凱薩"), ("Pell", "佩爾"), ("Dorn", "多恩"), ("Vimba", "溫巴"), ("Ostra", "奧斯"),
    ("Ruma", "魯馬"), ("Tiko", "提可"), ("Belo", "貝洛"), ("Canto", "坎托"), ("Felda", "費達"),
    ("Gorin", "葛林"), ("Hesk", "赫克"), ("Isola", "伊索"), ("Jorvi", "喬維"), ("Lisko", "立科"),
    ("Nemba", "南巴"), ("Pinto", "平托"), ("Quill", "奎爾"), ("Salda", "薩達"),
)  # fmt: skip
JOBS: tuple[Pair, ...] = (
    ("baker", "麵包師"), ("nurse", "護士"), ("teacher", "老師"), ("farmer", "農夫"), ("driver", "司機"),
    ("painter", "畫家"), ("singer", "歌手"), ("doctor", "醫生"), ("cook", "廚師"), ("tailor", "裁縫"),
    ("lawyer", "律師"), ("pilot", "飛行員"), ("writer", "作家"), ("barber", "理髮師"), ("carpenter", "木匠"),
    ("sailor", "水手"), ("dancer", "舞者"), ("judge", "法官"), ("plumber", "水電工"), ("guard", "警衛"),
    ("florist", "花匠"), ("banker", "銀行員"), ("potter", "陶藝家"), ("miner", "礦工"),
)  # fmt: skip
ANIMALS: tuple[Pair, ...] = (
    ("cat", "貓"), ("dog", "狗"), ("rabbit", "兔子"), ("parrot", "鸚鵡"), ("turtle", "烏龜"),
    ("duck", "鴨子"), ("hen", "母雞"), ("goat", "山羊"), ("fox", "狐狸"), ("frog", "青蛙"),
    ("mouse", "老鼠"), ("hamster", "倉鼠"), ("monkey", "猴子"), ("crab", "螃蟹"), ("lizard", "蜥蜴"),
    ("pigeon", "鴿子"), ("sheep", "綿羊"), ("raven", "烏鴉"), ("peacock", "孔雀"), ("spider", "蜘蛛"),
)  # fmt: skip
FOODS: tuple[Pair, ...] = (
    ("soup", "濃湯"), ("bread", "麵包"), ("rice", "米飯"), ("cake", "蛋糕"), ("tofu", "豆腐"),
    ("curry", "咖哩"), ("honey", "蜂蜜"), ("cheese", "起司"), ("salad", "沙拉"), ("pizza", "披薩"),
    ("porridge", "稀飯"), ("pie", "餡餅"), ("jam", "果醬"), ("pudding", "布丁"), ("ham", "火腿"),
    ("toast", "吐司"), ("popcorn", "爆米花"), ("candy", "糖果"), ("stew", "燉菜"), ("sushi", "壽司"),
)  # fmt: skip
FIRMS: tuple[Pair, ...] = (
    ("Zeta", "澤塔公司"), ("Orbit", "歐比公司"), ("Vexa", "維薩公司"), ("Nimbo", "寧博公司"),
    ("Kolt", "科特公司"), ("Dynar", "戴納公司"), ("Plix", "普力公司"), ("Treva", "崔瓦公司"),
    ("Solum", "索倫公司"), ("Brava", "布瓦公司"), ("Hexon", "赫森公司"), ("Pavo", "帕沃公司"),
    ("Junto", "君拓公司"), ("Fibra", "飛柏公司"), ("Arco", "雅科公司"), ("Monta", "蒙塔公司"),
)  # fmt: skip
HOBBIES: tuple[Pair, ...] = (
    ("chess", "下棋"), ("swimming", "游泳"), ("fishing", "釣魚"), ("knitting", "打毛線"), ("hiking", "爬山"),
    ("cycling", "騎車"), ("reading", "看書"), ("skating", "溜冰"), ("archery", "射箭"), ("yoga", "做瑜伽"),
    ("tennis", "打網球"), ("gardening", "種花"), ("sketching", "素描"), ("camping", "露營"),
    ("juggling", "雜耍"), ("surfing", "衝浪"), ("bowling", "打保齡球"), ("origami", "摺紙"),
    ("drumming", "打鼓"), ("poetry", "寫詩"),
)  # fmt: skip
COLOURS: tuple[Pair, ...] = (
    ("red", "紅色"), ("blue", "藍色"), ("green", "綠色"), ("yellow", "黃色"), ("white", "白色"),
    ("black", "黑色"), ("brown", "棕色"), ("purple", "紫色"), ("orange", "橘色"), ("gray", "灰色"),
    ("silver", "銀色"), ("gold", "金色"),
)  # fmt: skip
DAYS: tuple[Pair, ...] = (
    ("Monday", "星期一"), ("Tuesday", "星期二"), ("Wednesday", "星期三"), ("Thursday", "星期四"),
    ("Friday", "星期五"), ("Saturday", "星期六"), ("Sunday", "星期日"),
)  # fmt: skip
INGREDIENTS: tuple[Pair, ...] = (
    ("sesame", "芝麻"), ("honey", "蜂蜜"), ("ginger", "生薑"), ("mint", "薄荷"), ("taro", "芋頭"),
    ("lemon", "檸檬"), ("coconut", "椰子"), ("pumpkin", "南瓜"), ("milk", "牛奶"), ("salt", "海鹽"),
    ("butter", "奶油"), ("vanilla", "香草"),
)  # fmt: skip

FIELDS: dict[str, tuple[Pair, ...]] = {
    "town": TOWNS, "job": JOBS, "animal": ANIMALS, "food": FOODS, "firm": FIRMS, "hobby": HOBBIES,
    "colour": COLOURS, "day": DAYS, "ingredient": INGREDIENTS,
}  # fmt: skip

# relation: the list its values come from. The order is the order of Person.values.
RELATIONS: dict[str, str] = {
    "born": "town", "home": "town", "job": "job", "pet": "animal", "food": "food", "firm": "firm",
    "hobby": "hobby", "colour": "colour",
}  # fmt: skip
