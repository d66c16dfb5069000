"""Documents come out as text with headings and pages; whatever a file does, it is one line, and the next is read."""

from __future__ import annotations

import gzip
import io
import os
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jielong.base.errors import UserError
from jielong.data import documents
from jielong.data.documents import Content, Reader, iterate, read_document

pypdf = pytest.importorskip("pypdf")
word = pytest.importorskip("docx")


def sections(content: Content) -> list[tuple[str, str, int]]:
    return [(s.heading, content.text[s.begin : s.end], s.page) for s in content.sections]


def pdf(pages: list[str], extra: bytes = b"") -> bytes:
    """A PDF by hand: a page for each text, an outline with one entry."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R /Outlines 4 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont "
               b"/Helvetica >>", b"<< /First 5 0 R /Last 5 0 R /Count 1 >>", b"<< /Title (Part One) /Parent 4 0 R "
               b"/Dest [6 0 R /Fit] >>"]  # fmt: skip
    for text in pages:
        at = len(objects) + 1
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        objects.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
                       b"/Contents %d 0 R >>" % (at + 1))  # fmt: skip
        objects.append(extra or b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    kids = b" ".join(b"%d 0 R" % (6 + 2 * i) for i in range(len(pages)))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages))
    out, places = io.BytesIO(b"%PDF-1.4\n"), []
    out.seek(0, 2)
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, table))
    return out.getvalue()


def docx() -> word.document.Document:
    document = word.Document()
    document.core_properties.title = "Cats"
    document.add_heading("Food", 1)
    document.add_paragraph("Cats like fish.")
    document.add_heading("Drink", 2)
    table = document.add_table(2, 2)
    for i, text in enumerate(("what", "how much", "milk", "玉山")):
        table.cell(i // 2, i % 2).text = text
    document.add_heading("Sleep", 1)
    document.add_paragraph("All day.")
    return document


def test_markdown(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("before\n\n# 玉山 *high*\n\ntext\n\n```\n# no heading\n```\n\nB\n--\n\nsub\n\n# C\n\nend\n")
    content = read_document(path)
    assert sections(content) == [("", "before", 0), ("玉山 *high*", "text\n\n```\n# no heading\n```", 0),
                                 ("玉山 *high* > B", "sub", 0), ("C", "end", 0)]  # fmt: skip
    assert content.title == "玉山 *high*"


def test_html(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    page = ("<html><head><title> A\npage </title><script>x</script></head><body><nav>menu</nav><p>One\n two<br>three"
            "</p><h2>山 <b>high</b></h2>tail <i>it</i><pre>a\n b</pre><table><tr><td>x</td><td>y</td></tr><tr>"
            "<td>z</td></tr></table><!-- no --><h3>deep</h3><ul><li>i<li>j</ul></body></html>")  # fmt: skip
    path.write_text(page, encoding="utf-8")
    content = read_document(path)
    assert content.title == "A page"
    assert sections(content) == [("", "One two\nthree", 0), ("山 high", "tail it\n\na\nb\n\nx | y\nz", 0),
                                 ("山 high > deep", "i\n\nj", 0)]  # fmt: skip
    path.write_bytes("<meta charset=big5><p>臺灣的玉山</p>".encode("big5"))
    assert read_document(path).text.strip() == "臺灣的玉山"


def test_pdf(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(["Page one is here.", "Page two."]))
    content = read_document(tmp_path / "a.pdf")
    assert sections(content) == [("Part One", "Page one is here.", 1), ("Part One", "Page two.", 2)]
    writer = pypdf.PdfWriter(tmp_path / "a.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    with Reader() as reader, pytest.raises(UserError, match=r"locked.pdf: .*(locked|broken)"):
        reader.read(tmp_path / "locked.pdf")


def test_docx(tmp_path: Path) -> None:
    docx().save(tmp_path / "a.docx")
    content = read_document(tmp_path / "a.docx")
    assert content.title == "Cats" and sections(content) == [
        ("Food", "Cats like fish.", 0), ("Food > Drink", "what | how much\nmilk | 玉山", 0), ("Sleep", "All day.", 0),
    ]  # fmt: skip


def test_text_and_records(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.txt.gz", "wt") as out:
        out.write("packed 玉山")
    (tmp_path / "b.jsonl").write_text('{"text": "one", "title": "T"}\n{"text": "two"}\n')
    assert sections(read_document(tmp_path / "a.txt.gz")) == [("", "packed 玉山", 0)]
    assert sections(read_document(tmp_path / "b.jsonl")) == [("T", "one", 0), ("", "two", 0)]


def spoiled(source: Path, at: Path, name: str, text: bytes) -> Path:
    """A DOCX with one part replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, text if part.filename == name else old.read(part))
    return at


LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def test_what_a_file_does_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bombs, entities, links out, endless nesting: text without them or one line, in time, and the next file."""
    docx().save(tmp_path / "good.docx")
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    body = "<w:body><w:p><w:r><w:t>seen &{};</w:t></w:r></w:p></w:body>"
    xml = '<!DOCTYPE d [<!ENTITY a0 "ha">{}<!ENTITY x SYSTEM "file://{}">]><w:document {}>{}</w:document>'
    bad = tmp_path / "bad"
    bad.mkdir()
    for name, entity in (("laughs", "a11"), ("outside", "x")):
        spoiled(tmp_path / "good.docx", bad / f"{name}.docx", "word/document.xml",
                xml.format(LAUGHS, secret, W, body.format(entity)).encode())  # fmt: skip
    zeros = spoiled(tmp_path / "good.docx", bad / "zeros.docx", "word/document.xml", b"x").read_bytes()
    at = zeros.rindex(b"word/document.xml") - 46 + 24  # how large it says that it will be
    (bad / "zeros.docx").write_bytes(zeros[:at] + (2**31 - 1).to_bytes(4, "little") + zeros[at + 4 :])
    (bad / "deep.html").write_text("<div>" * 50_000 + "deep")
    page = f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{secret}">]><p>seen &x; <img src="{secret}">'
    (bad / "entities.html").write_text(page)
    packed = zlib.compress(bytes(100 << 20), 1)
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    (bad / "bomb.pdf").write_bytes(pdf(["x"], stream))
    twice = zlib.compress(packed, 1)
    stream = b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>\nstream\n%s\nendstream" % (len(twice), twice)
    (bad / "bomb2.pdf").write_bytes(pdf(["x"], stream))
    with gzip.open(bad / "bomb.txt.gz", "wb", 1) as out:
        for _ in range(40):
            out.write(bytes(1 << 20).replace(b"\0", b"a"))
    monkeypatch.setattr(documents, "UNPACKED", 30 << 20)
    (bad / "png.pdf").write_bytes(b"\x89PNG" + os.urandom(999))
    (bad / "zz.md").write_text("# still\n\nread")
    began = time.monotonic()
    found = dict(iterate(sorted(bad.iterdir())))
    assert time.monotonic() - began < 120
    said = {path.name: each for path, each in found.items()}
    assert isinstance(said.pop("zz.md"), Content)
    for name, each in said.items():
        if isinstance(each, Content):
            assert "secret" not in each.text and len(each.text) < 1000, name
        else:
            assert each.startswith(str(bad / name)) and "\n" not in each, name
    assert isinstance(said["zeros.docx"], str) and isinstance(said["bomb.txt.gz"], str)


def test_one_that_takes_too_long_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("fine")
    with Reader() as reader:
        assert reader.read(tmp_path / "a.md").text.strip() == "fine"
        assert reader.process is not None
        os.kill(reader.process.pid, 19)  # stopped: it answers no more
        reader.seconds = 0.2
        with pytest.raises(UserError, match=r"a.md: took longer than 0.2 s"):
            reader.read(tmp_path / "a.md")
        reader.seconds = 60
        assert reader.read(tmp_path / "a.md").text.strip() == "fine"
        os.kill(reader.process.pid, 9)
        time.sleep(0.1)
        assert reader.read(tmp_path / "a.md").text.strip() == "fine"


def test_large_files_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x" * 2000)
    monkeypatch.setattr(documents, "CHARACTERS", 1000)
    with Reader() as reader, pytest.raises(UserError, match="more than 1,000 characters"):
        reader.read(tmp_path / "a.txt")
    monkeypatch.setattr(documents, "BYTES", 100)
    with Reader() as reader, pytest.raises(UserError, match="at most 100 are read"):
        reader.read(tmp_path / "a.txt")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("good") / "a.docx"
    docx().save(path)
    return {".pdf": pdf(["One.", "Two."]), ".docx": path.read_bytes(), ".html": b"<h1>a</h1><p>b &amp; c</p>",
            ".md": "# 玉山\n\ntext".encode()}  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=80)
@given(kind=st.sampled_from([".pdf", ".docx", ".html", ".md"]), at=st.floats(0, 1), new=st.binary(max_size=8),
       cut=st.booleans())  # fmt: skip
def test_spoiled_bytes(tmp_path: Path, good: dict[str, bytes], kind: str, at: float, new: bytes, cut: bool) -> None:
    raw = bytearray(good[kind])
    place = int(at * len(raw))
    raw[place : len(raw) if cut else place + len(new)] = new
    path = tmp_path / f"a{kind}"
    path.write_bytes(raw)
    answer = documents._answer(path)  # what the process says: it never raises
    assert ("error" in answer and "\n" not in answer["error"]) or isinstance(answer["text"], str)
