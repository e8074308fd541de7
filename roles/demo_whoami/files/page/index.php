<?php
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

/*
 * Who served me: what the PHP process that answers knows about itself.
 * The keys are the same as those of whoami.py; the role's README documents them.
 * What cannot be known is null, never a guess.
 */

declare(strict_types=1);

function proc_read(string $path): ?string
{
    $text = @file_get_contents($path, false, null, 0, 4096);
    $text = $text === false ? '' : trim(str_replace("\0", ' ', $text));
    return $text === '' ? null : $text;
}

function proc_status(string $field): ?string
{
    return preg_match("/^$field:\\s*(.+)$/m", proc_read('/proc/self/status') ?? '', $found) ? $found[1] : null;
}

/** The value that the web server set for this site (SetEnv, a FastCGI parameter, a pool's env). */
function declared(string $name): ?string
{
    $value = $_SERVER[$name] ?? getenv($name);
    return is_string($value) && $value !== '' ? $value : null;
}

function account(string $file, int $id): string
{
    foreach (@file($file, FILE_IGNORE_NEW_LINES) ?: [] as $line) {
        $fields = explode(':', $line);
        if (($fields[2] ?? '') === (string) $id) {
            return $fields[0];
        }
    }
    return (string) $id;
}

/** "10.0.0.1:80", or "[::1]:80". */
function host_port(string $host, ?string $port): string
{
    $host = str_contains($host, ':') ? "[$host]" : $host;
    return $port === null || $port === '' ? $host : "$host:$port";
}

/** "0100007F:1F91" of /proc/net/tcp and tcp6, where the kernel writes each 32-bit word in host order. */
function kernel_address(string $hex): string
{
    [$host, $port] = explode(':', $hex);
    $bytes = '';
    foreach (str_split($host, 8) as $word) {
        $bytes .= strrev((string) hex2bin($word));
    }
    $text = (string) inet_ntop($bytes);
    return host_port(str_starts_with($text, '::ffff:') ? substr($text, 7) : $text, (string) hexdec($port));
}

/**
 * The server's end of the connection to this client. The web server's own SERVER_PORT will not do:
 * it repeats what the client wrote into the Host header.
 */
function server_end(string $peer): ?string
{
    foreach (['tcp', 'tcp6'] as $table) {
        foreach (@file("/proc/net/$table", FILE_IGNORE_NEW_LINES) ?: [] as $line) {
            $fields = preg_split('/\s+/', trim($line)) ?: [];
            if (($fields[3] ?? '') === '01' && kernel_address($fields[2]) === $peer) {
                return kernel_address($fields[1]);
            }
        }
    }
    return null;
}

/** Only mod_php lives in the web server and can ask it for its MPM; elsewhere the site declares it. */
function mpm(): ?string
{
    if (function_exists('apache_get_modules')) {
        $found = array_intersect(['prefork', 'worker', 'event', 'itk', 'mpm_itk'], apache_get_modules());
        if (in_array('itk', $found, true) || in_array('mpm_itk', $found, true)) {
            return 'itk';
        }
        return $found ? reset($found) : null;
    }
    return declared('WEBLAB_MPM');
}

/** php-cgi speaks CGI and FastCGI under one name: a program that was started for this request was started with it. */
function gateway(): string
{
    if (PHP_SAPI === 'cgi-fcgi' && str_contains((string) @file_get_contents('/proc/self/environ'), 'REQUEST_METHOD=')) {
        return 'cgi';
    }
    return str_contains(PHP_SAPI, 'fcgi') ? 'fastcgi' : PHP_SAPI;
}

function facts(): array
{
    // FPM writes the pool into the title of its processes. fpm_get_status() would know more, but ends the worker with
    // SIGSEGV while another one is being born (https://github.com/php/php-src/issues/18595).
    $process = proc_read('/proc/self/cmdline');
    $pool = preg_match('/^php-fpm: pool (\S+)/', $process ?? '', $title) ? $title[1] : null;
    $in_server = PHP_SAPI === 'apache2handler';
    $peer = isset($_SERVER['REMOTE_ADDR']) ? host_port($_SERVER['REMOTE_ADDR'], $_SERVER['REMOTE_PORT'] ?? null) : null;
    // An FPM worker may not look at its own descriptors (it is not dumpable): the site has to declare its socket.
    $socket = $in_server && $peer !== null ? server_end($peer) : null;
    $known_from = $socket === null ? null : 'kernel';
    if ($socket === null && ($socket = declared('WEBLAB_SOCKET')) !== null) {
        $known_from = 'configuration';
    }
    preg_match('/^(\d+) \(.*\) \S (\d+)/', proc_read('/proc/self/stat') ?? '', $stat);
    $parent = isset($stat[2]) ? (int) $stat[2] : null;
    $uid = (int) explode("\t", proc_status('Uid') ?? '')[1];
    $gid = (int) explode("\t", proc_status('Gid') ?? '')[1];
    $nonce = $_GET['nonce'] ?? '';
    // The task that runs this request: 123/task/124 in a threaded server.
    $thread = @readlink('/proc/thread-self');
    return [
        'site' => declared('WEBLAB_SITE'),
        'stack' => declared('WEBLAB_STACK'),
        'language' => 'PHP ' . PHP_VERSION,
        'server_software' => $_SERVER['SERVER_SOFTWARE'] ?? null,
        'sapi' => PHP_SAPI,
        'gateway' => $in_server ? 'none' : gateway(),
        'mpm' => mpm(),
        'pid' => getmypid(),
        'ppid' => $parent,
        'thread' => $thread ? (int) basename($thread) : null,
        'threads' => ($threads = proc_status('Threads')) !== null ? (int) $threads : null,
        'worker' => null,
        'pool' => $pool,
        'requests' => null,
        'process' => $process,
        'parent' => $parent === null ? null : proc_read("/proc/$parent/comm"),
        'user' => account('/etc/passwd', $uid),
        'uid' => $uid,
        'group' => account('/etc/group', $gid),
        'peer' => $peer,
        'socket' => $socket,
        'socket_known_from' => $known_from,
        'hostname' => gethostname() ?: null,
        'script_name' => $_SERVER['SCRIPT_NAME'] ?? '',
        'path_info' => $_SERVER['PATH_INFO'] ?? '',
        'nonce' => is_string($nonce) && $nonce !== '' ? short_text($nonce) : null,
        'time' => round(microtime(true), 3),
    ];
}

/** OPcache as this process has it, for who asks with ?opcache: what two processes tell alike, they share. */
function opcache(): array
{
    $status = function_exists('opcache_get_status') ? @opcache_get_status(false) : false;
    // Its memory is the largest one without a name that could be shared, and the kernel has a number for it. Workers that
    // were forked by root may not look (they are not dumpable).
    preg_match_all('/^(\w+)-(\w+) rw-s \S+ \S+ (\d+) +\/dev\/zero/m', (string) @file_get_contents('/proc/self/maps'), $maps, PREG_SET_ORDER);
    $sizes = array_column(array_map(fn (array $map): array => [$map[3], hexdec($map[2]) - hexdec($map[1])], $maps), 1, 0);
    return [
        'enabled' => $status !== false && $status['opcache_enabled'],
        'started' => $status['opcache_statistics']['start_time'] ?? null,
        'hits' => $status['opcache_statistics']['hits'] ?? null,
        'scripts' => $status['opcache_statistics']['num_cached_scripts'] ?? null,
        'segment' => $status !== false && $sizes ? array_search(max($sizes), $sizes, true) : null,
    ];
}

/** At most 64 characters of UTF-8; what is not UTF-8 is not echoed. */
function short_text(string $text): ?string
{
    return preg_match('/^.{1,64}/us', $text, $found) ? $found[0] : null;
}

function page(array $facts): string
{
    $escape = fn (mixed $value): string => htmlspecialchars((string) $value, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
    $messages = json_decode((string) @file_get_contents(__DIR__ . '/messages.json'), true) ?: [];
    $rows = '';
    foreach ($facts as $key => $value) {
        $rows .= sprintf(
            "<tr><th scope=row>%s</th><td>%s</td></tr>\n",
            $escape($messages[$key] ?? $key),
            $value === null ? '<em>' . $escape($messages['unknown'] ?? 'unknown') . '</em>' : '<code>' . $escape($value) . '</code>'
        );
    }
    return strtr((string) file_get_contents(__DIR__ . '/page.html'), [
        '{{rows}}' => $rows,
        '{{lang}}' => $escape($messages['lang'] ?? 'en'),
        '{{title}}' => $escape($messages['title'] ?? 'Who served me'),
        '{{lead}}' => $escape($messages['lead'] ?? ''),
    ]);
}

$format = $_GET['format'] ?? '';
$json = $format === 'json'
    || ($format !== 'html' && str_contains($_SERVER['HTTP_ACCEPT'] ?? '', 'application/json'));
header('Cache-Control: no-store');
header('Vary: Accept');
header('X-Content-Type-Options: nosniff');
if ($json) {
    header('Content-Type: application/json');
    $facts = facts() + (isset($_GET['opcache']) ? ['opcache' => opcache()] : []);
    echo json_encode($facts, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
} else {
    header('Content-Type: text/html; charset=utf-8');
    echo page(facts());
}
