#!/usr/bin/perl
# Says what came, as CGI, FastCGI and under mod_perl: the variables, the body's size and digest, and who answers.
use Digest::SHA;
use JSON::PP;

sub answer {
    my ($size, $digest) = (0, Digest::SHA->new(256));
    while (read STDIN, my $part, 65536) {
        $size += length $part;
        $digest->add($part);
    }
    # Bytes as characters of Latin-1, as WSGI has them.
    my %answer = (env => { %ENV }, size => $size, sha256 => $digest->hexdigest, pid => $$, ppid => getppid,
                  user => scalar getpwuid($>), argv => [@ARGV]);
    print "Content-Type: application/json\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n", encode_json(\%answer);
}

if (-S STDIN && !getpeername STDIN) {
    require FCGI;
    my $request = FCGI::Request();
    answer() while $request->Accept() >= 0;
} else {
    answer();
}
