#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# knockctl replay honours keys and replay_window, by the time of the capture.
set -eu
folder=$(mktemp -d "${TMPDIR:-/tmp}/knockgw-replay-XXXXXX")
trap 'rm -rf "$folder"' EXIT
captures=${KNOCKGW_TEST_DATA:?}/captures
failed=0

# replay KEYS MORE: what becomes of x_replay_v4, one SYN from two ports, at 2026.
replay() {
    printf 'services = ( { name = "x"; address = "198.51.100.170"; port = 12737; secret = (%s); %s } );\n' \
        "$1" "$2" >"$folder/conf"
    chmod 600 "$folder/conf"
    "${KNOCKCTL:?}" replay --config "$folder/conf" "$captures/x_replay_v4.pcap" 2>/dev/null |
        sed -n 's/.*"kind": *"syn".*"key": *\("[^"]*"\|null\).*"reason": *"\([^"]*\)".*/\1 \2/p' |
        tr '\n' ';'
}

expect() {
    found=$(replay "$1" "$2")
    if [ "$found" != "$3" ]; then
        echo "FAIL: $1 $2: expected $3, found $found" >&2
        failed=1
    fi
}

expect '"secret"' '' '"1" token-valid;"1" token-valid;'
expect '"secret"' 'replay_window = 0;' '"1" token-valid;"1" token-valid;'
expect '"secret"' 'replay_window = 3600;' '"1" token-valid;"1" token-replayed;'
expect '"x", { name = "a"; secret = "secret"; }' '' '"a" token-valid;"a" token-valid;'
expect '{ name = "a"; secret = "secret"; not_after = "2010-01-01"; }' '' '"a" key-expired;"a" key-expired;'
expect '{ name = "a"; secret = "secret"; not_before = "2999-01-01"; }' '' '"a" key-early;"a" key-early;'
expect '{ name = "a"; secret = "secret"; source = "203.0.113.0/24"; }' '' '"a" key-source;"a" key-source;'
expect '{ name = "a"; secret = "secret"; source = "192.0.2.0/24"; }' '' \
    '"a" token-valid;"a" token-valid;'
expect '"other"' '' 'null token-wrong;null token-wrong;'

# Each capture with a configuration of its own, from its row of the manifest.
rows=0
tail -n +2 "$captures/manifest.tsv" >"$folder/rows"
# Two tabs in a row are an empty field.
while IFS='|' read -r file _ mode n secret address port _ connections opened pending syn data _; do
    integrity=
    [ "$mode" = auth ] || integrity="integrity = $n;"
    printf 'services = ( { name = "x"; address = "%s"; port = %s; secret = "h:%s"; %s } );\n' \
        "$address" "$port" "$secret" "$integrity" >"$folder/conf"
    found=$("${KNOCKCTL:?}" replay --config "$folder/conf" --summary "$captures/$file" 2>/dev/null |
        tr -d ' {}"' | sed 's/[a-z_]*://g')
    rows=$((rows + 1))
    if [ "$found" != "$connections,$opened,$pending,$syn,$data" ]; then
        echo "FAIL: $file: expected $connections,$opened,$pending,$syn,$data, found $found" >&2
        failed=1
    fi
done <<EOF_ROWS
$(tr '\t' '|' <"$folder/rows")
EOF_ROWS
if [ "$rows" -ne 98 ]; then
    echo "FAIL: expected 98 captures, found $rows" >&2
    failed=1
fi
# No daemon takes an empty secret, in whatever notation.
for empty in '' h: r:0:; do
    printf 'services = ( { name = "x"; address = "192.0.2.1"; port = 1; secret = "%s"; } );\n' \
        "$empty" >"$folder/conf"
    if "${KNOCKGW:?}" --check --config "$folder/conf" >/dev/null 2>&1; then
        echo "FAIL: knockgw takes the empty secret '$empty'" >&2
        failed=1
    fi
done
exit $failed
