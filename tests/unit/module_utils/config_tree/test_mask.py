# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a daemon says about a secret file loses the file's words, and no others."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.module_utils._config_tree._mask import Mask

SECRET = 'proxy_set_header X-Key "Kjw83hdkQ;w";\nenv[DB_PASSWORD] = s3cr\nuser www-data;\n'
PUBLIC = ["user www-data;\nserver { listen 8083; }\n", "/etc/nginx/secret.conf"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('unknown "Kjw83hdkQ" in /etc/nginx/secret.conf:1', 'unknown "(secret)" in /etc/nginx/secret.conf:1'),
        ("invalid value Kjw83hdkQ;w", "invalid value (secret)"),
        ("xKjw83hdkQx", "x(secret)x"),
        ("s3cr and s3cret", "(secret) and s3cret"),
        ("user www-data listens on 8083", "user www-data listens on 8083"),
        ("it is on", "it is on"),
    ],
    ids=["quoted", "whole", "long word inside", "short word alone", "public words", "nothing secret"],
)
def test_words_of_secret_files_are_hidden(said: str, shown: str) -> None:
    assert Mask([SECRET], PUBLIC).text(said) == shown


def test_nested_values() -> None:
    value = {"body": "s3cr", "sizes": [1, "s3cr"], "none": None}
    assert Mask([SECRET], PUBLIC).value(value) == {"body": "(secret)", "sizes": [1, "(secret)"], "none": None}


def test_without_secrets_nothing_is_read() -> None:
    def public() -> t.Iterator[str]:
        yield pytest.fail("read for nothing")

    assert Mask([], public()).text("anything") == "anything"
