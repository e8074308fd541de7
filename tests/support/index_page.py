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
]


def texts(language: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((ROLE / "files/lang" / f"{language}.json").read_text("utf-8")))


def render(language: str, sites: list[dict[str, t.Any]] | None = None) -> str:
    words = texts(language)
    complete = []
    for site in SITES if sites is None else sites:
        defaults = yaml.safe_load((ROLES / site["stack"] / "defaults/main.yml").read_text("utf-8"))
        drawing = defaults[f"{site['stack']}_drawing"]
        front = next(iter(drawing["fronts"].values()))
        complete.append({"drawing": drawing, "front": front, **words["stacks"][site["stack"]], **site})
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((ROLE / "templates/index.html.j2").read_text("utf-8"))
    return template.render(texts=words, sites=complete, host="localhost")


def write(directory: pathlib.Path, language: str, sites: list[dict[str, t.Any]] | None = None) -> None:
    shutil.copytree(ROLE / "files/page", directory, dirs_exist_ok=True)
    (directory / "index.html").write_text(render(language, sites), encoding="utf-8")
