# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.

"""The probe: endpoints in, one record of evidence per endpoint out, all at once."""

from __future__ import annotations

from ._engine import ARGUMENTS, ask_all, probe_all, run_probe
from ._queues import queues_of
from ._record import Record, describe

__all__ = ["ARGUMENTS", "Record", "ask_all", "describe", "probe_all", "queues_of", "run_probe"]
