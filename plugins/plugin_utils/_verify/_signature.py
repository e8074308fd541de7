# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Signatures of results: Ed25519 (RFC 8032) over the bytes of a file, beside it, as ``openssl pkeyutl`` has them."""

from __future__ import annotations

import pathlib
import typing as t

from ...module_utils._errors import DataError

if t.TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
_MAKE = "openssl genpkey -algorithm ed25519 -out teacher.key; openssl pkey -in teacher.key -pubout -out teacher.pub"


def sign(path: pathlib.Path, key: str) -> None:
    """Write the signature of a file beside it.

    :param key: a file with the private key, PEM and without a password.
    :raises DataError: it is none, or the signature cannot be written.
    """
    made = _private(key)
    try:
        path.with_name(path.name + SUFFIX).write_bytes(made.sign(path.read_bytes()))
    except OSError as error:
        raise DataError("key", f"{error.filename}: {error.strerror}") from error


def check(path: pathlib.Path, public_key: str) -> str:
    """Is the file what was signed? ``good``, ``bad`` or ``missing``.

    :param public_key: a file with the public key, PEM.
    :raises DataError: it is none.
    """
    from cryptography.exceptions import InvalidSignature

    key = _public(public_key)
    try:
        signature = path.with_name(path.name + SUFFIX).read_bytes()
    except OSError:
        return "missing"
    try:
        key.verify(signature, path.read_bytes())
    except InvalidSignature:
        return "bad"
    return "good"


def _private(path: str) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path, "key"), None)
    except (TypeError, ValueError) as error:
        raise DataError("key", f"{path} is no private key in PEM without a password. {_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError("key", f"{path} is no key for Ed25519. {_MAKE}")
    return key


def _public(path: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path, "public_key"))
    except ValueError as error:
        raise DataError("public_key", f"{path} is no public key in PEM. {_MAKE}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise DataError("public_key", f"{path} is no key for Ed25519. {_MAKE}")
    return key


def _read(path: str, where: str) -> bytes:
    try:
        return pathlib.Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DataError(where, f"{path}: {error.strerror}. {_MAKE}") from error
