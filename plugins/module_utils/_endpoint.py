# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""An endpoint: a socket and the protocol spoken on it, as one typed value.

The front server's directive, the application server's listen key and the probe
are all spelled from the same :class:`Endpoint`, so they cannot disagree.

Two forms, both accepted everywhere:

* typed: ``{protocol: fastcgi, unix: /run/php/blog.sock}`` or
  ``{protocol: http, host: 127.0.0.1, port: 8081}``
* URL: ``fastcgi+unix:///run/php/blog.sock`` or ``http://127.0.0.1:8081``

A path that starts with ``@`` is the name of an abstract Unix socket. For users, this is told in
the documentation of endpoint_probe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import re
import typing as t

from ._errors import DataError

#: ``tcp`` and ``unix`` are a bare connect: no byte is sent.
PROTOCOLS = ("tcp", "unix", "http", "https", "ws", "wss", "sse", "long_polling", "fastcgi", "scgi", "uwsgi")

#: sun_path holds 108 bytes, the last of them NUL (unix(7)).
UNIX_PATH_MAX = 107

_DEFAULT_PORTS = {"http": 80, "ws": 80, "sse": 80, "long_polling": 80, "https": 443, "wss": 443}
_TLS = ("https", "wss")
#: What daemons write for all addresses, and one of them.
_ALL_ADDRESSES = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_URL = re.compile(r"(?P<protocol>[a-z_]+)(?P<unix>\+unix)?://(?P<rest>.*)")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")  # ipaddress would take any text as a zone
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class EndpointError(DataError):
    """A value that is no endpoint."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A socket (Unix path, or TCP host and port) and the protocol spoken on it."""

    protocol: str
    unix: str | None = None
    host: str | None = None
    port: int | None = None

    @property
    def is_unix(self) -> bool:
        return self.unix is not None

    @property
    def tls(self) -> bool:
        return self.protocol in _TLS

    @property
    def address(self) -> str:
        """``/run/x.sock``, ``127.0.0.1:9000`` or ``[::1]:9000``: as a daemon's listen key has it."""
        if self.unix is not None:
            return self.unix
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL spelling; :func:`parse` gives the same endpoint back."""
        if self.protocol == "unix":
            return f"unix://{self.unix}"
        if self.unix is not None:
            return f"{self.protocol}+unix://{self.unix}"
        return f"{self.protocol}://{self.address}"

    def as_dict(self) -> dict[str, t.Any]:
        """The typed form, without empty keys."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}

    def speaking(self, protocol: str) -> Endpoint:
        """The same socket with another protocol on it."""
        return dataclasses.replace(self, protocol=protocol)


def parse(value: t.Any, where: str = "", protocol: str | None = None) -> Endpoint:
    """Return the endpoint that ``value`` (typed or URL form, or an Endpoint) describes.

    :param where: path of the value in the user's data, for errors.
    :param protocol: the protocol when the value names none; one that is named must agree.
    :raises EndpointError: with ``where`` and what is wrong.
    """
    if isinstance(value, Endpoint):
        return value
    if isinstance(value, str):
        fields = _split_url(value, where)
    elif isinstance(value, t.Mapping):
        unknown = sorted(str(key) for key in set(value) - {"protocol", "unix", "host", "port"})
        if unknown:
            raise EndpointError(where, f"unknown key {unknown[0]!r}; an endpoint has protocol, unix, host, port")
        fields = {key: item for key, item in value.items() if item is not None}
    else:
        raise EndpointError(where, f"an endpoint is a URL or a mapping, not {type(value).__name__} {value!r}")
    spoken = fields.pop("protocol", None) or protocol
    if spoken not in PROTOCOLS:
        raise EndpointError(where, f"protocol {spoken!r} is not one of {', '.join(PROTOCOLS)}")
    if protocol and spoken != protocol:
        raise EndpointError(where, f"this endpoint speaks {protocol}, not {spoken}")
    return _checked(spoken, fields, where)


def listening(address: str, protocol: str, where: str = "") -> Endpoint:
    """The endpoint behind a daemon's listen key: a path, ``9000``, ``127.0.0.1:9000``.

    :raises EndpointError: with ``where`` and what is wrong.
    """
    if address.startswith(("/", "@")):
        return parse({"unix": address}, where, protocol)
    host, _colon, port = address.rpartition(":")
    host = host.strip("[]")
    return parse({"host": _ALL_ADDRESSES.get(host, host), "port": port}, where, protocol)


def _split_url(text: str, where: str) -> dict[str, t.Any]:
    match = _URL.fullmatch(text)
    if not match:
        raise EndpointError(
            where, f"{text!r} is no endpoint; write fastcgi+unix:///run/NAME.sock or http://127.0.0.1:8081"
        )
    protocol, rest = match["protocol"], match["rest"]
    if match["unix"] or protocol == "unix":
        return {"protocol": protocol, "unix": rest}
    authority = rest.rstrip("/")
    if "/" in authority:
        raise EndpointError(where, f"{text!r}: an endpoint is a socket; the path belongs to the request")
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or not (tail == "" or tail.startswith(":")):
            raise EndpointError(where, f"{text!r}: write an IPv6 address and its port as [::1]:8080")
        port = tail[1:]
    else:
        host, _colon, port = authority.partition(":")
    return {"protocol": protocol, "host": host, "port": port or _DEFAULT_PORTS.get(protocol)}


def _checked(protocol: str, fields: t.Mapping[str, t.Any], where: str) -> Endpoint:
    unix, host, port = fields.get("unix"), fields.get("host"), fields.get("port")
    if unix is not None:
        if host is not None or port is not None:
            raise EndpointError(where, "a socket is either unix, or host and port; not both")
        if protocol == "tcp":
            raise EndpointError(where, "tcp needs host and port, not a unix path")
        return Endpoint(protocol, unix=_checked_path(unix, where))
    if protocol == "unix":
        raise EndpointError(where, "unix needs the path of a socket")
    if host is None or port is None:
        raise EndpointError(where, "either unix, or both host and port are needed")
    return Endpoint(protocol, host=_checked_host(host, where), port=_checked_port(port, where))


def _checked_path(path: t.Any, where: str) -> str:
    if not isinstance(path, str) or not path:
        raise EndpointError(where, f"a socket path is text, not {path!r}")
    length = len(path.encode("utf-8", "surrogatepass"))
    if length > UNIX_PATH_MAX:
        raise EndpointError(
            where, f"the socket path has {length} bytes, and the kernel takes {UNIX_PATH_MAX} (unix(7)); shorten {path}"
        )
    if path.startswith("@"):
        if not re.fullmatch(r"[\x21-\x7e]+", path[1:]):
            raise EndpointError(where, f"{path!r} is not the name of an abstract socket: printable ASCII after the @")
        return path
    if not path.startswith("/") or "/../" in path or re.search(r"[\s;{}|\"'\x00\ud800-\udfff]", path):
        raise EndpointError(where, f"{path!r} is not an absolute path that every daemon can spell")
    return path


def _checked_host(host: t.Any, where: str) -> str:
    if isinstance(host, str):
        if _ADDRESS.fullmatch(host):
            with contextlib.suppress(ValueError):
                return str(ipaddress.ip_address(host))
        if _HOST.fullmatch(host):
            return host
    raise EndpointError(where, f"{host!r} is neither an IP address nor a host name")


def _checked_port(port: t.Any, where: str) -> int:
    number = port if isinstance(port, (int, str)) and not isinstance(port, bool) else ""
    if not re.fullmatch("[0-9]{1,5}", str(number)) or not 1 <= int(number) <= 65535:
        raise EndpointError(where, f"port {port!r} is not a number from 1 to 65535")
    return int(number)
