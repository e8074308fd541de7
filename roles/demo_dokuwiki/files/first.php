<?php
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

/*
 * What a new wiki begins with: its administrator, whose password is a secret of this host, and its first pages.
 * first.php WIKI PASSWORD-FILE USER
 */

declare(strict_types=1);

[, $wiki, $secret, $user] = $argv;
umask(0027);

$stock = json_decode((string) file_get_contents("$wiki/stock.json"), true, 8, JSON_THROW_ON_ERROR);
foreach ($stock['pages'] as $name => $blocks) {
    write("$wiki/data/pages/$name.txt", implode("\n\n", $blocks) . "\n", $user);
}

$hash = password_hash(trim((string) file_get_contents($secret)), PASSWORD_BCRYPT);
// The last one, by which the next run sees that all is there.
write("$wiki/conf/users.auth.php", "# users.auth.php\n# <?php exit()?>\nadmin:$hash:Administrator:admin@wiki.example:admin,user\n", $user);

function write(string $path, string $text, string $user): void
{
    if (file_put_contents($path, $text) === false || !chown($path, $user) || !chgrp($path, $user)) {
        exit(1);
    }
}
