# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The index page as text: what is drawn, and that nothing from the data becomes markup."""

from __future__ import annotations

import copy
import re
import typing as t
from xml.etree import ElementTree

import index_page
import pytest
import yaml

SVG = re.compile(r'<svg viewBox="0 0 440.*?</svg>', re.DOTALL)


def _drawings(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in SVG.findall(page)]


def _words(drawing: ElementTree.Element) -> list[str]:
    return [text.text.strip() for text in drawing.iter("text") if text.text and text.text.strip()]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_site_has_a_drawing_of_its_stack(language: str) -> None:
    texts = index_page.texts(language)
    drawings = list(map(_words, _drawings(index_page.render(language))))
    prefork, event, monolith, services, proxy, cgi, fcgiwrap, fastcgi, scgi, perl = drawings
    assert "Apache" in prefork
    assert "MPM prefork" in prefork
    assert prefork.count("PHP") > 1
    assert {"Apache", "MPM event", "fastcgi · unix", "PHP-FPM"} <= set(event)
    assert {"nginx", "uwsgi · tcp", "uWSGI"} <= set(monolith)
    assert services.count("uwsgi · unix") == 3
    assert {"web", "catalog", "reviews", "http · unix"} <= set(services)
    # One behind the other: nginx, Apache, PHP-FPM.
    ways = ["nginx", "http · tcp", "Apache", "fastcgi · unix", "PHP-FPM"]
    assert [word for word in proxy if word in ways] == ways
    assert {"cgi · fork, exec", "gitweb", texts["started_cgi"], "MPM prefork"} <= set(cgi)
    assert {"nginx", "fastcgi · unix", "fcgiwrap", texts["backend_fcgiwrap"]} <= set(fcgiwrap)
    assert fastcgi.count("fastcgi · unix") == 2
    assert {"gitweb", "whoami"} <= set(fastcgi)
    assert {"Apache", "scgi · unix", "aioscgi"} <= set(scgi)
    assert perl.count("Perl") == 7


@pytest.mark.parametrize("language", ["en", "ru"])
def test_all_boxes_and_processes_lie_inside_the_picture(language: str) -> None:
    for drawing in _drawings(index_page.render(language)):
        _x, _y, width, height = map(float, drawing.get("viewBox", "").split())
        for box in drawing.iter("rect"):
            if box.get("x") is None:
                continue
            assert 0 <= float(box.get("x", 0)) <= float(box.get("x", 0)) + float(box.get("width", 0)) <= width
            assert 0 <= float(box.get("y", 0)) <= float(box.get("y", 0)) + float(box.get("height", 0)) <= height


def test_nothing_comes_from_elsewhere() -> None:
    page = index_page.render("en")
    assert re.findall(r'(?:src|href)="(?!http://localhost:8\d{3}/)([^"]+)"', page) == [
        "icon.svg",
        "lab.css",
        "index.css",
        "lab.js",
        "index.js",
    ]
    assert "<style" not in page
    assert " style=" not in page
    assert not re.search(r"<[^>]* on\w+=", page)
    for name in ("lab.css", "index.css", "lab.js", "index.js", "icon.svg"):
        text = (index_page.ROLE / "files/page" / name).read_text("utf-8")
        assert not re.search(r"(https?:)?//(?!www\.(gnu|w3)\.org/)[a-z]", re.sub(r"(?m)^//.*$", "", text)), name


@pytest.mark.parametrize("field", ["site", "title"])
def test_data_is_escaped(field: str) -> None:
    sites: list[dict[str, t.Any]] = copy.deepcopy(index_page.SITES)
    evil = '"><script>alert(1)</script>'
    for site in sites:
        site[field] = evil
        for page in site["whoami"]:
            page["name"] = evil
        site["whoami"][0]["calls"] = []
        site["endpoints"][-1]["endpoint"]["protocol"] = evil
    page = index_page.render("en", sites)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_pages_of_the_lecture_are_linked_by_their_ports() -> None:
    evil = '"><script>alert(1)</script>'
    page = index_page.render("en", pages=[*index_page.PAGES, {"title": evil, "lead": evil, "port": 1, "path": evil}])
    assert '<a data-port="8111" data-path="/" href="http://localhost:8111/">A web server, step by step</a>' in page
    assert page.count("<li><a data-port") == 2
    assert "<script>" not in page
    assert "<nav" not in index_page.render("en", pages=[])


def test_a_page_has_the_links_of_its_sites() -> None:
    sites = [{"site": "wsgi-<b>", "endpoint": {"protocol": "http", "host": "0.0.0.0", "port": 8107}}]
    page = index_page.render("en", pages=[{**index_page.PAGES[0], "sites": sites}])
    assert 'href="http://localhost:8107/"><code>wsgi-&lt;b&gt;</code> :8107</a>' in page
    assert index_page.render("en").count('class="site"') == 0


def test_every_site_of_the_lab_is_on_its_index_page_once() -> None:
    lab = yaml.safe_load((index_page.ROLES.parent / "inventories/lab/group_vars/weblab.yml").read_text("utf-8"))
    shown = [site["site"] for site in lab["demo_index_sites"]]
    shown += [site for page in lab["demo_index_pages"] for site in page.get("sites", [])]
    assert sorted(shown) == sorted(site["name"] for site in lab["weblab_sites"])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_text_of_the_catalogue_is_without_use(language: str) -> None:
    template = (index_page.ROLE / "templates/index.html.j2").read_text("utf-8")
    direct = set(re.findall(r"texts\.(\w+)", template))
    indirect = {f"role_{role}" for role in ("front", "backend", "internal")}
    indirect |= {f"started_{gateway}" for gateway in ("cgi", "fcgid", "mod_wsgi")}
    indirect |= {f"backend_{name}" for name in ("php_fpm", "uwsgi", "emperor", "app_service", "fcgiwrap")}
    facts = {"pid", "ppid", "user", "sapi", "gateway", "socket", "stacks"}
    assert set(index_page.texts(language)) == direct | indirect | facts
