# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A manifest that anybody may have written: mistakes are named with their line, and nothing else happens."""

from __future__ import annotations

import pathlib
import textwrap

import pytest

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _manifest
from ansible_collections.weblab.stacks.plugins.plugin_utils._verify._source import MAX_SOURCE, Source, SourceError

GOOD = """\
    verify_stand:
      repository: /etc
      again: "{{ lookup('pipe', 'id') }}"
      sites:
        - name: shop
          port: 8081
          served_by: http
          backend: http://127.0.0.1:3000
    """


def read(text: str) -> _manifest.Stand:
    return _manifest.read(Source("stand.yml", textwrap.dedent(text)), "ivanova", "10.0.0.5")


def test_it_is_read_and_not_followed_or_templated() -> None:
    stand = read(GOOD)
    assert (stand.name, stand.address, stand.sites[0].port) == ("ivanova", "10.0.0.5", 8081)
    assert stand.repository is None
    assert stand.again == "{{ lookup('pipe', 'id') }}"


@pytest.mark.parametrize(
    ("good", "bad", "where", "said"),
    [
        ("port: 8081", "prot: 8081", ":6", "port"),
        ("port: 8081", "port: many", ":6", "port"),
        ("http://127.0.0.1:3000", "http:/127", ":8", "backend"),
        ("served_by: http", "served_by: magic", ":7", "magic"),
        ("verify_stand:", "stand:", "", "verify_stand"),
        ("sites:", "sites: {}\n    x:", ":", "sites"),
        ("name: shop", "name: [shop", ":", "not YAML"),
        ("name: shop", "name: !!python/object/apply:os.system [id]", "", "not YAML"),
        ("name: shop", "name: 2026-99-99", "", "not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(good: str, bad: str, where: str, said: str) -> None:
    assert good in GOOD
    with pytest.raises(SourceError) as error:
        read(GOOD.replace(good, bad))
    assert str(error.value).startswith(f"stand.yml{where}")
    assert said in str(error.value)


UWSGI = "served_by: http\n          backend: http://127.0.0.1:3000"


@pytest.mark.parametrize(
    ("instead", "status", "found"),
    [
        (UWSGI, "unix:/run/uwsgi/app-stats.sock", "unix:///run/uwsgi/app-stats.sock"),
        (UWSGI, "unix:///run/uwsgi/app-stats.sock", "unix:///run/uwsgi/app-stats.sock"),
        (UWSGI, "/run/uwsgi/app-stats.sock", "unix:///run/uwsgi/app-stats.sock"),
        (UWSGI, "'unix:@stats'", "unix://@stats"),
        (UWSGI, "127.0.0.1:9191", "tcp://127.0.0.1:9191"),
        (UWSGI, "tcp://127.0.0.1:9191", "tcp://127.0.0.1:9191"),
        ("served_by: uwsgi", "':9191'", "tcp://127.0.0.1:9191"),
        ("served_by: scgi", "127.0.0.1:9191", "tcp://127.0.0.1:9191"),
        ("served_by: fastcgi", "127.0.0.1:9191", "tcp://127.0.0.1:9191"),
        ("served_by: php_fpm\n          backend: fastcgi+unix:///run/php/a.sock", "/pool", "/pool"),
        ("served_by: mod_wsgi\n          front: apache", "/server-status", "/server-status"),
        ("served_by: cgi\n          front: apache", "/server-status", "/server-status"),
        (UWSGI, "http://127.0.0.1:9191/x", None),
        (UWSGI, "stats", None),
        ("served_by: php_fpm", "/pool", None),
        ("served_by: php_fpm\n          backend: fastcgi+unix:///run/php/a.sock", "127.0.0.1:9191", None),
        ("served_by: mod_wsgi\n          front: apache", "127.0.0.1:80", None),
        ("served_by: cgi", "/server-status", None),
    ],
)
def test_who_counts_is_a_page_or_a_stats_server(instead: str, status: str, found: str | None) -> None:
    text = GOOD.replace(UWSGI, f"{instead}\n          status: {status}")
    assert text != GOOD
    if found is None:
        with pytest.raises(SourceError, match=r"stand.yml:\d+: verify_stand.sites\[0\].status"):
            read(text)
        return
    (site,) = read(text).sites
    assert (site.status or (site.stats and site.stats.url)) == found


def test_what_is_made_to_take_long_does_not() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    deep = "verify_stand: " + "[" * 20000
    for text, said in ((laughs, "aliases"), (deep, "not YAML"), ("#" * (MAX_SOURCE + 1), "KiB")):
        with pytest.raises(SourceError, match=said):
            read(text)


def test_a_file_is_read_no_further_than_it_may_be(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "stand.yml", "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(SourceError):
        Source.read(tmp_path / "stand.yml")
