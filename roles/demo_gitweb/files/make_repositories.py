# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make each bare repository of its history, a stream of git-fast-import(1); again only when the history has changed."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
MADE_OF = "weblab-history"


def make(history: pathlib.Path, repository: pathlib.Path) -> bool:
    """Make ``repository``, or leave it alone; say whether something changed."""
    stream = history.read_bytes()
    description = history.with_suffix(".description").read_bytes()
    digest = hashlib.sha256(stream + description).hexdigest()
    mark = repository / MADE_OF
    if mark.is_file() and mark.read_text(encoding="ascii") == digest:
        return False
    new = repository.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": str(HERE / "gitconfig"), "GIT_DIR": str(new)}
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", new], env=environment, check=True)
    subprocess.run(["git", "fast-import", "--quiet"], env=environment, input=stream, check=True)
    (new / "description").write_bytes(description)
    (new / MADE_OF).write_text(digest, encoding="ascii")
    if repository.exists():
        shutil.rmtree(repository)
    new.rename(repository)
    return True


def main() -> None:
    os.umask(0o022)
    (HERE / "repositories").mkdir(exist_ok=True)
    for history in sorted((HERE / "history").glob("*.fi")):
        if make(history, HERE / "repositories" / f"{history.stem}.git"):
            print(f"changed: {history.stem}")


if __name__ == "__main__":
    main()
