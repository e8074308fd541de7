<?php
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

/*
 * Plugin Name: No update checks
 * Description: The distribution updates WordPress. Asking wordpress.org, which this host may not even reach, only fills the log.
 */

declare(strict_types=1);

defined('ABSPATH') || exit;

remove_action('init', 'wp_schedule_update_checks');
foreach (['core', 'plugins', 'themes'] as $weblab_part) {
    remove_action('admin_init', "_maybe_update_$weblab_part");
}
unset($weblab_part);
