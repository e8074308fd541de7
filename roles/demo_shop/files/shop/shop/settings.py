# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of the book shop, as a monolith or as one of its services.

The environment says which it is; everything else follows from the user that it runs as:

SHOP_PART           all (default), web, catalog or reviews
SHOP_DATABASE       name of the database; by default the Unix user's, with _ for -
SHOP_SECRET_FILE    file with the secret key; by default /etc/weblab/shop/USER.key
SHOP_ALLOWED_HOSTS  names it answers to, separated by commas; by default all
CATALOG_SOCKET      Unix socket where the catalog speaks HTTP; without it the catalog is called in this process
REVIEWS_SOCKET      the same for the reviews
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import sys
import typing as t
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
USER = pwd.getpwuid(os.geteuid()).pw_name
#: Commands that serve nobody: they need neither the key nor MariaDB.
OFFLINE = sys.argv[1:2] in (["test"], ["collectstatic"], ["makemigrations"])

PART = os.environ.get("SHOP_PART", "all")
#: Which applications make up each part.
PARTS = {
    "all": ["pages", "catalog", "reviews"],
    "web": ["pages"],
    "catalog": ["catalog"],
    "reviews": ["reviews"],
}
if PART not in PARTS:
    raise SystemExit(f"SHOP_PART: {PART!r} is none of {', '.join(PARTS)}")
#: Where the parts speak HTTP for their callers; a part without a socket is called in this process.
SOCKETS = {name: os.environ.get(f"{name.upper()}_SOCKET", "") for name in ("catalog", "reviews")}
CALL_TIMEOUT = 2.0


def _secret() -> str:
    if OFFLINE:
        return secrets.token_hex()
    path = Path(os.environ.get("SHOP_SECRET_FILE", f"/etc/weblab/shop/{USER}.key"))
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise SystemExit(
            f"The secret key cannot be read: {error}. Set SHOP_SECRET_FILE, or run the role again."
        ) from error


SECRET_KEY = _secret()
DEBUG = False
# No page and no mail is built from the Host header, so any name may be used unless the administrator says which.
ALLOWED_HOSTS = [host for host in os.environ.get("SHOP_ALLOWED_HOSTS", "*").split(",") if host]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "shop",
    *PARTS[PART],
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "shop.calls.middleware",
]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.calls.context",
            ]
        },
    }
]

if OFFLINE:
    DATABASES: dict[str, dict[str, t.Any]] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
else:
    # The Unix user is the database user: the socket tells MariaDB who is calling, no password exists.
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": os.environ.get("SHOP_DATABASE", USER.replace("-", "_")),
            "USER": USER,
            "OPTIONS": {"unix_socket": "/run/mysqld/mysqld.sock", "charset": "utf8mb4"},
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

#: The texts of the chosen language and the books it opens with.
MESSAGES = json.loads((BASE_DIR / "messages.json").read_text("utf-8"))
TEXTS = MESSAGES["texts"]
LANGUAGE_CODE = MESSAGES["lang"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "assets"]

# The services share a host name: each has cookies of its own.
SESSION_COOKIE_NAME = f"shop_{PART}_session"
CSRF_COOKIE_NAME = f"shop_{PART}_csrf"
# The form's token stands in the page; no script needs the cookie.
CSRF_COOKIE_HTTPONLY = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"django": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
}
