# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe against the daemons themselves: PHP-FPM, uWSGI, nginx and Apache, each alive, wrong, busy and dead."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

if t.TYPE_CHECKING:
    from conftest import Host, NewHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
# cgi-fcgi is a FastCGI client that this project did not write.
PACKAGES = "php-fpm uwsgi-core uwsgi-plugin-python3 nginx-light apache2 libfcgi-bin"

#: Runs the probe with the host's own Python: a specification on standard input, records on standard output.
PROBE = """\
import json, sys
sys.path.insert(0, "/srv/collections")
from ansible_collections.weblab.stacks.plugins.module_utils._probe import probe_all
records = probe_all(**json.load(sys.stdin))
json.dump([record.as_dict() for record in records], sys.stdout)
"""

APPLICATION = """\
import time
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise RuntimeError("on purpose")
    if path.startswith("/sleep"):
        time.sleep(float(environ["QUERY_STRING"]))
    start_response("400 Bad Request" if path == "/400" else "200 OK", [("Content-Type", "text/plain")])
    return [f"{path} {environ.get('EXTRA', '')}".encode()]
"""

FPM = """\
[global]
error_log = /srv/fpm.log
[open]
listen = /run/p/open.sock
pm.max_children = 2
ping.path = /fpm-ping
[closed]
listen = /run/p/closed.sock
listen.owner = www-data
listen.group = www-data
listen.mode = 0660
pm.max_children = 2
[tcp]
listen = 127.0.0.1:9901
pm.max_children = 2
ping.path = /fpm-ping
[choosy]
listen = 127.0.0.1:9902
listen.allowed_clients = 192.0.2.1
pm.max_children = 2
[one]
listen = /run/p/one.sock
pm.max_children = 1
ping.path = /fpm-ping
"""
POOL = "user = www-data\ngroup = www-data\npm = static\ncatch_workers_output = yes\n"

NGINX = """\
user www-data;
events {}
pid /run/p/nginx.pid;
error_log /srv/nginx.log;
http {
  access_log off;
  ssl_certificate /srv/p.pem;
  ssl_certificate_key /srv/p.key;
  server {
    listen 127.0.0.1:9921;
    location / { return 200 nginx; }
    location = /down { proxy_pass http://unix:/run/p/nobody.sock; }
    location = /fpm { fastcgi_pass unix:/run/p/closed.sock; fastcgi_param SCRIPT_FILENAME /srv/a.php;
                      fastcgi_param REQUEST_METHOD GET; }
  }
  server { listen 127.0.0.1:9922 ssl; location / { return 200 nginx; } }
}
"""

APACHE = """\
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
PidFile /run/p/apache.pid
ErrorLog /srv/apache.log
ServerName localhost
User www-data
Group www-data
DocumentRoot /srv/www
Listen 127.0.0.1:9931
Listen 127.0.0.1:9932
<VirtualHost 127.0.0.1:9932>
SSLEngine on
SSLCertificateFile /srv/p.pem
SSLCertificateKeyFile /srv/p.key
</VirtualHost>
"""

UWSGI = "uwsgi --master --uid www-data --gid www-data"
APP = f"{UWSGI} --plugin python3 --wsgi-file /srv/app.py"
SERVICES = {
    "p-nginx": "nginx -c /srv/nginx.conf -g 'daemon off;'",
    "p-apache": "apache2 -f /srv/apache.conf -D FOREGROUND",
    "p-uwsgi": f"{APP} --processes 2 --socket /run/p/uwsgi.sock --chmod-socket=660",
    "p-uwsgi-tcp": f"{APP} --processes 2 --socket 127.0.0.1:9911",
    "p-uwsgi-http": f"{APP} --processes 1 --http-socket 127.0.0.1:9912",
    "p-uwsgi-large": f"{APP} --processes 1 --socket 127.0.0.1:9913 --buffer-size 65535",
    "p-uwsgi-bare": f"{UWSGI} --processes 1 --socket 127.0.0.1:9914",
    "p-uwsgi-noapp": f"{UWSGI} --processes 1 --plugin python3 --socket 127.0.0.1:9915",
    "p-uwsgi-one": f"{APP} --processes 1 --listen 2 --socket /run/p/one-uwsgi.sock",
}

#: Peer, its address as an URL has it, and the protocol that its configuration above says.
PEERS = [
    ("PHP-FPM, unix", "+unix:///run/p/open.sock", "fastcgi"),
    ("PHP-FPM, tcp", "://127.0.0.1:9901", "fastcgi"),
    ("uWSGI, unix", "+unix:///run/p/uwsgi.sock", "uwsgi"),
    ("uWSGI, tcp", "://127.0.0.1:9911", "uwsgi"),
    ("uWSGI, large buffer", "://127.0.0.1:9913", "uwsgi"),
    ("uWSGI, http-socket", "://127.0.0.1:9912", "http"),
    ("nginx", "://127.0.0.1:9921", "http"),
    ("nginx, TLS", "://127.0.0.1:9922", "https"),
    ("Apache", "://127.0.0.1:9931", "http"),
    ("Apache, TLS", "://127.0.0.1:9932", "https"),
]

Record = t.Dict[str, t.Any]


@dataclasses.dataclass
class Stand:
    """A host with daemons, and the probe on it."""

    host: Host

    def probe_all(self, *specs: t.Any, timeout: float = 6, wait: bool = True, user: str = "root") -> list[Record]:
        argv = ["setpriv", "--reuid", user, "--regid", user if user != "nobody" else "nogroup", "--clear-groups"]
        task = json.dumps({"specs": specs, "timeout": timeout, "wait": wait})
        records: list[Record] = json.loads(self.host.run(*argv, "python3", "/srv/probe.py", stdin=task).stdout)
        return records

    def probe(self, spec: t.Any, **options: t.Any) -> Record:
        (record,) = self.probe_all(spec, **options)
        return record

    def ask(self, script: str) -> str:
        return self.host.shell(script).stdout.strip()

    def busy(self, url: str, seconds: float, times: int = 1) -> None:
        """Keep a server busy, by a probe that nobody waits for."""
        script = {"script_filename": "/srv/sleep.php"} if url.startswith("fastcgi") else {}
        spec = {"endpoint": url, "path": f"/sleep?{seconds}", **script}
        task = json.dumps({"specs": [spec] * times, "timeout": seconds + 5, "wait": False})
        self.host.run(
            "sh", "-c", "cat > /run/p/task; python3 /srv/probe.py < /run/p/task > /dev/null 2>&1 &", stdin=task
        )
        self.ask("sleep 0.7")


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stand(request: pytest.FixtureRequest, new_module_host: NewHost) -> Stand:
    if shutil.which("docker") is None:
        pytest.skip("needs a Docker engine; `make lab` finds or installs one")
    host = new_module_host("probe", request.param)
    host.shell(f"apt-get install --yes --no-install-recommends {PACKAGES}")
    host.shell("systemctl disable --now apache2 nginx 'php*-fpm' 2>/dev/null; install -d -m 0755 /run/p /srv/www")
    host.shell("chown www-data /run/p; install -d /srv/collections/ansible_collections/weblab/stacks")
    plugins = f"{host.name}:/srv/collections/ansible_collections/weblab/stacks/plugins"
    subprocess.run(["docker", "cp", ROOT / "plugins", plugins], check=True, capture_output=True)
    host.shell(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=DNS:localhost -keyout /srv/p.key -out /srv/p.pem"
    )
    files = {
        "/srv/probe.py": PROBE,
        "/srv/app.py": APPLICATION,
        "/srv/a.php": "<?php error_log('noticed'); echo json_encode(['sapi' => PHP_SAPI] + $_SERVER);",
        "/srv/sleep.php": "<?php usleep(1000000 * (float) $_SERVER['QUERY_STRING']); echo 'slept';",
        "/srv/die.php": "<?php posix_kill(posix_getpid(), 9);",
        "/srv/a.txt": "text",
        "/srv/www/index.html": "apache",
        "/srv/nginx.conf": NGINX,
        "/srv/apache.conf": APACHE,
        "/srv/fpm.conf": FPM.replace("]\nlisten =", f"]\n{POOL}listen ="),
    }
    for path, text in files.items():
        host.run("tee", path, stdin=text)
    fpm = host.shell("ls /usr/sbin/php-fpm*").stdout.split()[0]
    services = {**SERVICES, "p-fpm": f"{fpm} --nodaemonize --fpm-config /srv/fpm.conf"}
    for name, command in services.items():
        host.shell(f"systemd-run --quiet --unit={name} -- {command}")
    stand = Stand(host)
    bad = [r for r in stand.probe_all(*(f"tcp{a}" for _n, a, _p in PEERS if "unix" not in a), timeout=20) if r["cause"]]
    assert not bad, bad
    return stand


# What answers, and what is answered where another protocol is meant


@pytest.mark.parametrize("spoken", ["http", "https", "fastcgi", "uwsgi"])
def test_each_daemon_is_ok_in_its_protocol_and_named_in_others(stand: Stand, spoken: str) -> None:
    specs = [{"endpoint": f"{spoken}{address}", "validate_certs": False} for _name, address, _protocol in PEERS]
    found = {}
    expected = {}
    for (name, _address, protocol), record in zip(PEERS, stand.probe_all(*specs, timeout=10)):
        found[name] = (record["state"], record["cause"], record["speaks"])
        right = protocol == spoken
        expected[name] = ("ok", None, None) if right else ("down", "wrong_protocol", protocol)
    assert found == expected


# PHP-FPM


def test_fpm_answers_its_ping_as_another_client_hears_it(stand: Stand) -> None:
    theirs = stand.ask(
        "SCRIPT_NAME=/fpm-ping SCRIPT_FILENAME=/fpm-ping REQUEST_METHOD=GET cgi-fcgi -bind -connect /run/p/open.sock"
    ).replace("\r", "")
    head, _blank, body = theirs.partition("\n\n")
    record = stand.probe({"endpoint": "fastcgi+unix:///run/p/open.sock", "path": "/fpm-ping"})
    assert (record["state"], record["status"]) == ("ok", 200)
    assert record["body"] == body == "pong"
    assert {f"{name}: {value}" for name, value in record["headers"].items()} == {
        f"{name.lower()}: {value}" for name, _colon, value in (line.partition(": ") for line in head.splitlines())
    }


def test_fpm_runs_a_script(stand: Stand) -> None:
    spec = {"endpoint": "fastcgi://127.0.0.1:9901", "script_filename": "/srv/a.php", "path": "/x?y=z"}
    expect = {"json": {"sapi": "fpm-fcgi", "EXTRA": "1", "REQUEST_URI": "/x?y=z", "HTTP_HOST": "blog.example"}}
    record = stand.probe({**spec, "params": {"EXTRA": "1"}, "host": "blog.example", "expect": expect})
    assert record["state"] == "ok", record
    assert "noticed" in record["stderr"]


def test_fpm_has_a_peer_a_mode_and_a_queue_as_ss_sees_them(stand: Stand) -> None:
    record = stand.probe("fastcgi+unix:///run/p/closed.sock")
    line = stand.ask("ss -Hxlp src /run/p/closed.sock").split()
    assert record["peer"]["pid"] == int(stand.ask("systemctl show -P MainPID p-fpm"))
    assert f"pid={record['peer']['pid']}," in line[-1]
    assert record["queue"] == {"length": int(line[2]), "limit": int(line[3])}
    assert record["socket"] == {"owner": "www-data", "group": "www-data", "mode": "0660"}


@pytest.mark.parametrize(
    ("request_", "state", "cause", "words"),
    [
        ({"path": "/none-ping"}, "degraded", "application_error", "set ping.path = /none-ping"),
        ({"script_filename": "/srv/none.php"}, "degraded", "application_error", "does not find /srv/none.php"),
        ({"script_filename": "/root/x.php"}, "degraded", "application_error", "let the pool's user read the file"),
        ({"script_filename": "/srv/a.txt"}, "degraded", "denied", "security.limit_extensions"),
        ({"script_filename": "/srv/die.php"}, "down", "closed", "the worker died"),
    ],
)
def test_fpm_refuses_and_the_hint_names_its_option(
    stand: Stand, request_: dict[str, str], state: str, cause: str, words: str
) -> None:
    record = stand.probe({"endpoint": "fastcgi+unix:///run/p/open.sock", **request_}, wait=False)
    assert (record["state"], record["cause"]) == (state, cause)
    assert words in record["hint"]


def test_fpm_drops_a_client_that_is_not_allowed(stand: Stand) -> None:
    record = stand.probe("fastcgi://127.0.0.1:9902", wait=False)
    assert (record["state"], record["cause"]) == ("down", "closed")
    assert "listen.allowed_clients" in record["hint"]


def test_a_socket_that_is_closed_to_who_asks(stand: Stand) -> None:
    url = "fastcgi+unix:///run/p/closed.sock"
    assert stand.probe(url, user="www-data")["state"] == "ok"
    record = stand.probe(url, user="nobody", wait=False)
    assert (record["state"], record["cause"], record["phase"]) == ("down", "permission_denied", "connect")
    assert "nobody (groups: nogroup) may not connect" in record["message"]
    assert "/run/p/closed.sock is www-data:www-data 0660" in record["message"]
    assert "add nobody to the group www-data" in record["hint"]


def test_a_directory_that_is_closed_to_who_asks(stand: Stand) -> None:
    stand.ask("install -d -m 0700 /run/p/private")
    record = stand.probe("unix:///run/p/private/a.sock", user="nobody", wait=False)
    assert record["cause"] == "permission_denied"
    assert "/run/p/private is root:root 0700" in record["message"]


def test_a_full_pool_is_busy_and_answers_when_it_has_a_worker(stand: Stand) -> None:
    url = "fastcgi+unix:///run/p/one.sock"
    stand.busy(url, 4)
    record = stand.probe(url, timeout=1)
    assert (record["state"], record["cause"], record["phase"]) == ("busy", "busy", "receive")
    assert "pm.max_children" in record["hint"]
    assert record["queue"]["length"] == 1
    record = stand.probe({"endpoint": url, "path": "/fpm-ping"}, timeout=15)
    assert (record["state"], record["attempts"]) == ("ok", 1)  # it kept its place in the queue


def test_a_killed_pool_leaves_a_stale_socket(stand: Stand) -> None:
    stand.ask(
        "sed 's,/run/p/,/run/p/k-,; s,127.0.0.1:990,127.0.0.1:980,; s,fpm.log,k.log,' /srv/fpm.conf > /srv/k.conf"
    )
    stand.ask("systemd-run --quiet --unit=p-killed -- $(ls /usr/sbin/php-fpm* | head -1) -F -y /srv/k.conf")
    url = "fastcgi+unix:///run/p/k-open.sock"
    assert stand.probe(url)["state"] == "ok"
    stand.ask("systemctl kill --signal=KILL p-killed; while systemctl is-active -q p-killed; do sleep 0.1; done")
    record = stand.probe(url, wait=False)
    assert (record["state"], record["cause"]) == ("down", "stale_socket")
    stand.ask("rm /run/p/k-open.sock")
    record = stand.probe(url, wait=False)
    assert (record["state"], record["cause"]) == ("down", "no_such_socket")


# uWSGI


def test_uwsgi_runs_the_application(stand: Stand) -> None:
    spec = {"endpoint": "uwsgi+unix:///run/p/uwsgi.sock", "path": "/a%20b?c", "params": {"EXTRA": "1"}}
    record = stand.probe({**spec, "expect": {"status": [200], "body": "/a b 1"}}, user="www-data")
    assert record["state"] == "ok", record


def test_uwsgi_with_a_400_of_the_application_still_speaks_uwsgi(stand: Stand) -> None:
    record = stand.probe({"endpoint": "uwsgi://127.0.0.1:9911", "path": "/400"})
    assert (record["state"], record["status"], record["speaks"]) == ("ok", 400, None)


@pytest.mark.parametrize(
    ("url", "path", "cause", "words"),
    [
        ("uwsgi://127.0.0.1:9911", "/raise", "closed", "raised an exception before it answered"),
        ("uwsgi://127.0.0.1:9914", "/", "closed", "set plugins = python3"),
        ("uwsgi://127.0.0.1:9911", "/" + "x" * 5000, "closed", "larger than buffer-size"),
        ("uwsgi://127.0.0.1:9915", "/", "application_error", "the application failed"),
    ],
)
def test_uwsgi_closes_or_fails(stand: Stand, url: str, path: str, cause: str, words: str) -> None:
    record = stand.probe({"endpoint": url, "path": path}, wait=False)
    assert record["cause"] == cause
    assert words in record["hint"]


def test_uwsgi_with_all_workers_busy_is_busy_until_its_queue_is_full(stand: Stand) -> None:
    url = "uwsgi+unix:///run/p/one-uwsgi.sock"
    stand.busy(url, 5, times=2)  # one is served, one waits
    record = stand.probe(url, timeout=0.5)
    assert (record["state"], record["cause"]) == ("busy", "busy")
    stand.busy(url, 0.5, times=4)
    record = stand.probe(url, wait=False)
    assert (record["state"], record["cause"], record["phase"]) == ("busy", "backlog_full", "connect")
    assert record["queue"]["length"] > record["queue"]["limit"] == 2
    assert stand.probe(url, timeout=30)["state"] == "ok"


# Front servers


def test_a_front_server_without_its_backend(stand: Stand) -> None:
    record = stand.probe({"endpoint": "http://127.0.0.1:9921", "path": "/down"}, wait=False)
    assert (record["state"], record["cause"], record["status"]) == ("degraded", "application_error", 502)
    assert "probe the socket behind it" in record["hint"]


def test_the_probe_and_the_front_server_see_the_same_script(stand: Stand) -> None:
    curl = json.loads(stand.ask("curl --silent http://127.0.0.1:9921/fpm"))
    expect = {"json": {key: curl[key] for key in ("sapi", "SCRIPT_FILENAME")}}
    spec = {"endpoint": "fastcgi+unix:///run/p/open.sock", "script_filename": "/srv/a.php", "expect": expect}
    assert stand.probe(spec)["state"] == "ok"


def test_https_is_checked_by_the_given_authority(stand: Stand) -> None:
    good = {"endpoint": "https://127.0.0.1:9922", "ca_path": "/srv/p.pem", "expect": {"body": "nginx"}}
    records = stand.probe_all(good, "https://127.0.0.1:9932", wait=False)
    assert [record["cause"] for record in records] == [None, "tls_failed"]


# The module


def _module(stand: Stand, *options: str, **arguments: t.Any) -> tuple[int, str]:
    argv = [str(pathlib.Path(sys.executable).with_name("ansible")), "all", "--inventory", f"{stand.host.name},"]
    argv += ["--connection", "community.docker.docker_api", "--module-name", "weblab.stacks.endpoint_probe"]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_NOCOLOR": "1",
    }
    argv += ["--args", json.dumps(arguments), *options]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_module_succeeds_fails_and_warns_in_check_mode(stand: Stand) -> None:
    good = {"endpoint": {"protocol": "fastcgi", "unix": "/run/p/open.sock"}, "path": "/fpm-ping", "name": "pool"}
    bad = {"endpoint": "fastcgi+unix:///run/p/none.sock", "name": "blog"}
    code, out = _module(stand, endpoints=[good, "tcp://127.0.0.1:9921"])
    assert code == 0, out
    code, out = _module(stand, endpoints=[good, bad], timeout=1)
    assert code == 2
    assert "blog (fastcgi+unix:///run/p/none.sock) is down: there is no socket /run/p/none.sock" in out
    assert "pong" in out  # the evidence of the good one is there too
    code, out = _module(stand, "--check", endpoints=[good, bad], timeout=1)
    assert code == 0, out
    assert "there is no socket /run/p/none.sock" in out
    code, out = _module(stand, endpoints=["fastcgi:/run/none"])
    assert code == 2
    assert "endpoints[0]" in out
