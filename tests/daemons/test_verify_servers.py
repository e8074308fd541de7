# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification of other front servers, configured by hand from Debian's packages: Apache, lighttpd, Caddy.

One application by PHP-FPM behind all three, and a CGI program of Apache. The oracle is the mistake itself, and of MPMs
what `a2enmod` has enabled.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
import typing as t

import pytest
from by_hand import ByHand, named, states
from stands import BLOG_PHP, POOL

from ansible_collections.weblab.stacks.plugins.plugin_utils._verify import _rubric

if t.TYPE_CHECKING:
    from conftest import NewHost

PACKAGES = "apache2 libapache2-mpm-itk lighttpd caddy php-fpm"
APACHE = """\
Listen 8091
Listen 8092
DirectoryIndex index.php index.html
<Directory /srv>
    Require all granted
</Directory>
<VirtualHost *:8091>
    DocumentRoot /srv/blog
    <FilesMatch \\.php$>
        SetHandler "proxy:unix:/run/php/blog.sock|fcgi://localhost"
    </FilesMatch>
    <IfModule mpm_itk_module>
        AssignUserID blog www-data
    </IfModule>
</VirtualHost>
<VirtualHost *:8092>
    DocumentRoot /srv/empty
    ScriptAlias /hello /srv/cgi/hello.cgi
</VirtualHost>
"""
LIGHTTPD = """\
server.modules = ("mod_fastcgi")
server.port = 8093
server.document-root = "/srv/blog"
server.username = "www-data"
server.groupname = "www-data"
index-file.names = ("index.php")
fastcgi.server = (".php" => (("socket" => "/run/php/blog.sock")))
"""
CADDY = """\
:8094 {
    root * /srv/blog
    php_fastcgi unix//run/php/blog.sock
}
"""
#: It repeats what it is asked for, and says its number when it is asked for nothing else.
HELLO = """\
#!/bin/sh
printf 'Content-Type: text/plain\\n\\n'
if [ "$QUERY_STRING" = pid ]; then echo $$; else echo "hello $QUERY_STRING"; fi
"""
FILES = {
    "/etc/apache2/ports.conf": APACHE,
    "/etc/lighttpd/lighttpd.conf": LIGHTTPD,
    "/etc/caddy/Caddyfile": CADDY,
    "/etc/php/X.Y/fpm/pool.d/blog.conf": POOL,
    "/srv/blog/index.php": BLOG_PHP,
    "/srv/cgi/hello.cgi": HELLO,
}
UNITS = {
    "/etc/apache2": "apache2",
    "/etc/lighttpd": "lighttpd",
    "/etc/caddy": "caddy",
    "/etc/php": "phpX.Y-fpm",
    "/srv/blog": "phpX.Y-fpm",
}
BLOG = {
    "served_by": "php_fpm", "backend": "fastcgi+unix:///run/php/blog.sock", "script": "/srv/blog/index.php",
    "nonce": "/?s={nonce}", "process": "/?pid=1",
}  # fmt: skip
HELLO_SITE = {"served_by": "cgi", "path": "/hello", "nonce": "/hello?{nonce}", "process": "/hello?pid"}
HELLO_SITE["status"] = "/server-status"
SITES: list[dict[str, t.Any]] = [
    {"name": "apache", "port": 8091, "front": "apache", "mpm": "event", **BLOG},
    {"name": "cgi", "port": 8092, "front": "apache", **HELLO_SITE},
    {"name": "lighttpd", "port": 8093, "front": "lighttpd", **BLOG},
    {"name": "caddy", "port": 8094, "front": "caddy", **BLOG},
]
MPMS = ("prefork", "worker", "event", "itk")


class Mistake(t.NamedTuple):
    """What is wrong, and the checks that name it, and no other."""

    named: dict[str, str]
    edit: tuple[str, str, str] | None = None
    #: Site -> what its manifest says instead; None takes a word away.
    sites: dict[str, dict[str, t.Any]] = {}


MISTAKES = {
    "lighttpd as root": Mistake(
        {"users": "works_as_root"}, ("/etc/lighttpd/lighttpd.conf", 'server.username = "www-data"\n', "")
    ),
    "lighttpd gives PHP as a text": Mistake(
        {"no_source": "source_served", "computed": "nonce_not_repeated", "handler": "", "process_model": ""},
        ("/etc/lighttpd/lighttpd.conf", '".php" =>', '".none" =>'),
    ),
    "lighttpd on the loopback": Mistake(
        {"answers": "no_answer_refused"},
        ("/etc/lighttpd/lighttpd.conf", "server.port", 'server.bind = "127.0.0.1"\nserver.port'),
    ),
    "Apache's default page": Mistake(
        {"no_default_page": "default_page", "computed": "nonce_not_repeated", "handler": "", "process_model": ""},
        ("/etc/apache2/ports.conf", "DocumentRoot /srv/blog", "DocumentRoot /var/www/html"),
    ),
    "Caddy leads to nobody": Mistake(
        {"answers": "bad_status"}, ("/etc/caddy/Caddyfile", "/run/php/blog.sock", "/run/php/none.sock")
    ),
    "it is not CGI": Mistake(
        {"process_model": "cgi_process_stays"},
        sites={"apache": {"served_by": "cgi", "backend": None, "script": None}},
    ),
    "CGI is not FastCGI": Mistake(
        {"process_model": "process_does_not_stay", "handler": "no_backend_in_manifest"},
        sites={"cgi": {"served_by": "fastcgi", "status": None}},
    ),
    "no server-status": Mistake({"counted": "no_server_status"}, sites={"cgi": {"status": "/no-status"}}),
    "it is not nginx": Mistake({"front_server": "another_front"}, sites={"caddy": {"front": "nginx"}}),
    "it is not Apache": Mistake({"front_server": "another_front"}, sites={"lighttpd": {"front": "apache"}}),
    "it is another MPM": Mistake({"mpm": "another_mpm"}, sites={"apache": {"mpm": "worker"}}),
}


def rubric() -> _rubric.Rubric:
    """The course's, of what is not handed in."""
    whole = _rubric.load("course")
    kept = [section for section in whole.sections if section.id in ("sites", "servers")]
    return dataclasses.replace(whole, sections=tuple(kept))


def manifest(changes: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    sites = [site | changes.get(site["name"], {}) for site in copy.deepcopy(SITES)]
    return {"sites": [{key: value for key, value in site.items() if value is not None} for site in sites]}


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost, tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("servers", request.param)
    host.shell(
        "useradd --system blog; mkdir -p /srv/empty /srv/cgi;"
        # All want port 80 when they are installed.
        "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d;"
        f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends {PACKAGES} >/dev/null;"
        "rm -f /usr/sbin/policy-rc.d /etc/php/*/fpm/pool.d/www.conf /etc/apache2/sites-enabled/*;"
        "a2dismod -q -f mpm_itk mpm_prefork mpm_worker; a2enmod -q mpm_event proxy_fcgi cgid status;"
        "usermod -aG www-data caddy"
    )
    made = ByHand(host, tmp_path_factory.mktemp("servers"), FILES, UNITS, "curl -sf http://127.0.0.1:8094/")
    made.write()
    made.sh("chmod +x /srv/cgi/hello.cgi; systemctl enable --quiet apache2 lighttpd caddy phpX.Y-fpm")
    return made


def test_stands_that_are_right_are_accepted(stand: ByHand) -> None:
    stand.write()
    document = stand.examine(manifest({}), rubric())
    assert named(document) == {}
    assert document["verdict"] == "accepted"


def test_the_lecture_has_points_for_what_is_there(stand: ByHand) -> None:
    stand.write()
    document = stand.examine(manifest({}), _rubric.load("lecture"))
    found = {**states(document, "stacks"), **states(document, "mpms")}
    assert {name for name, state in found.items() if state == "ok"} == {"cgi", "apache_php_fpm", "mpm_event"}
    assert set(found.values()) == {"ok", "failed"}
    # Of what is asked of everybody, nothing is missing.
    assert set(states(document, "visitors").values()) == {"ok"}
    assert set(states(document, "servers").values()) <= {"ok", "not_applicable"}
    # Of 90 percent, without the changes that nobody has asked for: 15 and 15, 6 of 30 parts of 50, 1 of 4 of 10.
    assert document["percent"] == round(100 * (15 + 15 + 50 * 6 / 30 + 10 / 4) / 90, 2)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_by_the_checks_that_are_for_it(stand: ByHand, name: str) -> None:
    mistake = MISTAKES[name]
    stand.write([mistake.edit] if mistake.edit else [])
    document = stand.examine(manifest(mistake.sites), rubric())
    found = named(document)
    assert set(found) == set(mistake.named), found
    for criterion, cause in mistake.named.items():
        assert not cause or cause in found[criterion]


def test_an_mpm_is_known_by_who_holds_connections(stand: ByHand) -> None:
    stand.write()
    try:
        for enabled in MPMS:
            modules = "mpm_prefork mpm_itk" if enabled == "itk" else f"mpm_{enabled}"
            stand.sh(
                f"a2dismod -q -f mpm_itk mpm_prefork mpm_worker mpm_event; a2enmod -q {modules};"
                "systemctl reset-failed apache2; systemctl restart apache2"
            )
            found = {}
            for declared in MPMS:
                document = stand.examine(manifest({"apache": {"mpm": declared}}), rubric())
                found[declared] = named(document)
            assert found == {declared: {} if declared == enabled else {"mpm": {"another_mpm"}} for declared in MPMS}, (
                enabled
            )
    finally:
        stand.sh("a2dismod -q -f mpm_itk mpm_prefork mpm_worker; a2enmod -q mpm_event; systemctl restart apache2")
