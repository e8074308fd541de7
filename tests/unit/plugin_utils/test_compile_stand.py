# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError
from ansible_collections.weblab.stacks.plugins.plugin_utils._compile._stand import stand_manifest
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _manifest

APPLICATION = {"path": "/srv/shop", "module": "shop:application"}
PROGRAMS = [{"path": "/", "script": "/srv/all.cgi"}, {"path": "/who", "script": "/srv/who.cgi"}]


def only(site: dict[str, t.Any], pages: dict[str, t.Any] | None = None, **variables: t.Any) -> dict[str, t.Any]:
    manifest = stand_manifest([{"name": "one", "port": 8081, **site}], variables, {"one": pages} if pages else {})
    # What is said is what the role takes.
    _manifest.parse(manifest, "host", "10.0.0.1")
    (found,) = manifest["sites"]
    return t.cast("dict[str, t.Any]", found)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (
            {"stack": "apache_prefork_mod_php", "root": "/srv/blog"},
            {"front": "apache", "mpm": "prefork", "served_by": "mod_php"},
        ),
        (
            {"stack": "apache_itk_mod_php", "root": "/srv/blog", "user": "anna"},
            {"front": "apache", "mpm": "itk", "served_by": "mod_php"},
        ),
        (
            {"stack": "apache_mod_perl", "scripts": PROGRAMS},
            {"front": "apache", "mpm": "prefork", "served_by": "mod_perl"},
        ),
        (
            {"stack": "apache_mod_wsgi", "application": APPLICATION, "user": "anna"},
            {"front": "apache", "mpm": "event", "served_by": "mod_wsgi"},
        ),
        ({"stack": "cgi", "scripts": PROGRAMS}, {"front": "apache", "served_by": "cgi"}),
        (
            {"stack": "cgi", "scripts": PROGRAMS, "front": "nginx", "user": "anna"},
            {"front": "nginx", "served_by": "cgi"},
        ),
        (
            {"stack": "fastcgi", "scripts": PROGRAMS, "front": "fcgid"},
            {"front": "apache", "mpm": "event", "served_by": "mod_fcgid"},
        ),
        (
            {"stack": "nginx_php_fpm", "root": "/srv/blog", "user": "anna"},
            {
                "front": "nginx",
                "served_by": "php_fpm",
                "backend": "fastcgi+unix:///run/php/one.sock",
                "script": "/srv/blog/index.php",
                "status": "/fpm-status",
            },
        ),
        (
            {"stack": "nginx_uwsgi_monolith", "application": APPLICATION, "user": "anna", "socket": "tcp"},
            {
                "front": "nginx",
                "served_by": "uwsgi",
                "backend": "uwsgi://127.0.0.1:9081",
                "status": "unix:/run/uwsgi/one-9081/stats.sock",
            },
        ),
        (
            {"stack": "scgi", "application": APPLICATION, "user": "anna", "socket": "tcp", "front": "apache"},
            {
                "front": "apache",
                "mpm": "event",
                "served_by": "scgi",
                "backend": "scgi://127.0.0.1:9081",
                "status": "unix:/run/uwsgi/one-scgi-9081/stats.sock",
            },
        ),
        (
            {"stack": "nginx_app", "command": ["/usr/bin/shop"], "user": "anna", "socket": "tcp"},
            {"front": "nginx", "served_by": "http", "backend": "http://127.0.0.1:9081"},
        ),
        # Behind nginx and an Apache, PHP-FPM makes the page.
        (
            {"stack": "reverse_proxy", "root": "/srv/blog", "user": "anna", "socket": "tcp"},
            {
                "front": "nginx",
                "served_by": "php_fpm",
                "backend": "fastcgi://127.0.0.1:11081",
                "script": "/srv/blog/index.php",
                "status": "/fpm-status",
            },
        ),
        # Behind nginx, the Apache itself does.
        (
            {"stack": "reverse_proxy", "root": "/srv/blog", "backend": "prefork"},
            {"front": "nginx", "served_by": "http", "backend": "http://127.0.0.1:10081"},
        ),
    ],
)
def test_a_drawing_says_what_makes_the_page(site: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    assert only(site) == {"name": "one", "port": 8081, **expected}


def test_a_role_s_own_drawing_counts() -> None:
    drawing = {
        "runs": "php",
        "fronts": {"apache": {"component": "apache", "instance": "event", "mpm": "event"}},
        "gateway": "fastcgi",
    }
    site = {"stack": "apache_prefork_mod_php", "root": "/srv/blog", "user": "anna"}
    found = only(site, apache_prefork_mod_php_drawing=drawing)
    assert (found["mpm"], found["served_by"]) == ("event", "php_fpm")


def test_of_several_programs_the_one_of_the_page_is_meant() -> None:
    site = {"stack": "fastcgi", "scripts": PROGRAMS, "user": "anna"}
    assert only(site)["backend"].endswith("/one-all/www-data/fastcgi.sock")
    found = only(site, {"nonce": "/who?nonce={nonce}"})
    assert found["backend"].endswith("/one-who/www-data/fastcgi.sock")
    assert found["nonce"] == "/who?nonce={nonce}"
    # Not every path that begins with the same letters.
    assert only(site, {"process": "/whole"})["backend"].endswith("/one-all/www-data/fastcgi.sock")


@pytest.mark.parametrize(
    ("page", "script"),
    [
        ("/", "/srv/blog/start.php"),
        ("/sub/", "/srv/blog/sub/start.php"),
        ("/sub/page.php?n=1", "/srv/blog/sub/page.php"),
        ("/who/", "/srv/who/start.php"),
        ("/who/am/i.php", "/srv/am/i.php"),
    ],
)
def test_the_script_of_a_page(page: str, script: str) -> None:
    aliases = [{"path": "/who", "root": "/srv/who"}, {"path": "/who/am/", "root": "/srv/am"}]
    site = {"stack": "nginx_php_fpm", "root": "/srv/blog", "user": "anna", "index": ["start.html", "start.php"]}
    assert only({**site, "aliases": aliases}, {"process": page})["script"] == script


def test_a_front_controller_makes_every_page() -> None:
    site = {"stack": "nginx_php_fpm", "root": "/srv/blog", "user": "anna", "front_controller": "/index.php"}
    assert only(site, {"process": "/any/where"})["script"] == "/srv/blog/index.php"


def test_sites_of_one_port_are_told_apart_by_their_names() -> None:
    sites = [
        {"name": name, "stack": "apache_prefork_mod_php", "port": 80, "root": "/srv", "server_names": [f"{name}.test"]}
        for name in ("one", "two")
    ]
    manifest = stand_manifest(sites, {})
    assert [site["host"] for site in manifest["sites"]] == ["one.test", "two.test"]
    stand = _manifest.parse(manifest, "host", "10.0.0.1")
    assert [site.named for site in stand.sites] == ["one.test:80", "two.test:80"]


def test_a_second_front_has_the_first_one_s_server() -> None:
    board = {"stack": "realtime", "user": "anna", "application": {"path": "/srv/board", "module": "asgi:application"}}
    sites = [
        {**board, "name": "board", "port": 8112, "socket": "tcp"},
        {"stack": "realtime", "name": "again", "port": 8113, "front": "apache", "server_of": "board"},
    ]
    first, second = stand_manifest(sites, {})["sites"]
    assert first["backend"] == second["backend"] == "http://127.0.0.1:9112"
    assert (first["front"], second["front"], second["mpm"]) == ("nginx", "apache", "event")


def test_tls_is_said() -> None:
    tls = {"certificate": "/etc/one.crt", "key": "/etc/one.key"}
    assert only({"stack": "apache_prefork_mod_php", "root": "/srv/blog", "tls": tls})["tls"] is True


def test_absent_sites_are_no_part_of_it() -> None:
    gone = {"name": "one", "state": "absent"}
    assert stand_manifest([gone], {}) == {"sites": []}


@pytest.mark.parametrize(
    ("address", "visited"), [("127.0.0.1", False), ("::1", False), ("10.0.0.5", True), ("::", True)]
)
def test_a_site_for_the_host_itself_has_no_visitors(address: str, visited: bool) -> None:
    site = {"name": "one", "stack": "apache_prefork_mod_php", "port": 8081, "root": "/srv/blog", "address": address}
    assert len(stand_manifest([site], {})["sites"]) == visited


def test_pages_of_a_site_that_is_not_there() -> None:
    site = {"name": "one", "stack": "apache_prefork_mod_php", "port": 8081, "root": "/srv/blog"}
    with pytest.raises(DataError, match=r"weblab_stand\.two: no site of weblab_sites has this name"):
        stand_manifest([site], {}, {"two": {}})
