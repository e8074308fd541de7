<?php
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

/* Whose notes can this site's process read? HTML for people, JSON with ?format=json. */

declare(strict_types=1);

$page = json_decode((string) file_get_contents(dirname(__DIR__) . '/page.json'), true, 8, JSON_THROW_ON_ERROR);
$found = [
    'user' => posix_getpwuid(posix_geteuid())['name'] ?? (string) posix_geteuid(),
    'pid' => getmypid(),
    // Only whether it can be read: the note itself is nobody's business.
    'notes' => array_map(static fn (string $path): bool => @file_get_contents($path) !== false, $page['notes']),
];

header('Cache-Control: no-store');
header('X-Content-Type-Options: nosniff');
if (($_GET['format'] ?? '') === 'json') {
    header('Content-Type: application/json');
    echo json_encode($found, JSON_THROW_ON_ERROR);
    exit;
}

$texts = $page['texts'];
$escape = static fn (mixed $value): string => htmlspecialchars((string) $value, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
$rows = [$texts['user'] => $found['user'], $texts['pid'] => $found['pid']];
foreach ($found['notes'] as $site => $readable) {
    $rows[strtr($texts['note'], ['{site}' => $site])] = $readable ? $texts['open'] : $texts['closed'];
}
header('Content-Type: text/html; charset=utf-8');
?>
<!doctype html>
<html lang="<?= $escape($texts['lang']) ?>">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title><?= $escape($texts['title']) ?></title>
<style>
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; }
th, td { padding: .3rem 1rem .3rem 0; text-align: left; font-weight: 400; }
td { font-family: ui-monospace, monospace; }
</style>
</head>
<body>
<h1><?= $escape($texts['title']) ?></h1>
<p><?= $escape($texts['lead']) ?> <a href="?format=json">JSON</a></p>
<table>
<?php foreach ($rows as $name => $value): ?>
<tr><th scope="row"><?= $escape($name) ?></th><td><?= $escape($value) ?></td></tr>
<?php endforeach ?>
</table>
</body>
</html>
