# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small configurations that more than one test gives to config_tree."""

from __future__ import annotations

_APACHE = """\
ServerName localhost
DefaultRuntimeDir ${{APACHE_RUN_DIR}}
PidFile ${{APACHE_PID_FILE}}
User www-data
Group www-data
ErrorLog ${{APACHE_LOG_DIR}}/{name}-error.log
IncludeOptional mods-enabled/*.load
IncludeOptional mods-enabled/*.conf
IncludeOptional sites-enabled/*.conf
"""
_ENVVARS = """\
export APACHE_RUN_USER=www-data
export APACHE_RUN_GROUP=www-data
export APACHE_RUN_DIR=/run/apache2-{name}
export APACHE_PID_FILE=/run/apache2-{name}/apache2.pid
export APACHE_LOCK_DIR=/run/lock/apache2-{name}
export APACHE_LOG_DIR=/var/log/apache2
"""
_UWSGI_UNIT = """\
[Service]
Type=notify
ExecStart=/usr/bin/uwsgi --ini /etc/uwsgi/{file}
ExecReload=/bin/kill -HUP $MAINPID
KillSignal=SIGINT
KillMode=mixed
{more}
[Install]
WantedBy=multi-user.target
"""


def apache_main(name: str) -> str:
    """The apache2.conf of the instance apache2@NAME."""
    return _APACHE.format(name=name)


def apache_envvars(name: str) -> str:
    return _ENVVARS.format(name=name)


def uwsgi_unit(file: str, more: str = "") -> str:
    """A unit that runs uWSGI with a file of /etc/uwsgi."""
    return _UWSGI_UNIT.format(file=file, more=more)
