# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WordPress on the PHP stacks: posts, the log-in, a picture; and what must not work."""

from __future__ import annotations

import re
import socket
import struct
import urllib.parse
import uuid
import zlib

import pytest
from visitor import Visitor, on_host, url_of

BLOGS = ["blog-prefork", "blog-event", "blog-worker", "blog-nginx"]
UPLOADS = "/srv/weblab/wordpress/{}/wp-content/uploads"


@pytest.fixture(params=BLOGS)
def blog(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def visitor(blog: str) -> Visitor:
    return Visitor(url_of(blog))


@pytest.fixture
def author(blog: str, visitor: Visitor) -> Visitor:
    password = on_host("cat", f"/etc/weblab/wordpress/{blog}.admin").strip()
    assert _log_in(visitor, password)
    return visitor


def _log_in(visitor: Visitor, password: str) -> bool:
    visitor.get("/wp-login.php")
    answer = visitor.post("/wp-login.php", {"log": "admin", "pwd": password, "testcookie": "1", "wp-submit": "x"})
    return "/wp-admin/" in answer.url and answer.status == 200


def _png(width: int, height: int, red: int) -> bytes:
    """A picture that nobody has seen before, written from the specification."""
    rows = b"".join(b"\0" + b"".join(bytes([red, x % 256, y % 256]) for x in range(width)) for y in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_serves_posts(visitor: Visitor) -> None:
    posts = visitor.get("/?rest_route=/wp/v2/posts").json()
    assert len(posts) >= 3
    for post in posts[:3]:
        page = visitor.get(urllib.parse.urlsplit(post["link"]).path)
        assert page.status == 200
        assert post["title"]["rendered"] in page.text
    assert visitor.get("/no-such-post/").status == 404


def test_installer_is_closed(visitor: Visitor) -> None:
    answer = visitor.get("/wp-admin/install.php")
    assert "admin_password" not in answer.text


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "blog.example.org:8443", "blog_event", "[::1]:80"])
def test_links_follow_the_name_that_was_used(visitor: Visitor, name: str) -> None:
    answer = visitor.get("/", Host=name)
    assert answer.status == 200
    assert f'href="http://{name}/feed/"' in answer.text


@pytest.mark.parametrize("name", ["a'b", 'a"onload="x', "a/b", "<b>"])
def test_host_header_that_is_no_name_is_refused(visitor: Visitor, name: str) -> None:
    answer = visitor.get("/", Host=name)
    assert answer.status == 400
    assert name not in answer.text


def test_what_the_web_server_lets_through_the_blog_refuses_itself(visitor: Visitor) -> None:
    answer = visitor.get("/", Host="-a")
    assert (answer.status, answer.text) == (400, "The Host header is no host name.")


def test_wrong_password_is_refused(visitor: Visitor) -> None:
    assert not _log_in(visitor, "wrong")
    assert "/wp-login.php" in visitor.get("/wp-admin/").url


def test_author_publishes_and_it_is_served(blog: str, author: Visitor) -> None:
    nonce = uuid.uuid4().hex
    key = author.get("/wp-admin/admin-ajax.php?action=rest-nonce").text
    created = author.post(
        "/?rest_route=/wp/v2/posts", {"title": nonce, "content": f"<p>{nonce}</p>", "status": "publish"}, X_WP_Nonce=key
    )
    assert created.status == 201, created.text
    try:
        assert nonce in Visitor(author.base).get("/").text
    finally:
        number = created.json()["id"]
        gone = author.post(f"/?rest_route=/wp/v2/posts/{number}&force=true&_method=DELETE", {}, X_WP_Nonce=key)
    assert gone.status == 200, gone.text


def test_author_uploads_a_picture(blog: str, author: Visitor) -> None:
    picture, name = _png(640, 480, uuid.uuid4().bytes[0]), f"{uuid.uuid4().hex}.png"
    form = author.get("/wp-admin/media-new.php").fields()
    form |= {"html-upload": "Upload", "post_id": "0"}
    answer = author.upload("/wp-admin/media-new.php", form, "async-upload", name, picture, "image/png")
    assert answer.status == 200, answer.text
    key = author.get("/wp-admin/admin-ajax.php?action=rest-nonce").text
    media = author.get(f"/?rest_route=/wp/v2/media&search={name[:-4]}", X_WP_Nonce=key).json()
    assert len(media) == 1
    try:
        original = Visitor(author.base).get(media[0]["source_url"])
        assert original.body == picture
        assert original.headers["Content-Type"] == "image/png"
        small = media[0]["media_details"]["sizes"]["thumbnail"]
        assert Visitor(author.base).get(small["source_url"]).body.startswith(b"\x89PNG")
        found = on_host("find", UPLOADS.format(blog), "-name", name, "-printf", "%u:%g %m")
        assert re.fullmatch(r"(www-data|blog-\w+):www-data 6[46]0", found), found
    finally:
        gone = author.post(f"/?rest_route=/wp/v2/media/{media[0]['id']}&force=true&_method=DELETE", {}, X_WP_Nonce=key)
    assert gone.status == 200, gone.text


def test_a_script_cannot_be_uploaded_nor_run(blog: str, author: Visitor) -> None:
    form = author.get("/wp-admin/media-new.php").fields() | {"html-upload": "Upload", "post_id": "0"}
    code = b"<?php echo 6 * 7;"
    name = f"{uuid.uuid4().hex}.php"
    author.upload("/wp-admin/media-new.php", form, "async-upload", name, code, "image/png")
    assert on_host("find", UPLOADS.format(blog), "-name", "*.php") == ""
    # Even if one had found its way there by another door:
    place = f"{UPLOADS.format(blog)}/{name}"
    on_host("sh", "-c", f"echo '<?php echo 6 * 7;' > {place}; chmod 644 {place}")
    try:
        answer = author.get(f"/wp-content/uploads/{name}")
    finally:
        on_host("rm", place)
    assert answer.status == 403
    assert "42" not in answer.text
    assert "<?php" not in answer.text


@pytest.mark.parametrize("path", ["/wp-config.php", "/wp-content/install.php", "/whoami/index.php", "/wp-settings.php"])
def test_source_is_never_served(visitor: Visitor, path: str) -> None:
    assert "<?php" not in visitor.get(path).text


def test_blogs_cannot_read_each_others_secrets() -> None:
    url_of("blog-event")
    for user, other in (("blog-event", "blog-prefork"), ("www-data", "blog-event")):
        for file in (f"/etc/weblab/wordpress/{other}.key", f"/etc/weblab/wordpress/{other}.admin"):
            denied = on_host("sh", "-c", f"runuser -u {user} -- cat {file} 2>&1 || echo denied")
            assert "Permission denied" in denied
    with pytest.raises(AssertionError, match="denied"):
        on_host("runuser", "-u", "blog-event", "--", "mariadb", "blog_prefork", "-e", "select 1")


def test_only_uploads_can_be_written(blog: str) -> None:
    url_of(blog)
    user = "www-data" if blog == "blog-prefork" else blog
    places = "/usr/share/wordpress /etc/wordpress /srv/weblab /var/lib/wordpress"
    found = on_host("sh", "-c", f"runuser -u {user} -- find {places} -xdev -type d -writable 2>/dev/null || true")
    mine = [line for line in found.splitlines() if not line.startswith("/var/lib/wordpress")]
    assert [line for line in mine if not line.startswith(UPLOADS.format(blog))] == []
    assert UPLOADS.format(blog) in mine


def test_database_has_no_port() -> None:
    url_of("blog-event")
    assert "mariadbd" not in on_host("ss", "-Hltnp")
    assert "/run/mysqld/mysqld.sock" in on_host("ss", "-Hlxp")
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", 3306)) != 0
