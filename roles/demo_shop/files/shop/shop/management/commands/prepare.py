# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring one instance of the shop up to date: tables, opening stock, administrator. Says what it changed."""

from __future__ import annotations

import importlib
import sys
import typing as t

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.migrations.executor import MigrationExecutor


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: t.Any, **options: t.Any) -> None:
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=0)
            self.stdout.write("changed: tables")
        for name in settings.PARTS[settings.PART]:
            with transaction.atomic():
                if importlib.import_module(f"{name}.stock").fill(settings.MESSAGES["stock"]):
                    self.stdout.write(f"changed: opening stock of {name}")
        users = get_user_model().objects
        if not users.filter(is_superuser=True).exists():
            password = sys.stdin.readline().strip()
            if password:
                users.create_superuser("admin", "admin@localhost", password)
                self.stdout.write("changed: administrator")
