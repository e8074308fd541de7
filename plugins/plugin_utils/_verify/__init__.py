# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to the collection: not a public API.
"""Homework verification: a stand, a rubric, a verdict.

A rubric (_rubric) has criteria, each of a kind (_kinds). What the kinds want to know is asked (_engine), what was seen
is judged (_judge), and the document of the verdict is all that a report is made of.
"""
