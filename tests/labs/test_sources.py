"""Which files a result depends on: a small package with every kind of import and every kind of edit."""

from pathlib import Path

import pytest

from jielong.base.errors import UserError
from jielong.base.result import Result
from jielong.labs.sources import code, combined, digest, sources, stale

FILES = {
    "__init__.py": "from jielong.base import never\n",
    "base/__init__.py": "",
    "base/never.py": "x = 1\n",
    "base/plain.py": "x = 1\n",
    "base/talk.py": "x = 1\n",
    "nets/__init__.py": "",
    "nets/top.py": "from ..base import plain\nimport math, json\n",
    "nets/lazy.py": "def f():\n    from jielong.nets import top\n    return top\n",
    "nets/other.py": "x = 1\n",
    "world/__init__.py": "",
    "world/world.py": "from importlib import import_module\n"
    "def f(k):\n    return import_module(f'jielong.world.{k}')\n",
    "world/facts.py": "from jielong.base.talk import x\n",
    "views/__init__.py": "",
    "views/html.py": "x = 1\n",
    "labs/__init__.py": "",
    "labs/toy.py": "import jielong.nets.lazy\nfrom jielong.views import html\nimport importlib\n"
    "importlib.import_module('jielong.world.world')\n",
}
EXPECTED = [
    "jielong/base/__init__.py",
    "jielong/base/plain.py",
    "jielong/labs/__init__.py",
    "jielong/labs/toy.py",
    "jielong/nets/__init__.py",
    "jielong/nets/lazy.py",
    "jielong/nets/top.py",
    "jielong/world/__init__.py",
    "jielong/world/facts.py",
    "jielong/world/world.py",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "jielong" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def made(root: Path) -> Result:
    return Result("toy", "Toy", (), meta={"sources": sources("jielong.labs.toy", root)})


def test_imports_are_followed_wherever_they_stand(root: Path) -> None:
    assert list(sources("jielong.labs.toy", root)) == EXPECTED


def test_what_only_shows_and_the_version_are_left_out(root: Path) -> None:
    found = sources("jielong.labs.toy", root)
    assert not {"jielong/__init__.py", "jielong/base/talk.py", "jielong/views/html.py"} & set(found)


def test_the_same_files_give_the_same_hashes_anywhere(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copy")
    (root / "jielong").rename(copy / "jielong")
    before = sources("jielong.labs.toy", copy)
    (copy / "jielong").rename(root / "jielong")
    assert sources("jielong.labs.toy", root) == before
    assert (
        combined(before) == combined(dict(reversed(before.items()))) != combined({**before, EXPECTED[0]: "0"})
    )


def test_nothing_is_stale_at_first_and_edits_are_named(root: Path) -> None:
    result = made(root)
    assert stale(result, root) == []
    (root / "jielong/base/plain.py").write_text("x = 2\n")
    (root / "jielong/nets/top.py").unlink()
    (root / "jielong/nets/other.py").write_text("x = 2\n")
    (root / "jielong/views/html.py").write_text("x = 2\n")
    assert stale(result, root) == ["jielong/base/plain.py", "jielong/nets/top.py"]


def test_an_import_put_together_from_a_name_means_the_modules_that_the_file_names(root: Path) -> None:
    result = made(root)
    world = root / "jielong/world"
    (world / "scenes.py").write_text("x = 1\n")
    assert "jielong/world/scenes.py" in sources("jielong.labs.toy", root)  # where none is named, all are meant
    before = (world / "world.py").read_text()
    (world / "world.py").write_text("KINDS = ['facts']\n" + before)
    named = sources("jielong.labs.toy", root)
    assert "jielong/world/facts.py" in named and "jielong/world/scenes.py" not in named
    recorded = Result("toy", "Toy", (), meta={"sources": {**named, "jielong/world/scenes.py": "0"}})
    assert stale(recorded, root) == [] and stale(result, root) == ["jielong/world/world.py"]


def test_staleness_survives_json(root: Path) -> None:
    result = Result.from_json(made(root).to_json())
    assert stale(result, root) == []


def test_words_about_code_are_not_code(root: Path) -> None:
    result = made(root)
    path = root / "jielong/nets/lazy.py"
    path.write_text(
        '"""A docstring\nof two lines."""\n\n# a remark\n'
        + path.read_text().replace("return top", "return top  # yes")
    )
    assert stale(result, root) == []
    path.write_text(path.read_text().replace("return top", "return [top]"))
    assert stale(result, root) == ["jielong/nets/lazy.py"]


def test_a_result_that_does_not_say_is_stale(root: Path) -> None:
    assert stale(Result("x", "X", ()), root) == ["?"]


def test_code_keeps_strings_that_only_look_like_remarks() -> None:
    text = 'x = "# not a remark"  # a remark\ndef f(): "one line"; return 1\n'
    text += 'class A:\n    """doc"""\n    y = """kept"""\n'
    assert code(text) == 'x = "# not a remark"\ndef f(): "one line"; return 1\nclass A:\n    y = """kept"""'


def test_a_docstring_beside_a_statement_does_not_take_it_along() -> None:
    assert "y = 2" in code('def f():\n    """doc"""; y = 2\n    return y\n')


def test_two_different_programs_have_two_hashes(tmp_path: Path) -> None:
    for index, text in enumerate(["x = 1\n", "x = 2\n", "x = '#1'\n", "x = '#2'\n", ""]):
        (tmp_path / f"{index}.py").write_text(text)
    hashes = [digest(tmp_path / f"{index}.py") for index in range(5)]
    assert len(set(hashes)) == 5 and digest(tmp_path / "none.py") == "" not in hashes


def test_wrong_input_is_one_line(root: Path) -> None:
    with pytest.raises(UserError, match=r"no module jielong\.labs\.none"):
        sources("jielong.labs.none", root)
    (root / "jielong/nets/top.py").write_text("def (:\n")
    with pytest.raises(UserError, match=r"top\.py is not Python"):
        sources("jielong.labs.toy", root)


def test_the_package_itself_can_be_read() -> None:
    found = sources("jielong.labs.lab")
    assert "jielong/base/result.py" in found and "jielong/labs/lab.py" in found
    assert not any("views" in path for path in found)
