# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""The work as it is handed in: the files of its repository. They are read, and nothing of them is run."""

from __future__ import annotations

import posixpath
import re

from . import Outcome, Scope, failed, kind, not_applicable, ok

#: Words of a README that tells how the stand is started, and how it was checked, in the two languages of the course.
_START = ("vagrant up", "docker compose up", "docker-compose up", "ansible-playbook", "make ")
_CHECKED = re.compile(
    r"\b(curl|wget|check(ed|ing)?|test(s|ed|ing)?|verif(y|ied|ication)|screenshot|провер\w*|тест\w*|скриншот\w*|результат\w*)",
    re.IGNORECASE,
)
_FORWARDED = re.compile(r"forwarded_port[\"']?\s*,([^\n]{0,200})")
_GUEST = re.compile(r"guest[\"']?\s*(?:=>|:)\s*[\"']?(\d{1,5})")
_HOST = re.compile(r"\bhost[\"']?\s*(?:=>|:)\s*[\"']?(\d{1,5})")
_COMPOSE_PORTS = re.compile(r"-\s*[\"']?(?:[0-9.]{1,15}:)?(\d{1,5}):\d{1,5}\b")

_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z]{2,10} )?PRIVATE KEY-----")
_ACCESS_KEY = re.compile(r"\b(AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20})\b")
#: A name that ends in password, and what it is set to.
_PASSWORD = re.compile(
    r"(?im)^[ \t]*(?:export |define\([ \t]*|-[ \t]+|const |let |var )?[\"']?"
    r"([\w-]{0,40}(?:password|passwd|secret_key|secret|api_key|token))[\"']?[ \t]*(?:=>|[:=,])[ \t]*([^\n]{1,200})"
)
#: What is no secret: a variable, a template, a lookup, nothing, an encrypted value, the name of a file.
_NO_SECRET = re.compile(
    r"^[\"']?(\$|\{\{|\{%|<|!vault|\|$|%|lookup|os\.|env\(|getenv|process\.|config|None\b|null\b|true\b|false\b|~|/|\[|\(|changeme\b"
    r"|[\"']?\s*[,)]*\s*$)",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"(^|/)(\.?env)?[\w.-]*(example|sample|dist|template|\.md$|\.lock$|package-lock\.json$)", re.IGNORECASE
)
_FOREIGN = re.compile(r"(^|/)(node_modules|vendor|wp-includes|wp-admin|site-packages|\.git)/")
_ROOT_ACCOUNT = re.compile(
    r"(?im)^[ \t]*(?:define\([ \t]*)?[\"']?(DB_USER(?:NAME)?|MYSQL_USER|POSTGRES_USER|DATABASE_USER|[\"']USER)[\"']*"
    r"[ \t]*(?:=>|[:=,])[ \t]*[\"']?(root|postgres)\b"
)
_ROOT_URL = re.compile(r"\b(mysql|mysql2|mariadb|postgres|postgresql)(\+\w{1,20})?://(root|postgres)[:@]")


def _own(scope: Scope) -> dict[str, str]:
    """Path -> text of the files that the author has written."""
    return {path: text for path, text in (scope.work or {}).items() if not _FOREIGN.search(path)}


def _called(scope: Scope, name: str) -> dict[str, str]:
    return {path: text for path, text in _own(scope).items() if posixpath.basename(path).lower() == name.lower()}


@kind("stand", work=True)
def repository(scope: Scope) -> Outcome:
    """There is a repository, with something in it."""
    if scope.work is None:
        return failed("no_repository")
    return ok(files=len(scope.work)) if scope.work else failed("empty_repository")


@kind("stand", work=True, words=30)
def readme(scope: Scope) -> Outcome:
    """A README says how the stand is started."""
    found = {
        path: text
        for path, text in _own(scope).items()
        if re.fullmatch(r"readme(\.\w+)?", posixpath.basename(path), re.I)
    }
    if not found:
        return failed("no_readme")
    path = min(found, key=lambda name: (name.count("/"), name))
    words = len(found[path].split())
    if words < scope.options["words"]:
        return failed("short_readme", path=path, words=words, wanted=scope.options["words"])
    if not any(word in found[path].lower() for word in _START):
        return failed("readme_without_start", path=path, examples=", ".join(_START[:4]))
    return ok(path=path, words=words)


@kind("stand", work=True)
def readme_tells_checks(scope: Scope) -> Outcome:
    """A README, or another text, says how the work was checked."""
    texts = {
        path: text for path, text in _own(scope).items() if path.lower().endswith((".md", ".rst", ".txt", ".adoc"))
    }
    if not texts:
        return failed("no_readme")
    return ok() if any(_CHECKED.search(text) for text in texts.values()) else failed("checks_not_described")


@kind("stand", work=True)
def vagrantfile(scope: Scope) -> Outcome:
    """A Vagrantfile describes the machine, and how it is set up."""
    found = _called(scope, "Vagrantfile")
    if not found:
        return not_applicable("no_vagrant") if scope.stand.starts != "vagrant" else failed("no_vagrantfile")
    if not any(".provision" in text for text in found.values()):
        return failed("vagrantfile_without_provision", path=min(found))
    return ok(path=min(found))


@kind("stand", work=True)
def ports_forwarded(scope: Scope) -> Outcome:
    """Each site's port is forwarded to localhost by the Vagrantfile, or published by compose."""
    vagrant, compose = _called(scope, "Vagrantfile"), {
        path: text
        for path, text in _own(scope).items()
        if re.fullmatch(r"(docker-)?compose[\w.-]*\.ya?ml", posixpath.basename(path), re.I)
    }  # fmt: skip
    if not vagrant and not compose:
        return not_applicable("no_vagrant")
    ports: set[int] = set()
    for text in vagrant.values():
        for rest in _FORWARDED.findall(_without_comments(text)):
            ports.update(int(port) for port in [*_GUEST.findall(rest), *_HOST.findall(rest)])
    for text in compose.values():
        ports.update(int(port) for port in _COMPOSE_PORTS.findall(_without_comments(text)))
    missing = [site.port for site in scope.stand.sites if site.port not in ports]
    if missing:
        return failed(
            "port_not_forwarded", ports=", ".join(map(str, missing)), seen=", ".join(map(str, sorted(ports))) or "-"
        )
    return ok(ports=", ".join(map(str, sorted(ports))))


@kind("stand", work=True)
def ansible(scope: Scope) -> Outcome:
    """Ansible sets the machine up: there is a play."""
    play = re.compile(r"(?m)^\s*-?\s*hosts\s*:")
    found = [path for path, text in _own(scope).items() if path.endswith((".yml", ".yaml")) and play.search(text)]
    return ok(path=min(found)) if found else failed("no_playbook")


@kind("stand", work=True)
def no_secrets(scope: Scope) -> Outcome:
    """No password, key or token that is in use lies in the repository."""
    for path, text in sorted(_own(scope).items()):
        if _EXAMPLE.search(path):
            continue
        for name, pattern in (("private key", _PRIVATE_KEY), ("access key", _ACCESS_KEY)):
            if match := pattern.search(text):
                return failed("secret_in_repository", path=path, line=_line(text, match.start()), what=name)
        for match in _PASSWORD.finditer(text):
            if not _NO_SECRET.match(match[2].strip()):
                return failed("secret_in_repository", path=path, line=_line(text, match.start()), what=match[1])
    return ok()


@kind("stand", work=True)
def no_database_root(scope: Scope) -> Outcome:
    """The application has an account of its own in the database, and not the one that may do everything."""
    for path, text in sorted(_own(scope).items()):
        for pattern in (_ROOT_ACCOUNT, _ROOT_URL):
            if match := pattern.search(text):
                return failed("database_root", path=path, line=_line(text, match.start()))
    return ok()


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
