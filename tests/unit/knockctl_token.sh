#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# knockctl token and genkey from outside: output, complaints and exit statuses.
# KNOCKCTL names the program, KNOCKGW_TEST_DATA the folder tests/data.
set -u

: "${KNOCKCTL:?names the program to test}" "${KNOCKGW_TEST_DATA:?names the folder tests/data}"
unset KNOCK_SECRET
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
umask 077
tab=$(printf '\t')
checks=0
failures=0

fail() {
	failures=$((failures + 1))
	printf 'FAILED: %s\n' "$*" >&2
	sed 's/^/  stdout: /' out >&2
	sed 's/^/  stderr: /' err >&2
}

# run ARGUMENTS: standard input from the file "in", environment as it is
run() {
	"$KNOCKCTL" "$@" <in >out 2>err
	status=$?
	checks=$((checks + 1))
}

# prints TEXT ARGUMENTS: exactly that line, nothing on stderr, exit status 0
prints() {
	expected=$1
	shift
	run "$@"
	[ $status -eq 0 ] && [ "$(cat out)" = "$expected" ] && [ ! -s err ] ||
		fail "knockctl $* (status $status, expected $expected)"
}

# warns WORDS TEXT ARGUMENTS: that line, and one warning with the words
warns() {
	words=$1 expected=$2
	shift 2
	run "$@"
	[ $status -eq 0 ] && [ "$(cat out)" = "$expected" ] && [ "$(wc -l <err)" -eq 1 ] &&
		grep -qF -- "$words" err && grep -q 'warning' err ||
		fail "knockctl $* (status $status, expected a warning with '$words')"
}

# refuses WORDS ARGUMENTS: exit status 2, nothing on stdout, one line on stderr with the words, and
# nowhere the secret of this test
refuses() {
	words=$1
	shift
	run "$@"
	[ $status -eq 2 ] && [ ! -s out ] && [ "$(wc -l <err)" -eq 1 ] &&
		grep -qF -- "$words" err && ! grep -qi 'magic\|4d61676963' err &&
		grep -q '^knockctl' err ||
		fail "knockctl $* (status $status, expected a complaint with '$words')"
}

# batch_refuses WORDS LINES-BEFORE LINE…: as refuses, after that many good answers
batch_refuses() {
	words=$1 answers=$2
	run token --batch
	[ $status -eq 2 ] && [ "$(wc -l <out)" -eq "$answers" ] && [ "$(wc -l <err)" -eq 1 ] &&
		grep -qF -- "$words" err && ! grep -qi '4d61676963' err ||
		fail "--batch (status $status, expected a complaint with '$words')"
}

magic='Magic secret string'
magic_hex=4d616769632073656372657420737472696e67
payload='Protected payload goes here.'
payload_hex=50726f746563746564207061796c6f616420676f657320686572652e
: >in
printf %s "$magic" >secret
printf %s "$payload" >payload
v4='--address 192.18.42.42 --port 4242 --tsval 11223344'
v6='--address 2001:db8::2a:2a --port 4242 --tsval 11223344'

# The reference values, with the secret in every notation.
for KNOCK_SECRET in "$magic" "h:$magic_hex" "r:19:$magic" f:secret "f:$folder/secret"; do
	export KNOCK_SECRET
	prints edea1325 token $v4
	prints 4923a842 token $v6
	prints 2153ff96 token $v4 --payload-file payload
	prints 3ae5ff96 token $v6 --payload-hex $payload_hex
done
unset KNOCK_SECRET
prints edea1325 token $v4 --secret-file secret
KNOCK_SECRET=wrong
export KNOCK_SECRET
prints edea1325 token --secret-file=secret --tsval=0x11223344 --port=4242 --address=192.18.42.42
unset KNOCK_SECRET

# A payload may come from a pipe.
printf %s "$payload" >in
prints 2153ff96 token $v4 --secret-file secret --payload-file /dev/stdin
: >in

# Without a timestamp the TSval is zero.
"$KNOCKCTL" token --address 192.0.2.1 --port 1 --tsval 0 --secret-file secret >zero
prints "$(cat zero)" token --address 192.0.2.1 --port 1 --secret-file secret

# Arguments.
export KNOCK_SECRET="$magic"
refuses address token --port 22
refuses port token --address 192.0.2.1
refuses "'localhost'" token --address localhost --port 22
refuses "'192.0.2.1.'" token --address 192.0.2.1. --port 22
for port in 0 65536 99999999999999999999 -1 +1 ' 22' 22x 0x16 ''; do
	refuses "'$port'" token --address 192.0.2.1 --port "$port"
done
for tsval in '' 123456789 0x 12g4 -1 ' 1' '1 '; do
	refuses "'$tsval'" token --address 192.0.2.1 --port 22 --tsval "$tsval"
done
for hex in 1 123 zz '12 3' 0x12; do
	refuses 'hex digits' token $v4 --payload-hex "$hex"
done
refuses 'payload-hex' token $v4 --payload-hex ''
refuses 'two payloads' token $v4 --payload-hex 00 --payload-file payload
refuses 'nowhere' token $v4 --payload-file nowhere
refuses "$folder" token $v4 --payload-file "$folder"
refuses 'empty' token $v4 --payload-file /dev/null
head -c 65535 /dev/zero >long
run token $v4 --payload-file long
[ $status -eq 0 ] || fail "a payload of 65535 bytes"
printf x >>long
refuses '65535' token $v4 --payload-file long
refuses 'unexpected argument' token $v4 stray
refuses 'goes with no other' token --batch --port 22
refuses 'command line' token $v4 --secret "$magic"
refuses 'command line' token $v4 "--secret=$magic"
refuses 'unrecognized option' token $v4 --nonsense
refuses 'requires an argument' token --address

# Secrets.
unset KNOCK_SECRET
refuses KNOCK_SECRET token $v4
for KNOCK_SECRET in '' h: h:4d61676963f h:4d61676963zz r:5:Magic! r:x f:; do
	export KNOCK_SECRET
	refuses 'KNOCK_SECRET: expected' token $v4
done
unset KNOCK_SECRET
: >empty
printf %s "$magic" >open-group && chmod 640 open-group
printf %s "$magic" >open-world && chmod 604 open-world
mkfifo fifo
refuses 'nowhere' token $v4 --secret-file nowhere
refuses 'empty' token $v4 --secret-file empty
refuses '0640' token $v4 --secret-file open-group
refuses '0604' token $v4 --secret-file open-world
refuses 'regular file' token $v4 --secret-file fifo
refuses 'regular file' token $v4 --secret-file .
refuses 'regular file' token $v4 --secret-file /dev/null
KNOCK_SECRET=f:open-group
export KNOCK_SECRET
refuses '0640' token $v4

# Longer than 64 bytes: the rest does not count, and a warning says so.
sixty_four=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
KNOCK_SECRET=$sixty_four
run token $v4
isn=$(cat out)
KNOCK_SECRET=${sixty_four}x
warns KNOCK_SECRET "$isn" token $v4
printf %s "${sixty_four}x" >long-secret
warns long-secret "$isn" token $v4 --secret-file long-secret
unset KNOCK_SECRET

# Every vector, with and without header, with LF and CRLF, with and without the last column.
vectors=$KNOCKGW_TEST_DATA/vectors.tsv
sed 1d "$vectors" | cut -f7 >expected
[ "$(wc -l <expected)" -eq 400 ] || fail "400 vectors were expected"
compare() {
	run token --batch
	[ $status -eq 0 ] && cmp -s out expected && [ ! -s err ] || fail "--batch: $1"
}
cp "$vectors" in && compare 'as it is'
sed 1d "$vectors" >in && compare 'without header'
sed "s/\$/$(printf '\r')/" "$vectors" >in && compare 'with CRLF'
cut -f1-6 "$vectors" | sed "s/\$/$(printf '\r')/" >in && compare 'with CRLF and six columns'
cut -f1-6 "$vectors" | head -c -1 >in && compare 'without the last newline'

good="4${tab}192.18.42.42${tab}4242${tab}11223344${tab}$magic_hex${tab}"
printf '%s\n' "$good" >in
prints edea1325 token --batch
printf '%s\n' "$good$payload_hex" >in
prints 2153ff96 token --batch
: >in
prints '' token --batch

# Bad lines: the number of the line, the column, and no answer.
while IFS='|' read -r words line; do
	printf '%s\n%s\n%s\n' "$good" "$(printf '%s' "$line" | sed "s/;/$tab/g")" "$good" >in
	batch_refuses "line 2: $words" 1
done <<END
expected 6|
expected 6|4
expected 6|4;192.18.42.42;4242;11223344;$magic_hex
family|5;192.18.42.42;4242;11223344;$magic_hex;
family|family;dst;port;tsval_hex;secret_hex;payload_hex
dst|6;192.18.42.42;4242;11223344;$magic_hex;
dst|4;2001:db8::1;4242;11223344;$magic_hex;
dst|4;;4242;11223344;$magic_hex;
port|4;192.18.42.42;0;11223344;$magic_hex;
port|4;192.18.42.42;65536;11223344;$magic_hex;
port|4;192.18.42.42;;11223344;$magic_hex;
tsval_hex|4;192.18.42.42;4242;;$magic_hex;
tsval_hex|4;192.18.42.42;4242;112233445;$magic_hex;
tsval_hex|4;192.18.42.42;4242;1122334g;$magic_hex;
secret_hex|4;192.18.42.42;4242;11223344;${magic_hex}0;
secret_hex|4;192.18.42.42;4242;11223344;${magic_hex}zz;
payload_hex|4;192.18.42.42;4242;11223344;$magic_hex;0
payload_hex|4;192.18.42.42;4242;11223344;$magic_hex;0g
END
printf '%s\0\n' "$good" >in
batch_refuses 'line 1: expected text' 0
printf '%s\rff\n' "$good" >in
batch_refuses 'line 1: payload_hex' 0
{ printf '%s' "$good" && head -c 300000 /dev/zero | tr '\0' a && echo; } >in
batch_refuses 'line 1: payload_hex' 0
printf '4\t192.18.42.42\t4242\t11223344\t%0128d%s\t\n' 0 ff >in
run token --batch
[ $status -eq 0 ] && [ "$(wc -l <out)" -eq 1 ] && grep -q 'warning: line 1: .*longer' err ||
	fail 'a warning about a long secret in --batch'
: >in

# A full disk is noticed.
if [ -c /dev/full ]; then
	KNOCK_SECRET=x "$KNOCKCTL" token $v4 >/dev/full 2>err
	[ $? -eq 1 ] && grep -q 'standard output' err || fail 'token to a full disk'
	"$KNOCKCTL" genkey >/dev/full 2>err
	[ $? -eq 1 ] && grep -q 'standard output' err || fail 'genkey to a full disk'
else
	fail 'there is no /dev/full'
fi

# genkey: another one each time, taken back as it is; a warning when others may read it.
run genkey
[ $status -eq 0 ] && [ ! -s err ] && grep -Eqx 'h:[0-9a-f]{128}' out || fail genkey
cp out first
run genkey
! cmp -s out first || fail 'genkey twice the same'
KNOCK_SECRET=$(cat first)
export KNOCK_SECRET
run token $v4
[ $status -eq 0 ] && [ ! -s err ] && grep -Eqx '[0-9a-f]{8}' out || fail 'token with genkey'
unset KNOCK_SECRET
for mode in 644 640 604; do
	: >public && chmod $mode public
	"$KNOCKCTL" genkey >public 2>err
	[ $? -eq 0 ] && grep -q warning err || fail "genkey into a file of mode $mode"
done
refuses 'unexpected argument' genkey stray

# Help and version.
run --help
[ $status -eq 0 ] && grep -q '^  token ' out && grep -q '^  genkey ' out || fail --help
cp out usage
prints "$(cat usage)" help
prints "$(cat usage)" -h
for command in token genkey; do
	run $command --help
	[ $status -eq 0 ] && grep -q "^Usage: knockctl $command" out || fail "$command --help"
	cp out usage
	prints "$(cat usage)" help $command
done
run --version
[ $status -eq 0 ] && grep -Eqx 'knockctl [0-9]+\.[0-9]+\.[0-9]+' out || fail --version
refuses "'nonsense'" nonsense
refuses "'nonsense'" help nonsense
run
[ $status -eq 2 ] && [ ! -s out ] && grep -q '^Usage' err || fail 'no command'

printf '%d checks, %d failures\n' $checks $failures
[ $failures -eq 0 ]
