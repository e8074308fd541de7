# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A class from a CSV file. ansible-inventory reads it, and what it says is looked at."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.weblab.stacks.plugins.inventory import stands
from ansible_collections.weblab.stacks.plugins.module_utils._errors import DataError

ROOT = pathlib.Path(__file__).resolve().parents[3]
GOOD = "name,address,port,user,repository,manifest,token\nanna,10.0.0.5,2222,vagrant,anna,anna.yml,abc\n"


@pytest.fixture
def listed(tmp_path: pathlib.Path) -> t.Callable[..., subprocess.CompletedProcess[str]]:
    def run(table: bytes, *more: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "repositories" / "anna").mkdir(parents=True, exist_ok=True)
        (tmp_path / "class.csv").write_bytes(table)
        text = "\n".join(["plugin: weblab.stacks.stands", "csv: class.csv", *more])
        (tmp_path / "class.yml").write_text(text, encoding="utf-8")
        return subprocess.run(
            [pathlib.Path(sys.executable).parent / "ansible-inventory", "-i", tmp_path / "class.yml", "--list"],
            cwd=ROOT, env={**os.environ, "NO_COLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def unsafe(text: str) -> dict[str, str]:
    """As ansible-inventory shows a text that it would never template."""
    return {"__ansible_unsafe": text}


def test_each_line_is_a_host(listed: t.Callable[..., t.Any], tmp_path: pathlib.Path) -> None:
    # As a spreadsheet writes it: a mark of UTF-8, quotes where they are needed, an empty line.
    table = '\ufeffName;Address;Port;User;Repository\r\n"Ольга Ж.";10.0.0.5;2222;vagrant;anna\r\n;;;;\r\nboris;;;;\r\n'
    done = listed(table.encode())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["stands"]["hosts"] == ["Ольга Ж.", "boris"]
    assert found["_meta"]["hostvars"] == {
        "Ольга Ж.": {
            "ansible_host": unsafe("10.0.0.5"), "ansible_port": 2222, "ansible_user": unsafe("vagrant"),
            "verify_repository": unsafe(str(tmp_path / "repositories" / "anna")),
        }
    }  # fmt: skip


@pytest.fixture
def table(tmp_path: pathlib.Path) -> t.Callable[..., list[dict[str, str]]]:
    def read(text: str, allow_local: bool = False) -> list[dict[str, str]]:
        (tmp_path / "class.csv").write_text(text, encoding="utf-8")
        (tmp_path / "repositories" / "anna").mkdir(parents=True, exist_ok=True)
        folders = {"repository": tmp_path / "repositories", "manifest": tmp_path / "manifests"}
        return stands.read(tmp_path / "class.csv", folders, allow_local)

    return read


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("10.0.0.5", "-oProxyCommand=id", ":2: address: '-oProxyCommand=id' is not an IP address"),
        ("vagrant", "-x", ":2: user:"),
        ("anna,10", "{{ 7 * 7 }},10", ":2: name:"),
        ("anna,10", ",10", ":2: has no name"),
        (",anna,", ",../..,", ":2: repository:"),
        (",anna,", ",/etc,", ":2: repository:"),
        (",anna,", ",.,", ":2: repository:"),
        (",anna,", ",link,", ":2: repository:"),
        ("2222", "0x7", ":2: port:"),
        ("abc", "a'b", ":2: token:"),
        ("token", "tokens", ":1: there is no column 'tokens'; did you mean 'token'?"),
        ("token", "user", ":1: the column 'user' is there twice"),
        ("abc", "abc,more", ":2: has 8 cells, and the first line 7"),
        ("abc\n", "abc\nANNA,,,,,,\n", ":3: the name 'ANNA' is taken"),
        ("anna,10.0.0.5,2222,vagrant,anna,anna.yml,abc\n", "", "there is no stand in it"),
        ("anna,10", '"anna,10', "is no CSV"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    table: t.Callable[..., t.Any], tmp_path: pathlib.Path, good: str, bad: str, said: str
) -> None:
    (tmp_path / "repositories").mkdir()
    (tmp_path / "repositories" / "link").symlink_to("/etc")
    assert table(GOOD)
    assert good in GOOD
    with pytest.raises(DataError) as error:
        table(GOOD.replace(good, bad, 1))
    assert f"class.csv{said}" in str(error.value).replace("class.csv: ", "class.csv")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "169.254.169.254", "0.0.0.0", "::1", "::ffff:127.0.0.1"])
def test_no_stand_is_the_controller_itself(table: t.Callable[..., t.Any], address: str) -> None:
    with pytest.raises(DataError, match=r"class\.csv:2: address:"):
        table(f"name,address\nanna,{address}\n")
    if not address.startswith("::ffff"):
        assert table(f"name,address\nanna,{address}\n", allow_local=True)[0]["address"] == address


def test_a_mistake_ends_the_run(listed: t.Callable[..., t.Any]) -> None:
    done = listed("name\nЖёлтый\n".encode("cp1251"))
    assert done.returncode != 0
    assert "class.csv: is not UTF-8" in done.stderr
