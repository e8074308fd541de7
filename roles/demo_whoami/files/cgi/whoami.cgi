#!/usr/bin/perl
# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Who served me, as a program: started for every request (CGI), or staying and answering one after the other (FastCGI, which
# hands it its socket as descriptor 0). The keys are the same as those of index.php and whoami.py; the role's README documents
# them. As CGI it needs nothing but Perl itself, as FastCGI also libfcgi-perl. What cannot be known is null, never a guess.

use strict;
use warnings;
use POSIX ();
use Socket ();

# Under mod_perl this line runs again with every request, in an interpreter that has counted before.
our $requests //= 0;

sub slurp {
    my ($path) = @_;
    open(my $file, '<:raw', $path) or return undef;
    local $/;
    my $text = <$file>;
    return undef unless defined $text;
    $text =~ tr/\0/ /;
    $text =~ s/\A\s+|\s+\z//g;
    return length $text ? $text : undef;
}

sub text_of {
    my ($value) = @_;
    return defined $value && length $value ? $value : undef;
}

# Bytes as characters; what is not UTF-8 has a sign in its place.
sub characters {
    my ($text) = @_;
    utf8::decode($text) or $text =~ s/[^\x00-\x7f]/?/g;
    return $text;
}

# One value of the query, its percent signs and pluses decoded.
sub asked {
    my ($name) = @_;
    for my $pair (split /&/, $ENV{QUERY_STRING} // '') {
        my ($key, $value) = split /=/, $pair, 2;
        next unless $key eq $name;
        $value //= '';
        $value =~ tr/+/ /;
        $value =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
        return text_of($value);
    }
    return undef;
}

sub host_port {
    my ($host, $port) = @_;
    return undef unless defined text_of($host);
    $host = "[$host]" if $host =~ /:/;
    return defined text_of($port) ? "$host:$port" : $host;
}

# The socket that this process listens on, as the kernel knows it: only FastCGI gives it one.
sub listener {
    my $address = getsockname(STDIN) or return undef;
    my $family = Socket::sockaddr_family($address);
    return text_of(Socket::unpack_sockaddr_un($address)) if $family == Socket::AF_UNIX();
    my ($port, $host) =
        $family == Socket::AF_INET() ? Socket::unpack_sockaddr_in($address) : Socket::unpack_sockaddr_in6($address);
    return host_port(Socket::inet_ntop($family, $host), $port);
}

# Name and value in the order in which they are shown. A number is a reference to it.
sub facts {
    my ($fastcgi) = @_;
    my $socket = $fastcgi ? listener() : undef;
    my $known_from = defined $socket ? 'kernel' : undef;
    if (!defined $socket && defined($socket = text_of($ENV{WEBLAB_SOCKET}))) {
        $known_from = 'configuration';
    }
    my ($threads) = (slurp('/proc/self/status') // '') =~ /^Threads:\s*(\d+)/m;
    my $nonce = asked('nonce');
    utf8::decode($nonce) or undef $nonce if defined $nonce;
    my ($parent, $uid, $gid, $now) = (getppid, $>, (split ' ', $))[0], time);
    my $kind = $ENV{MOD_PERL} ? 'mod_perl' : $fastcgi ? 'FastCGI' : 'CGI';
    return (
        site              => text_of($ENV{WEBLAB_SITE}),
        stack             => text_of($ENV{WEBLAB_STACK}),
        language          => sprintf('Perl %vd', $^V),
        server_software   => text_of($ENV{SERVER_SOFTWARE}),
        sapi              => $kind,
        gateway           => lc $kind,
        mpm               => text_of($ENV{WEBLAB_MPM}),
        pid               => \$$,
        ppid              => \$parent,
        # A Perl without threads has one, and it bears the number of its process.
        thread            => \$$,
        threads           => defined $threads ? \$threads : undef,
        worker            => undef,
        pool              => undef,
        requests          => \$requests,
        process           => slurp('/proc/self/cmdline'),
        parent            => slurp("/proc/$parent/comm"),
        user              => scalar getpwuid($uid) // $uid,
        uid               => \$uid,
        group             => scalar getgrgid($gid) // $gid,
        peer              => host_port($ENV{REMOTE_ADDR}, $ENV{REMOTE_PORT}),
        socket            => $socket,
        socket_known_from => $known_from,
        hostname          => (POSIX::uname())[1],
        script_name       => $ENV{SCRIPT_NAME} // '',
        path_info         => $ENV{PATH_INFO} // '',
        nonce             => defined $nonce ? substr($nonce, 0, 64) : undef,
        time              => \$now,
    );
}

sub json_string {
    my ($text) = @_;
    $text = characters($text) unless utf8::is_utf8($text);
    $text =~ s/([\\"])/\\$1/g;
    $text =~ s/([\x00-\x1f\x7f])/sprintf '\\u%04x', ord $1/ge;
    return qq{"$text"};
}

sub json {
    my @facts = @_;
    my @members;
    while (my ($key, $value) = splice @facts, 0, 2) {
        my $shown = !defined $value ? 'null' : ref $value ? $$value + 0 : json_string($value);
        push @members, qq{"$key": $shown};
    }
    return '{' . join(', ', @members) . '}';
}

sub escaped {
    my ($text) = @_;
    $text = characters($text) unless utf8::is_utf8($text);
    $text =~ s/&/&amp;/g;
    $text =~ s/</&lt;/g;
    $text =~ s/>/&gt;/g;
    $text =~ s/"/&quot;/g;
    return $text;
}

# The same page as that of index.php and whoami.py, which lies beside this file.
sub page {
    my @facts = @_;
    my ($here) = __FILE__ =~ m{\A(.*)/};
    # One flat object of strings: what JSON::PP is for, where the whole of Perl is installed.
    my $messages = eval { require JSON::PP; JSON::PP::decode_json(slurp("$here/messages.json")) } // {};
    my $rows = '';
    while (my ($key, $value) = splice @facts, 0, 2) {
        my $cell =
            defined $value
            ? '<code>' . escaped(ref $value ? $$value : $value) . '</code>'
            : '<em>' . escaped($messages->{unknown} // 'unknown') . '</em>';
        $rows .= '<tr><th scope=row>' . escaped($messages->{$key} // $key) . "</th><td>$cell</td></tr>\n";
    }
    my %part = (
        rows  => $rows,
        lang  => escaped($messages->{lang} // 'en'),
        title => escaped($messages->{title} // 'Who served me'),
        lead  => escaped($messages->{lead} // ''),
    );
    my $page = characters(slurp("$here/page.html") // '{{rows}}');
    $page =~ s/\{\{(\w+)\}\}/$part{$1} \/\/ ''/ge;
    return $page;
}

sub answer {
    my ($fastcgi) = @_;
    $requests++;
    my $format = asked('format') // '';
    my $json = $format eq 'json' || ($format ne 'html' && ($ENV{HTTP_ACCEPT} // '') =~ m{application/json});
    my $body = $json ? json(facts($fastcgi)) : page(facts($fastcgi));
    utf8::encode($body);
    print 'Content-Type: ', ($json ? 'application/json' : 'text/html; charset=utf-8'), "\r\n";
    print 'Content-Length: ', length $body, "\r\n";
    print "Cache-Control: no-store\r\nVary: Accept\r\nX-Content-Type-Options: nosniff\r\n\r\n", $body;
}

# As FastCGI, descriptor 0 is a listening socket; as CGI, it is the request's body: a file, a pipe, or a socket with a peer.
if (-S STDIN && !getpeername STDIN) {
    require FCGI;
    my $request = FCGI::Request();
    answer(1) while $request->Accept() >= 0;
} else {
    answer(0);
}
