# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A WSGI application behind SCGI: aioscgi speaks the protocol, a2wsgi runs the application in threads.

The environment says which one:

WSGI_APPLICATION  package.module:callable, or a file such as app.py, from the working directory
WSGI_THREADS      how many requests run at the same time
WSGI_VIRTUALENV   virtual environment of the application, if it has one
"""

from __future__ import annotations

import glob
import importlib
import os
import runpy
import site
import sys
import typing as t

from a2wsgi import WSGIMiddleware  # type: ignore[import-not-found,unused-ignore]
from aioscgi.main import main  # type: ignore[import-not-found,unused-ignore]

Application = t.Callable[..., t.Any]


def load(name: str) -> t.Any:
    if name.endswith(".py"):
        return runpy.run_path(name)["application"]
    module, _colon, place = name.partition(":")
    found: t.Any = importlib.import_module(module)
    for part in (place.removesuffix("()") or "application").split("."):
        found = getattr(found, part)
    return found() if place.endswith("()") else found


def at_the_root(wsgi: Application) -> Application:
    """Give the application the whole path: front servers do not agree on what SCRIPT_NAME is in SCGI."""

    def call(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        sent = environ["asgi.scope"]["extensions"]["environ"]
        environ["SCRIPT_NAME"] = ""
        environ["PATH_INFO"] = sent["PATH_INFO"].decode("latin-1")
        return wsgi(environ, start_response)

    return call


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    for libraries in glob.glob(f"{os.environ.get('WSGI_VIRTUALENV', '')}/lib/python3*/site-packages"):
        site.addsitedir(libraries)
    application = WSGIMiddleware(
        at_the_root(load(os.environ["WSGI_APPLICATION"])), workers=int(os.environ.get("WSGI_THREADS", "1"))
    )
    sys.argv[1:] = ["--systemd", "__main__:application"]
    main()
