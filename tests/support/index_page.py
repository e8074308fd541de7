# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The index page rendered as the role renders it, for tests: real template, real catalogue, real drawings."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

import jinja2
import yaml

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
ROLE = ROLES / "demo_index"


def _endpoint(role: str, **endpoint: t.Any) -> dict[str, t.Any]:
    return {"role": role, "endpoint": endpoint}


def _uwsgi(name: str) -> dict[str, t.Any]:
    return _endpoint("backend", protocol="uwsgi", unix=f"/run/uwsgi/shop-services-{name}/www-data/uwsgi.sock")


SITES: list[dict[str, t.Any]] = [
    {
        "site": "blog-prefork",
        "stack": "apache_prefork_mod_php",
        "title": "WordPress",
        "port": 8081,
        "whoami": [{"path": "/whoami/"}],
        "endpoints": [_endpoint("front", protocol="http", host="0.0.0.0", port=8081)],
    },
    {
        "site": "blog-event",
        "stack": "apache_event_php_fpm",
        "title": "WordPress",
        "port": 8082,
        "whoami": [{"path": "/whoami/"}],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8082),
            _endpoint("backend", protocol="fastcgi", unix="/run/php/blog-event.sock"),
        ],
    },
    {
        "site": "shop",
        "stack": "nginx_uwsgi_monolith",
        "title": "Django",
        "port": 8083,
        "whoami": [{"path": "/whoami"}],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8083),
            _endpoint("backend", protocol="uwsgi", host="127.0.0.1", port=9083),
        ],
    },
    {
        "site": "shop-services",
        "stack": "nginx_uwsgi_microservices",
        "title": "Django",
        "port": 8084,
        "whoami": [
            {"name": "web", "path": "/whoami", "calls": ["catalog", "reviews"]},
            {"name": "catalog", "path": "/catalog/whoami"},
            {"name": "reviews", "path": "/reviews/whoami"},
        ],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8084),
            *[_uwsgi(name) for name in ("web", "catalog", "reviews")],
            *[
                _endpoint("internal", protocol="http", unix=f"/run/uwsgi/shop-services-{name}/shop-web/http.sock")
                for name in ("catalog", "reviews")
            ],
        ],
    },
    {
        "site": "blog-proxy",
        "stack": "reverse_proxy",
        "title": "WordPress",
        "port": 8106,
        "whoami": [{"path": "/whoami/"}],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8106),
            _endpoint("backend", protocol="http", host="127.0.0.1", port=9106),
            _endpoint("backend", protocol="fastcgi", unix="/run/php/blog-proxy.sock"),
        ],
    },
    {
        "site": "git-cgi",
        "stack": "cgi",
        "title": "gitweb",
        "port": 8085,
        "whoami": [{"path": "/whoami"}],
        "endpoints": [_endpoint("front", protocol="http", host="0.0.0.0", port=8085)],
    },
    {
        "site": "git-fcgiwrap",
        "stack": "cgi",
        "front_name": "nginx",
        "title": "gitweb",
        "port": 8087,
        "whoami": [{"path": "/whoami"}],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8087),
            _endpoint("backend", protocol="fastcgi", unix="/run/app/git-fcgiwrap/www-data/fastcgi.sock"),
        ],
    },
    {
        "site": "git-fastcgi",
        "stack": "fastcgi",
        "title": "gitweb",
        "port": 8088,
        "boxes": ["gitweb", "whoami"],
        "whoami": [{"name": "whoami", "path": "/whoami"}],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8088),
            _endpoint("backend", protocol="fastcgi", unix="/run/app/git-fastcgi-gitweb/www-data/fastcgi.sock"),
            _endpoint("backend", protocol="fastcgi", unix="/run/app/git-fastcgi-whoami/www-data/fastcgi.sock"),
        ],
    },
    {
        "site": "scgi-apache",
        "stack": "scgi",
        "front_name": "apache",
        "program": "aioscgi",
        "title": "WSGI",
        "port": 8092,
        "whoami": [{"path": "/"}],
        "endpoints": [
            _endpoint("front", protocol="http", host="0.0.0.0", port=8092),
            _endpoint("backend", protocol="scgi", unix="/run/app/scgi-apache-scgi/www-data/scgi.sock"),
        ],
    },
    {
        "site": "git-perl",
        "stack": "apache_mod_perl",
        "title": "gitweb",
        "port": 8097,
        "whoami": [{"path": "/whoami"}],
        "endpoints": [_endpoint("front", protocol="http", host="0.0.0.0", port=8097)],
    },
]


#: As the role takes them from the catalogues of the pages' roles.
PAGES = [{"title": "A web server, step by step", "lead": "What the kernel sees.", "port": 8111, "path": "/"}]


def texts(language: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((ROLE / "files/lang" / f"{language}.json").read_text("utf-8")))


def render(
    language: str, sites: list[dict[str, t.Any]] | None = None, pages: list[dict[str, t.Any]] | None = None
) -> str:
    words = texts(language)
    complete = []
    for site in SITES if sites is None else sites:
        defaults = yaml.safe_load((ROLES / site["stack"] / "defaults/main.yml").read_text("utf-8"))
        drawing = defaults[f"{site['stack']}_drawing"]
        front = drawing["fronts"][site.get("front_name", next(iter(drawing["fronts"])))]
        server = drawing.get("backend") or drawing.get("backends", {}).get(site.get("program", "uwsgi"), {})
        emperor = server.get("supervisor") == "emperor"
        backend = front.get("wrapper") or ("emperor" if emperor else server.get("component", ""))
        drawn = {"drawing": drawing, "front": front, "backend": backend}
        complete.append({**drawn, **words["stacks"][site["stack"]], **site})
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((ROLE / "templates/index.html.j2").read_text("utf-8"))
    return template.render(texts=words, sites=complete, pages=PAGES if pages is None else pages, host="localhost")


def write(directory: pathlib.Path, language: str, sites: list[dict[str, t.Any]] | None = None) -> None:
    shutil.copytree(ROLE / "files/page", directory, dirs_exist_ok=True)
    (directory / "index.html").write_text(render(language, sites), encoding="utf-8")
