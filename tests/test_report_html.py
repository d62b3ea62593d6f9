"""The report: one file that needs no other, says what the analysis says, and runs nothing but its own script."""

import base64
import dataclasses
import datetime
import hashlib
import io
import re
from html.parser import HTMLParser

import analyses
import numpy as np
import pytest
from PIL import Image
from volumes import CODES

from brainjax.infer.analysis import Stage
from brainjax.infer.scan import Scan
from brainjax.report import html
from brainjax.report.hanging import Hanging
from brainjax.report.html_script import SCRIPT
from brainjax.types import DataError

WHEN = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\0\ud800"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.script, self.open = [], [], "", []
        self.feed(text)
        self.close()
        self.all = " ".join(" ".join(self.text).split())

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        self.open.append(name)

    def handle_endtag(self, name):
        while self.open and self.open.pop() != name:
            pass

    def handle_data(self, data):
        if "script" in self.open:
            self.script += data
        elif "style" not in self.open:
            self.text.append(data)

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    def values(self, attribute):
        return [a[attribute] for _, a in self.tags if attribute in a]


def draw(analysis):
    return Page(html.page(analysis, WHEN))


def check(page):
    """What holds of every report."""
    assert len(page.named("script")) == 1 and page.script == SCRIPT
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(page.values("for")) <= set(ids)
    for link in page.values("src") + page.values("href"):
        assert link.startswith("data:image/jpeg;base64,") or link[1:] in ids
    assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)]
    assert {"Research use only"} <= set(page.text)
    (policy,) = [a["content"] for a in page.named("meta") if "http-equiv" in a]
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_it_says_what_was_found():
    analysis = analyses.make("LPI", "isotropic")
    page = draw(analysis)
    check(page)
    assert page.all.count("case_1") >= 2 and "2026-01-02 03:04" in page.all
    for words in (
        "t1 is missing",
        "two affines differ",
        "strip_unet",
        "without t1",
        "not asked for",
    ):
        assert words in page.all
    (lesion,) = analysis.lesions
    found = lesion.diameters
    assert f"{found.longest_mm:.1f} × {found.perpendicular_mm:.1f}" in page.all
    assert f"{lesion.volume_ml:.2f} ml" in page.all
    assert f"{lesion.regions_ml['ET']:.2f} ml" in page.all
    assert "left, 6 mm from the middle" in page.all
    for p in ("90 %", "70 %", "30 %", "10 %"):
        assert p in page.text
    for fact in ("made up", "CC0", "12,345", "dice mean 0.8765"):
        assert fact in page.all
    assert "patient_1" not in page.all  # of whom a model has seen only the number matters
    assert re.search(r"brainjax \d.*jax \d", page.all)


def test_the_two_ways_may_disagree():
    classes = {"slices": {"glioma": 0.9, "healthy": 0.1}, "volume": {"glioma": 0.2, "healthy": 0.8}}
    assert "do not agree" not in draw(analyses.make()).all
    page = draw(analyses.make(classes=classes))
    assert "The two ways do not agree" in page.all and "class, 3D network" in page.all


def test_the_answer_need_not_be_the_most_probable_class():
    page = draw(analyses.make(answers={"slices": "healthy", "volume": "glioma"}))
    assert "The two ways do not agree" in page.all


def test_a_failed_stage_stands_at_the_top_once():
    page = draw(
        analyses.make(
            stages=(Stage("segment", "failed", note="out of memory"),),
            warnings=("segment failed: out of memory",),
        )
    )
    (place,) = [
        i for i, text in enumerate(page.text) if "out of memory" in text and "failed" in text
    ]
    assert "tumour segmentation failed" in page.text[place]
    assert place < page.text.index("Slices")


def test_every_contrast_is_in_every_slice_and_is_the_scan():
    analysis = analyses.make("LAS", "isotropic")
    page, hanging = draw(analysis), Hanging.of(analysis)
    images = page.named("image")
    of = {k: [a for a in images if a.get("class") == f"k{k}"] for k in range(2)}
    assert len(of[0]) == len(of[1]) >= 3 * 12 + 3
    picture = Image.open(io.BytesIO(base64.b64decode(of[1][0]["href"].partition(",")[2])))
    wanted = hanging.picture("flair", 2, hanging.spread(2, 12)[0])
    assert np.abs(np.asarray(picture).astype(int) - wanted).mean() < 6
    assert [a["id"] for a in page.named("input") if a["type"] == "radio"] == [
        "k0",
        "k1",
        "p0",
        "p1",
        "p2",
    ]
    assert {a["id"] for a in page.named("input") if a["type"] == "checkbox"} == {
        *("o-brain", "o-wt", "o-tc", "o-et"),
        "fill",
    }


def test_meshes_can_be_read_by_the_script():
    page = draw(analyses.make())
    meshes = [a for a in page.named("span") if a.get("class") == "mesh"]
    assert len(meshes) == 4  # from the inside out
    assert [float(a["data-opacity"]) for a in meshes][0] == 1
    for a in meshes:
        place, normal, face = (
            np.frombuffer(base64.b64decode(a[f"data-{name}"]), kind)
            for name, kind in (("place", np.uint16), ("normal", np.int8), ("face", np.uint16))
        )
        assert (
            len(place) == len(normal) and len(face) % 3 == 0 and face.max() == len(place) // 3 - 1
        )


def test_hostile_texts_do_nothing(tmp_path):
    analysis = analyses.make()
    scan = Scan(HOSTILE, {HOSTILE: analysis.scan.first}, (HOSTILE,))
    facts = {"dataset": HOSTILE, "metrics": {HOSTILE: HOSTILE}, "classes": [HOSTILE]}
    analysis = dataclasses.replace(
        analysis,
        scan=scan,
        classes={HOSTILE: {HOSTILE: 0.5, "javascript:alert(1)": 0.5}},
        pictures={HOSTILE: next(iter(analysis.pictures.values()))},
        warnings=(HOSTILE,),
        stages=(Stage(HOSTILE, HOSTILE, HOSTILE, 1.0, HOSTILE, facts),),
    )
    page = draw(analysis)
    check(page)
    assert not page.named("img") or all("onerror" not in a for a in page.named("img"))
    plain = draw(analyses.make(stages=(Stage("a", "done", "b", 1.0, "c", FACTS_LIKE),)))
    assert {name for name, _ in page.tags} == {name for name, _ in plain.tags}
    assert page.all.count("<script>alert(1)</script>") >= 8  # as text
    html.write(tmp_path / "report.html", analysis)
    assert "\0" not in (tmp_path / "report.html").read_text(encoding="utf-8")


FACTS_LIKE = {"dataset": "x", "metrics": {"y": "z"}, "classes": ["c"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"brain": None},
        {"tumour": None, "lesions": ()},
        {"brain": None, "tumour": None, "lesions": (), "classes": {}, "pictures": {}},
        {"probability": None},
        {"uncertainty": None, "classes": {"slices": {}}},
        {"stages": (), "warnings": ()},
    ],
)
def test_any_part_may_be_missing(changes):
    check(draw(analyses.make(**changes)))


def test_nothing_found_is_said():
    analysis = analyses.make(lesions=())
    empty = analysis.tumour.with_data(np.zeros_like(analysis.tumour.data))
    page = draw(dataclasses.replace(analysis, tumour=empty, probability=empty, uncertainty=empty))
    check(page)
    assert "none found" in page.text


def test_a_tumour_of_one_class_has_one_region():
    analysis = analyses.make()
    one = analysis.tumour.with_data((analysis.tumour.data > 0).astype(np.uint8))
    page = draw(dataclasses.replace(analysis, tumour=one, regional=False, lesions=()))
    check(page)
    assert "whole tumour (WT)" in page.all and "enhancing tumour" not in page.all


@pytest.mark.parametrize("size", [(24, 20, 1), (5, 5, 5), (9, 30, 2)])
def test_pictures_and_crumbs_are_no_volumes(size):
    check(draw(analyses.flat(size)))


@pytest.mark.parametrize("codes", CODES[7::20])
def test_every_orientation_looks_the_same(codes):
    """The same head in another order of voxels: the same numbers, the same outlines."""
    first = draw(analyses.make("RAS", "isotropic"))
    other = draw(analyses.make(codes, "isotropic"))
    lengths = [re.findall(r"\d+\.\d × \d+\.\d", page.all) for page in (first, other)]
    assert len(lengths[0]) == len(lengths[1]) > 3
    for a, b in zip(*lengths, strict=True):
        a, b = (np.array(x.split(" × "), float) for x in (a, b))
        np.testing.assert_allclose(a, b, atol=1.5)


def test_it_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    html.write(path, analyses.flat())
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(DataError, match="cannot be written"):
        html.write(tmp_path / "missing" / "report.html", analyses.flat())
