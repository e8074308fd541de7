# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The book shop on both WSGI stacks: the same functions, in one process and through sockets."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from visitor import Visitor, on_host, url_of

SHOPS = ["shop", "shop-services"]
USERS = {"shop": ["shop"], "shop-services": ["shop-web", "shop-catalog", "shop-reviews"]}
CODE = "/srv/weblab/shop"


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visitor(shop: str) -> Visitor:
    return Visitor(url_of(shop))


def _slugs(page: str) -> list[str]:
    return sorted(set(re.findall(r'href="/books/([\w-]+)/"', page)))


@pytest.mark.parametrize(
    "path", ["/", "/catalog/", "/reviews/", "/pages/about/", "/books/moby-dick/", "/catalog/moby-dick/"]
)
def test_every_page_is_served(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status == 200
    assert 'role="alert"' not in answer.text


def test_both_bodies_offer_the_same_books() -> None:
    pages = [Visitor(url_of(shop)).get("/").text for shop in SHOPS]
    assert _slugs(pages[0]) == _slugs(pages[1])
    assert len(_slugs(pages[0])) >= 8


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "shop.example.org", "192.0.2.1:8443"])
def test_answers_to_every_name(visitor: Visitor, name: str) -> None:
    assert visitor.get("/", Host=name).status == 200


def test_foot_of_the_page_names_the_processes(shop: str, visitor: Visitor) -> None:
    foot = visitor.get("/").text.partition("<footer>")[2]
    pids = re.findall(r"<code>(\d+)</code>", foot)
    users = [on_host("ps", "-o", "user=", "-p", pid).strip() for pid in pids]
    if shop == "shop":
        assert set(users) == {"shop"}
    else:
        assert sorted(users) == ["shop-catalog", "shop-reviews", "shop-web"]
        sockets = re.findall(r"<code>(/run/[^<]+)</code>", foot)
        assert len(sockets) == 2
        for path in sockets:
            assert on_host("stat", "-c", "%F %a", path).split()[-1] == "660"


def test_links_of_a_part_stay_below_its_prefix(visitor: Visitor) -> None:
    page = visitor.get("/catalog/").text
    assert 'href="/catalog/moby-dick/"' in page
    assert 'href="/moby-dick/"' not in page


def test_search(visitor: Visitor) -> None:
    page = visitor.get("/catalog/?q=1851-no-such").text
    assert "/catalog/moby-dick/" not in page


def test_review_is_published_and_escaped(shop: str, visitor: Visitor) -> None:
    nonce = f"<b>{uuid.uuid4().hex}</b>"
    form = visitor.get("/books/frankenstein/").fields()
    escaped = nonce.replace("<", "&lt;").replace(">", "&gt;")
    try:
        answer = visitor.post("/books/frankenstein/", form | {"name": "Lab", "stars": "5", "text": nonce})
        assert answer.status == 200, answer.text
        assert escaped in answer.text
        assert nonce not in answer.text
        assert escaped in visitor.get("/reviews/").text
    finally:
        database = USERS[shop][-1].replace("-", "_")
        on_host("mariadb", database, "-e", f"delete from reviews_review where text = '{nonce}'")


def test_form_without_token_is_refused(visitor: Visitor) -> None:
    answer = visitor.post("/books/frankenstein/", {"name": "Lab", "stars": "5", "text": "x"})
    assert answer.status == 403
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("part", ["catalog/api/books", "reviews/api/ratings", "reviews/api/add"])
def test_calls_are_not_for_visitors(visitor: Visitor, part: str) -> None:
    assert visitor.post(f"/{part}", {}).status == 404
    assert visitor.post(f"/{part}", {}, UWSGI_ROUTER="http", X_Forwarded_For="127.0.0.1").status == 404


def test_unknown_page_shows_no_debugging(visitor: Visitor) -> None:
    answer = visitor.get("/no/such/page")
    assert answer.status == 404
    assert "DEBUG" not in answer.text
    assert "urlpatterns" not in answer.text


def test_static_files_come_from_the_front_server(visitor: Visitor) -> None:
    for path in ("/static/shop.css", "/static/admin/css/base.css", "/static/admin/js/vendor/jquery/jquery.js"):
        answer = visitor.get(path)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(("text/css", "application/javascript", "text/javascript"))


@pytest.mark.parametrize(
    ("shop", "user", "prefix"),
    [
        ("shop", "shop", "/admin/"),
        ("shop-services", "shop-web", "/admin/"),
        ("shop-services", "shop-catalog", "/catalog/admin/"),
        ("shop-services", "shop-reviews", "/reviews/admin/"),
    ],
)
def test_administrator_logs_in(shop: str, user: str, prefix: str) -> None:
    visitor = Visitor(url_of(shop))
    password = on_host("cat", f"/etc/weblab/shop/{user}.admin").strip()
    login = f"{prefix}login/?next={prefix}"
    form = visitor.get(login).fields()
    assert f'action="{prefix}login/' in visitor.get(login).text
    refused = visitor.post(login, form | {"username": "admin", "password": "wrong"})
    assert refused.url.partition("?")[0].endswith("/login/")
    answer = visitor.post(login, visitor.get(login).fields() | {"username": "admin", "password": password})
    assert answer.url == f"{visitor.base}{prefix}"
    assert answer.status == 200


def test_services_cannot_write_code_nor_read_each_others_keys(shop: str) -> None:
    url_of(shop)
    for user in USERS[shop]:
        assert on_host("runuser", "-u", user, "--", "find", CODE, "-writable", "-not", "-type", "l") == ""
        others = {"shop", "shop-web", "shop-catalog", "shop-reviews"} - {user}
        for other in others:
            script = f"! runuser -u {user} -- cat /etc/weblab/shop/{other}.key"
            on_host("sh", "-c", f"test ! -e /etc/weblab/shop/{other}.key || {{ {script} 2>/dev/null; }}")


def test_each_service_has_a_database_of_its_own() -> None:
    url_of("shop-services")
    for user, foreign in (("shop-web", "shop_catalog"), ("shop-catalog", "shop_reviews"), ("shop-reviews", "shop_web")):
        own = user.replace("-", "_")
        assert "django_migrations" in on_host("runuser", "-u", user, "--", "mariadb", own, "-Ne", "show tables")
        with pytest.raises(AssertionError, match="denied"):
            on_host("runuser", "-u", user, "--", "mariadb", foreign, "-Ne", "show tables")


def test_the_applications_own_tests_pass_on_the_hosts_django() -> None:
    url_of("shop")
    script = f"cd {CODE} && PYTHONDONTWRITEBYTECODE=1 runuser -u nobody -- python3 manage.py test 2>&1"
    assert re.search(r"^OK$", on_host("sh", "-c", script), re.MULTILINE)


def test_messages_on_the_host_are_the_catalogue() -> None:
    url_of("shop")
    assert json.loads(on_host("cat", f"{CODE}/messages.json"))["lang"] in ("en", "ru")
