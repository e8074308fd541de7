# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Pages as a visitor gets them: that they are there, and that they are what they should be."""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from .._evidence import Answered, Ask
from . import Outcome, Scope, failed, kind, not_applicable, ok


class Sign(t.NamedTuple):
    """What a page is known by. It may be hostile: patterns see a short title only, the rest are words to be found."""

    whose: str
    #: Found in the title.
    title: str = ""
    #: All of them are in the page, or in the address that it sends the visitor to.
    words: tuple[str, ...] = ()


#: Of applications that want to be installed. The words are their own, in the language that each starts with.
INSTALLERS = (
    Sign("WordPress", words=("wp-admin/install.php",)),
    Sign("WordPress", words=("wp-admin/setup-config.php",)),
    Sign("DokuWiki", title="DokuWiki Installer"),
    Sign("Joomla", title="Joomla.*Install"),
    Sign("Drupal", title=r"Choose language \| Drupal|Drupal.*installation"),
    Sign("Nextcloud", words=("Nextcloud", 'id="adminlogin"')),
    Sign("MediaWiki", title="MediaWiki.*(installation|not set up)"),
    Sign("MediaWiki", words=("LocalSettings.php</code> not found",)),
    Sign("phpBB", title="phpBB.*Installation"),
)
#: What tells a visitor what only a developer should see.
DEBUG_PAGES = (
    Sign("Django", words=("seeing this", "<code>DEBUG = True</code>")),
    Sign("Django", words=("The install worked successfully! Congratulations!",)),
    Sign("Flask (Werkzeug)", title="// Werkzeug Debugger"),
    Sign("Flask (Werkzeug)", words=("The debugger caught an exception in your WSGI application",)),
    Sign("Laravel", words=("Illuminate\\", "vendor/laravel")),
    Sign("Laravel", title="^🧨"),
    Sign("Whoops", title="^Whoops"),
    Sign("Express", words=("<pre>", "Error: ", "node_modules")),
    Sign("Express", words=("<pre>", "Error: ", "node:internal")),
    Sign("Ruby on Rails", title="Action Controller: Exception caught"),
    Sign("Ruby on Rails", words=("Rails.root: ",)),
    Sign("Sinatra", words=("know this ditty",)),
    Sign("PHP (display_errors)", words=("<b>Fatal error</b>:", "on line <b>")),
    Sign("PHP (display_errors)", words=("<b>Parse error</b>:", "on line <b>")),
    Sign("PHP (display_errors)", words=("<b>Warning</b>:", "on line <b>")),
    Sign("phpinfo()", title=r"phpinfo\(\)|^PHP [0-9.]+ - phpinfo"),
)
#: What a browser shows where a server that has just been installed has nothing of its own to show.
DEFAULT_PAGES = (
    Sign("nginx", title="^Welcome to nginx"),
    Sign("Apache", title="^Apache2 (Debian|Ubuntu) Default Page"),
    Sign("Caddy", title="^Caddy works"),
    Sign("lighttpd", title="^Welcome page$", words=("lighttpd",)),
    Sign("lighttpd", words=("placeholder page", "lighttpd")),
)
_TITLE = re.compile(r"<title[^<>]{0,100}>([^<]{0,200})", re.IGNORECASE)
_PHP = re.compile(r"<\?(php\b|=)")


def _page(scope: Scope, path: str | None = None, number: int = 0) -> Ask:
    site = scope.site
    return Ask("controller", site.endpoint(scope.stand.address), path or site.path, site.named, number=number)


def _ways(scope: Scope) -> list[Ask]:
    """By each name under which somebody may come: localhost, the address, the names of the manifest, the site's own."""
    site, address = scope.site, scope.stand.address
    if site.host and not scope.options["everywhere"]:
        return [_page(scope)]
    shown = f"[{address}]" if ":" in address else address
    ways = [f"localhost:{site.port}", f"{shown}:{site.port}", *(f"{name}:{site.port}" for name in scope.stand.names)]
    ways += [site.named]
    return [Ask("controller", site.endpoint(address), site.path, host) for host in dict.fromkeys(ways)]


def no_answer(answer: Answered, where: str) -> Outcome | None:
    """A failure where no page came; nothing where one did."""
    if not answer.came:
        return failed(f"no_answer_{answer.cause}", where=where)
    if answer.status is None or answer.status >= 400:
        return failed("bad_status", where=where, status=answer.status)
    return None


@kind("site", asks=_ways, everywhere=True)
def answers(scope: Scope) -> Outcome:
    """The site answers by localhost, by the address and by each name of the manifest, with the same page."""
    bad = []
    for ask in _ways(scope):
        answer = scope.answers[ask]
        if (outcome := no_answer(answer, f"{ask.host}{ask.path}")) is not None:
            bad.append((ask.host, outcome))
    if not bad:
        return ok(names=", ".join(ask.host for ask in _ways(scope)))
    if len(bad) == len(_ways(scope)):
        return bad[0][1]
    good = [ask.host for ask in _ways(scope) if ask.host not in dict(bad)]
    seen = bad[0][1].facts.get("status") or bad[0][1].cause.removeprefix("no_answer_")
    return failed("only_by_some_names", bad=", ".join(dict(bad)), good=", ".join(good), seen=seen)


def _own_page(scope: Scope) -> list[Ask]:
    return [_page(scope)]


@kind("site", asks=_own_page)
def no_installer(scope: Scope) -> Outcome:
    """The page is the application's, and not the one that asks for its installation."""
    answer = scope.answers[_page(scope)]
    found = recognised(INSTALLERS, answer)
    return failed("installer", whose=found) if found else ok()


@kind("site", asks=_own_page)
def no_default_page(scope: Scope) -> Outcome:
    """The page is not what the server shows when it has just been installed."""
    found = recognised(DEFAULT_PAGES, scope.answers[_page(scope)])
    return failed("default_page", whose=found) if found else ok()


def _where_debuggers_show(scope: Scope) -> list[Ask]:
    # A page that nobody has: a framework in debug mode shows its routes and settings there.
    return [_page(scope), _page(scope, f"/{scope.nonce}-nowhere")]


@kind("site", asks=_where_debuggers_show)
def no_debug_page(scope: Scope) -> Outcome:
    """Neither the page nor an address that nobody has shows what is for developers."""
    for ask in _where_debuggers_show(scope):
        found = recognised(DEBUG_PAGES, scope.answers[ask])
        if found:
            return failed("debug_page", whose=found, path=ask.path)
    return ok()


def _sources(scope: Scope) -> list[Ask]:
    paths = [scope.site.path, "/index.php", *scope.options["paths"]]
    return [_page(scope, path) for path in dict.fromkeys(paths)]


@kind("site", asks=_sources, paths=[])
def no_source(scope: Scope) -> Outcome:
    """No PHP is given to visitors as a text."""
    for ask in _sources(scope):
        answer = scope.answers[ask]
        if answer.status == 200 and _PHP.search(answer.text):
            return failed("source_served", path=ask.path)
    return ok()


def _secrets(scope: Scope) -> list[Ask]:
    return [_page(scope, path) for path in scope.options["paths"]]


#: What is in the files, so that an application that answers every path is not taken for one that gives them away.
_SECRET = {
    "/.git/HEAD": r"\Aref: refs/|\A[0-9a-f]{40}\s*\Z",
    "/.git/config": r"^\[core\]",
    "/.env": r"(?m)^[A-Z][A-Z0-9_]+=",
    "/wp-config.php.bak": r"DB_PASSWORD",
    "/docker-compose.yml": r"(?m)^services:",
}


@kind("site", asks=_secrets, paths=list(_SECRET))
def no_secret_files(scope: Scope) -> Outcome:
    """Files of a developer that lie in the directory of a site are not given to visitors."""
    for ask in _secrets(scope):
        answer = scope.answers[ask]
        if answer.status == 200 and re.search(_SECRET.get(ask.path, r"\S"), answer.text):
            return failed("secret_file", path=ask.path)
    return ok()


def _nonces(scope: Scope) -> list[Ask]:
    if scope.site.nonce is None:
        return []
    return [_page(scope, scope.site.nonce.replace("{nonce}", nonce)) for nonce in (scope.nonce, scope.nonce[::-1])]


@kind("site", asks=_nonces)
def computed(scope: Scope) -> Outcome:
    """The page is made for the request: it repeats what nobody could foresee."""
    if scope.site.nonce is None:
        if scope.site.served_by == "static":
            return not_applicable("static_site")
        return failed("no_nonce_in_manifest")
    for ask, nonce in zip(_nonces(scope), (scope.nonce, scope.nonce[::-1])):
        answer = scope.answers[ask]
        if (outcome := no_answer(answer, ask.path)) is not None:
            return outcome
        if nonce not in answer.text:
            return failed("nonce_not_repeated", path=ask.path)
    return ok()


def _token(scope: Scope) -> list[Ask]:
    return [_page(scope, scope.site.token)] if scope.site.token and scope.token else []


@kind("site", asks=_token)
def own_token(scope: Scope) -> Outcome:
    """The page has the token of this student's task sheet, and so is not somebody else's."""
    if scope.token is None:
        return not_applicable("no_task_sheet")
    if scope.site.token is None:
        return not_applicable("no_token_in_manifest")
    if scope.token in urllib.parse.unquote_plus(scope.site.token):
        # An echo would say it as well.
        return failed("token_in_path", path=scope.site.token)
    (ask,) = _token(scope)
    if (outcome := no_answer(scope.answers[ask], ask.path)) is not None:
        return outcome
    text = scope.answers[ask].text
    if scope.token in text:
        return ok()
    whose = next((name for token, name in scope.others.items() if token in text), None)
    return failed("token_of_another", path=ask.path, whose=whose) if whose else failed("token_missing", path=ask.path)


@kind("stand")
def own_ports(scope: Scope) -> Outcome:
    """The sites are on the ports of this student's task sheet."""
    if not scope.ports:
        return not_applicable("no_task_sheet")
    others = [site.port for site in scope.stand.sites if site.port not in scope.ports]
    wanted = ", ".join(map(str, scope.ports))
    return failed("other_ports", ports=", ".join(map(str, others)), wanted=wanted) if others else ok(ports=wanted)


@kind("site", asks=_own_page)
def says(scope: Scope) -> Outcome:
    """The page has the text that the manifest names."""
    if scope.site.says is None:
        return not_applicable("no_text_in_manifest")
    found = scope.site.says in scope.answers[_page(scope)].text
    return ok() if found else failed("text_missing", text=scope.site.says, path=scope.site.path)


def _websocket(scope: Scope) -> list[Ask]:
    site = scope.site
    if site.websocket is None:
        return []
    endpoint = site.endpoint(scope.stand.address).replace("http", "ws", 1)
    return [Ask("controller", endpoint, site.websocket, site.named, echo=scope.nonce)]


@kind("site", asks=_websocket)
def websocket(scope: Scope) -> Outcome:
    """A WebSocket connection goes through the front server, and a text comes back (RFC 6455)."""
    if scope.site.websocket is None:
        return not_applicable("no_websocket_in_manifest")
    seen = _cut(scope, _websocket(scope))
    return failed("no_websocket", path=scope.site.websocket, seen=seen) if seen else ok(path=scope.site.websocket)


def _cut(scope: Scope, asks: t.Sequence[Ask]) -> str:
    """Why a connection that stays open is not what it should be; empty where it is."""
    (answer,) = scope.seen(asks)
    return f"{answer.status}, {answer.cause}" if answer.cause and answer.status is not None else answer.cause


def _events(scope: Scope) -> list[Ask]:
    site = scope.site
    if site.events is None:
        return []
    endpoint = site.endpoint(scope.stand.address).partition(":")[2]
    return [Ask("controller", f"sse:{endpoint}", site.events, site.named, tls=site.tls)]


@kind("site", asks=_events)
def events(scope: Scope) -> Outcome:
    """A stream of Server-Sent Events goes through the front server, which does not keep it to itself (HTML, 9.2)."""
    if scope.site.events is None:
        return not_applicable("no_events_in_manifest")
    seen = _cut(scope, _events(scope))
    return failed("no_events", path=scope.site.events, seen=seen) if seen else ok(path=scope.site.events)


@kind("stand", at_least=1)
def sites(scope: Scope) -> Outcome:
    """There are as many sites as the assignment wants, each on a port of its own."""
    count, wanted = len(scope.stand.sites), scope.options["at_least"]
    return ok(count=count) if count >= wanted else failed("too_few_sites", count=count, wanted=wanted)


def recognised(signs: t.Iterable[Sign], answer: Answered) -> str | None:
    """Whose page it is, when it is one of these."""
    text = f"{answer.headers.get('location', '')}\n{answer.text}"
    title = match[1].strip() if (match := _TITLE.search(text)) else ""
    return next(
        (
            sign.whose
            for sign in signs
            if all(word in text for word in sign.words)
            and (not sign.title or re.search(sign.title, title, re.IGNORECASE))
        ),
        None,
    )
