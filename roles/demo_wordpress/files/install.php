<?php
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

/*
 * WordPress's installer loads this file and calls these functions in place of its own:
 * the blog begins with the posts in stock.json.
 */

declare(strict_types=1);

defined('ABSPATH') || exit;

function wp_install_defaults($user_id): void
{
    global $wpdb;
    $stock = json_decode((string) file_get_contents(__DIR__ . '/stock.json'), true, 512, JSON_THROW_ON_ERROR);

    $wpdb->insert($wpdb->terms, ['term_id' => 1, 'name' => $stock['category'], 'slug' => 'notes', 'term_group' => 0]);
    $wpdb->insert($wpdb->term_taxonomy, [
        'term_id' => 1, 'taxonomy' => 'category', 'description' => '', 'parent' => 0, 'count' => 0,
    ]);
    update_option('default_category', 1);
    update_option('blogdescription', $stock['tagline']);
    // Chosen here, WordPress need not find out by asking itself over the network.
    update_option('permalink_structure', '/%postname%/');

    $insert = static function (array $text, string $type, int $age) use ($user_id): void {
        $blocks = array_map(
            static fn (string $text): string => "<!-- wp:paragraph -->\n<p>$text</p>\n<!-- /wp:paragraph -->",
            $text['paragraphs']
        );
        wp_insert_post(wp_slash([
            'post_type' => $type,
            'post_status' => 'publish',
            'post_author' => $user_id,
            'post_name' => $text['slug'],
            'post_title' => $text['title'],
            'post_content' => implode("\n\n", $blocks),
            'post_date' => wp_date('Y-m-d H:i:s', time() - $age),
            'comment_status' => 'closed',
        ]), true);
    };
    foreach ($stock['posts'] as $number => $post) {
        $insert($post, 'post', 60 * $number);
    }
    $insert($stock['page'], 'page', 0);
}

/** The host of the lab has no mail server, and nobody waits for this letter. */
function wp_new_blog_notification($blog_title, $blog_url, $user_id, $password): void
{
}
