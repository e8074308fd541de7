# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DokuWiki behind nginx: its pages, the log-in, an edit; and what must not be reached."""

from __future__ import annotations

import html
import re
import typing as t
import uuid

import pytest
from onhost import Answer, get, run

URL = "http://127.0.0.1:8101"
PLACE = "/srv/weblab/dokuwiki/wiki"


class Author:
    """Somebody with a browser that keeps cookies."""

    def __init__(self, host: t.Any) -> None:
        self.host = host
        self.jar = f"/tmp/{uuid.uuid4().hex}"

    def get(self, path: str) -> Answer:
        return get(self.host, URL + path, "--cookie", self.jar, "--cookie-jar", self.jar)

    def send(self, path: str, form: dict[str, str]) -> Answer:
        """Fill in the form of the page at ``path``, and send it with its hidden fields."""
        fields: dict[str, str] = {}
        for field in re.findall(r'<input type="hidden" [^>]*>', self.get(path).body):
            keys = dict(re.findall(r'(name|value)="([^"]*)"', field))
            fields[keys["name"]] = html.unescape(keys.get("value", ""))
        words = [word for key, value in {**fields, **form}.items() for word in ("--data-urlencode", f"{key}={value}")]
        # The answer to a form is a redirection, which curl follows with GET; the last answer counts.
        options = ["--cookie", self.jar, "--cookie-jar", self.jar, "--request", "POST"]
        return get(self.host, URL + path.partition("?")[0], *options, *words)

    def log_in(self, password: str) -> bool:
        self.send("/doku.php/start?do=login", {"do": "login", "u": "admin", "p": password})
        return "do=logout" in self.get("/doku.php/start").body


@pytest.fixture
def author(host: t.Any) -> Author:
    author = Author(host)
    assert author.log_in(run(host, "cat /etc/weblab/dokuwiki/wiki.admin").strip())
    return author


def test_serves_its_pages_under_their_names(host: t.Any) -> None:
    page = get(host, f"{URL}/")
    assert page.status == 200
    assert "A wiki in plain files" in page.body
    assert "The wiki&#039;s title" in page.body or "The wiki's title" in page.body
    assert "About this wiki" in get(host, f"{URL}/doku.php/about").body
    assert get(host, f"{URL}/doku.php/no:such:page").status == 404


def test_its_styles_scripts_and_pictures_are_there(host: t.Any) -> None:
    page = get(host, f"{URL}/doku.php/start").body
    links = {html.unescape(link) for link in re.findall(r'(?:href|src)="(/lib/[^"]+)"', page)}
    assert any("/css.php" in link for link in links)
    assert any("/js.php" in link for link in links)
    asked = {
        link: run(host, f"curl --silent --output /dev/null --write-out %{{http_code}} '{URL}{link}'") for link in links
    }
    assert asked == dict.fromkeys(links, "200")


def test_a_wrong_password_is_refused(host: t.Any) -> None:
    assert not Author(host).log_in("wrong")


def test_who_has_not_logged_in_reads_and_does_no_more(host: t.Any) -> None:
    visitor = Author(host)
    word = uuid.uuid4().hex
    for action in ("edit", "register"):
        assert "<form" in visitor.get(f"/doku.php/start?do={action}").body
    visitor.send("/doku.php/start?do=edit", {"wikitext": word, "do[save]": "1"})
    visitor.send(
        "/doku.php/start?do=register", {"do": "register", "save": "1", "login": word, "fullname": word, "pass": word}
    )
    assert host.run(f"grep -r {word} {PLACE}/data/pages {PLACE}/conf").rc == 1


def test_a_page_is_edited_and_is_the_pools_users_file(host: t.Any, author: Author) -> None:
    word = uuid.uuid4().hex
    author.send("/doku.php/playground?do=edit", {"wikitext": f"A **{word}**.", "do[save]": "1"})
    assert f"<strong>{word}</strong>" in get(host, f"{URL}/doku.php/playground").body
    assert host.file(f"{PLACE}/data/pages/playground.txt").user == "wiki"
    assert word in run(host, f"cat {PLACE}/data/pages/playground.txt")


@pytest.mark.parametrize(
    "path",
    [
        "/install.php",
        "/conf/users.auth.php",
        "/conf/local.php",
        "/data/pages/start.txt",
        "/inc/init.php",
        "/bin/wantedpages.php",
    ],
)
def test_no_installer_no_configuration_and_no_page_is_below_the_root(host: t.Any, path: str) -> None:
    assert get(host, URL + path).status == 404


def test_only_its_user_reads_its_pages_and_users(host: t.Any) -> None:
    for path in ("data/pages/start.txt", "conf/users.auth.php"):
        assert "Permission denied" in host.run(f"runuser -u hello -- cat {PLACE}/{path}").stderr


def test_says_who_served_it(host: t.Any) -> None:
    answer = get(host, f"{URL}/whoami/?format=json").json()
    assert (answer["user"], answer["pool"], answer["sapi"]) == ("wiki", "wiki", "fpm-fcgi")
    assert answer["script_name"] == "/whoami/index.php"
