#!/usr/bin/perl
# Redacts personal data in a text. Needs no module beyond those of Debian's perl-base.
use strict;
use warnings;

sub fail { print STDERR "redact_text: @_\n"; exit 1 }

sub slurp {
    my ($path, $name) = @_;
    fail("cannot read $name: it is a folder") if -d $path;
    open my $file, '<:raw', $path or fail("cannot read $name: $!");
    local $/;    # no line separator: read all of it
    return scalar <$file>;
}

# Parameters come as dotenv lines: name='value', with ' written as '\''. A value may span lines.
my %parameter;
my $lines = slurp($ENV{ATTUNE_PARAMETERS_FILE}, 'the parameters');
while ($lines =~ /^(\w+)='((?:[^']++|'\\'')*+)'$/mg) {
    my ($name, $value) = ($1, $2);
    $value =~ s/'\\''/'/g;
    $parameter{$name} = $value;
}

# The sum of the digits, every second one from the right doubled, is a multiple of 10 for card numbers.
sub is_card_number {
    my @digits = reverse $_[0] =~ /\d/g;
    my $sum = 0;
    for my $i (0 .. $#digits) {
        my $digit = $digits[$i] * ($i % 2 ? 2 : 1);
        $sum += $digit > 9 ? $digit - 9 : $digit;
    }
    return $sum % 10 == 0;
}

my $octet   = qr/(?:25[0-5]|2[0-4]\d|1?\d?\d)/;
my %pattern = (
    email => qr/(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+/a,
    ip    => qr/(?<![\d.])$octet(?:\.$octet){3}(?![\d]|\.\d)/a,
    card  => qr/(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)/a,
    token => qr/\b(?:gh[pousr]_\w{20,}|AKIA[A-Z0-9]{16}|eyJ[\w-]+\.[\w-]+\.[\w-]+)/a,
);

my $text = exists $parameter{text}
    ? $parameter{text}
    : slurp($parameter{path} =~ m{^/} ? $parameter{path} : "$ENV{ATTUNE_PACK_DIR}/$parameter{path}", $parameter{path});

# What is not a string comes as JSON text: ["email","ip"]. The manifest allows only plain words in this array.
for my $kind ($parameter{kinds} =~ /"(\w+)"/g) {
    my $pattern = $pattern{$kind} or fail("unknown kind: $kind");
    my $count   = 0;
    my $mask = sub {
        my $found = shift;
        return $found if $kind eq 'card' && !is_card_number($found);
        $count++;
        (my $masked = $parameter{mask}) =~ s/%s/uc $kind/eg;
        return $masked unless $kind =~ /card|token/ && $parameter{keep_last};
        return $masked . substr $found, -$parameter{keep_last};
    };
    $text =~ s/($pattern)/$mask->($1)/eg;
    printf STDERR "%-6s %d replaced\n", $kind, $count;
}

binmode STDOUT;
print $text;
print "\n" unless $text =~ /\n\z/;
