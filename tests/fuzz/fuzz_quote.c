/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ICMP errors: what is quoted is found inside the packet only; a number that is changed and changed
 * back leaves the packet as it was. The first byte lets the checksum be put right, so that more
 * than its check is tried. */
#include "core/icmp_quote.h"

#include "core/checksum.h"
#include "fuzz.h"

static uint8_t bytes[65536];
static uint8_t before[65536];

static void put_checksum_right(const struct packet *packet)
{
	uint32_t length = (uint32_t)(packet->length - packet->transport);
	uint64_t sum = 0;

	if (packet->captured < packet->length || length < 4)
		return;
	if (packet->protocol == PROTOCOL_ICMPV6)
		sum = checksum_pseudo(FAMILY_IPV6, bytes + 8, bytes + 24, PROTOCOL_ICMPV6, length);
	store16(bytes + packet->transport + 2, 0);
	store16(bytes + packet->transport + 2,
		checksum_finish(checksum_add(sum, bytes + packet->transport, length)));
}

/* In ones' complement 0 and 0xffff are the same. */
static void check_same(const struct icmp_quote *quote)
{
	size_t sums[] = {quote->packet->transport + 2, quote->segment + 16};

	for (size_t i = 0; i < quote->packet->captured; i++) {
		bool sum = false;
		for (size_t j = 0; j < 2; j++)
			sum = sum || (i - sums[j] < 2 && (load16(bytes + sums[j]) == 0 ||
							  load16(bytes + sums[j]) == 0xffff));
		MUST(sum || bytes[i] == before[i]);
	}
}

static void check_quote(struct icmp_quote *quote, uint32_t value)
{
	struct icmp_quote again;
	uint32_t sequence = quote->sequence;
	uint32_t acknowledgement = quote->acknowledgement;

	MUST(quote->quoted >= 8 && quote->segment + quote->quoted <= quote->packet->captured);
	MUST(quote->sequence == load32(bytes + quote->segment + 4));
	icmp_quote_set_sequence(quote, value);
	MUST(icmp_quote_parse(&again, quote->packet) == REASON_NONE);
	MUST(again.sequence == value && tuple_equal(&again.tuple, &quote->tuple));
	icmp_quote_set_sequence(quote, sequence);
	check_same(quote);
	icmp_quote_set_acknowledgement(quote, value);
	MUST(icmp_quote_parse(&again, quote->packet) == REASON_NONE);
	MUST(again.acknowledgement == (quote->quoted >= 12 ? value : 0));
	icmp_quote_set_acknowledgement(quote, acknowledgement);
	check_same(quote);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct packet packet;
	struct icmp_quote quote;
	uint8_t choice = take8(&input);
	uint32_t value = take32(&input);

	if (input.left > 4096)
		return -1;
	size_t length = take_bytes(&input, bytes, input.left);
	if (packet_parse(&packet, bytes, length) != REASON_NONE ||
	    (packet.protocol != PROTOCOL_ICMP && packet.protocol != PROTOCOL_ICMPV6))
		return 0;
	if ((choice & 1) != 0)
		put_checksum_right(&packet);
	memcpy(before, bytes, length);
	if (icmp_quote_parse(&quote, &packet) == REASON_NONE)
		check_quote(&quote, value);
	return 0;
}
