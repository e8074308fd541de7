# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import socket
import tempfile

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._endpoint import Endpoint, EndpointError, parse


@pytest.mark.parametrize(
    ("value", "endpoint"),
    [
        ("fastcgi+unix:///run/php/blog.sock", Endpoint("fastcgi", unix="/run/php/blog.sock")),
        ("unix:///run/x.sock", Endpoint("unix", unix="/run/x.sock")),
        ("http://127.0.0.1", Endpoint("http", host="127.0.0.1", port=80)),
        ("wss://chat.example.org/", Endpoint("wss", host="chat.example.org", port=443)),
        ("uwsgi://[::1]:3031", Endpoint("uwsgi", host="::1", port=3031)),
        ({"protocol": "scgi", "host": "127.0.0.1", "port": "4000"}, Endpoint("scgi", host="127.0.0.1", port=4000)),
        ({"protocol": "http", "unix": "@abstract"}, Endpoint("http", unix="@abstract")),
        ("unix://@abstract", Endpoint("unix", unix="@abstract")),
        ("scgi+unix://@abstract", Endpoint("scgi", unix="@abstract")),
        ("ws+unix:///run/x.sock", Endpoint("ws", unix="/run/x.sock")),
        ("http://[::1]:8080", Endpoint("http", host="::1", port=8080)),
        ("sse://[2001:DB8::1]", Endpoint("sse", host="2001:db8::1", port=80)),
        ("long_polling://127.0.0.1:8085", Endpoint("long_polling", host="127.0.0.1", port=8085)),
    ],
)
def test_both_spellings(value: object, endpoint: Endpoint) -> None:
    assert parse(value) == endpoint
    assert parse(endpoint.url) == endpoint
    assert parse(endpoint.as_dict()) == endpoint


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("/run/php.sock", "is no endpoint"),
        ("fcgi://127.0.0.1:9000", "protocol 'fcgi' is not one of"),
        ("http://127.0.0.1:80/path", "the path belongs to the request"),
        ("tcp://127.0.0.1", "both host and port"),
        ("http://127.0.0.1:65536", "port '65536' is not a number"),
        ("unix://run/x.sock", "not an absolute path"),
        ("unix:///run/a b.sock", "not an absolute path"),
        ("unix:///run/../etc/x.sock", "not an absolute path"),
        ("http://-bad-:80", "neither an IP address nor a host name"),
        ({"protocol": "http", "unix": "/run/x", "port": 80}, "not both"),
        ({"protocol": "http", "sock": "/run/x"}, "unknown key 'sock'"),
        ({"protocol": "http", "host": "127.0.0.1", "port": True}, "port True"),
        ({"protocol": "http", "host": "127.0.0.1", "port": 80.5}, "port 80.5"),
        ("http://127.0.0.1:8_0", "port '8_0'"),
        ("http://127.0.0.1:80\n", "is no endpoint"),
        ("http://[::1", "write an IPv6 address"),
        ("http://[::1]80", "write an IPv6 address"),
        ("http://::1:80", "neither an IP address"),
        ("unix://@", "is not the name of an abstract socket"),
        ("unix://@a b", "is not the name of an abstract socket"),
        (["http"], "not list"),
    ],
)
def test_what_is_no_endpoint_says_why_and_where(value: object, said: str) -> None:
    with pytest.raises(EndpointError, match=said) as caught:
        parse(value, "sites[2].socket")
    assert str(caught.value).startswith("sites[2].socket: ")


@pytest.mark.parametrize("length", [107, 108])
def test_a_socket_path_is_as_long_as_the_kernel_takes(length: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = str(pathlib.Path(directory) / "x").ljust(length, "x")
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(path)
                kernel_takes_it = True
            except OSError:
                kernel_takes_it = False
    assert kernel_takes_it == (length == 107)
    if kernel_takes_it:
        assert parse({"protocol": "unix", "unix": path}).unix == path
    else:
        with pytest.raises(EndpointError, match="the kernel takes 107"):
            parse({"protocol": "unix", "unix": path})


def test_a_protocol_can_be_demanded() -> None:
    assert parse({"unix": "/run/x"}, protocol="fastcgi").protocol == "fastcgi"
    with pytest.raises(EndpointError, match="speaks fastcgi, not http"):
        parse("http+unix:///run/x", protocol="fastcgi")
