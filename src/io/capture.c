/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/packet.h"

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	SNAPSHOT_MAX = 262144,
};

struct capture {
	pcap_t *pcap;
	int link_type;
	uint8_t buffer[SNAPSHOT_MAX];
};

static bool known_link_type(int link_type)
{
	switch (link_type) {
	case DLT_EN10MB:
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
	case DLT_LINUX_SLL:
	case DLT_LINUX_SLL2:
	case DLT_NULL:
	case DLT_LOOP:
		return true;
	default:
		return false;
	}
}

struct capture *capture_open(const char *path, char error[static CAPTURE_ERROR_SIZE])
{
	char reason[PCAP_ERRBUF_SIZE];
	struct capture *capture = malloc(sizeof(*capture));

	if (capture == NULL) {
		snprintf(error, CAPTURE_ERROR_SIZE, "%s: out of memory", path);
		return NULL;
	}
	capture->pcap = pcap_open_offline(path, reason);
	if (capture->pcap == NULL) {
		/* libpcap names the file in some of its messages, but not in all. */
		bool named = strncmp(reason, path, strlen(path)) == 0;
		snprintf(error, CAPTURE_ERROR_SIZE, "%s%s%.200s", named ? "" : path,
			 named ? "" : ": ", reason);
		free(capture);
		return NULL;
	}
	capture->link_type = pcap_datalink(capture->pcap);
	if (known_link_type(capture->link_type))
		return capture;
	const char *name = pcap_datalink_val_to_name(capture->link_type);
	snprintf(error, CAPTURE_ERROR_SIZE,
		 "%s: link type %s, expected Ethernet, raw IP or Linux cooked", path,
		 name != NULL ? name : "unknown");
	capture_close(capture);
	return NULL;
}

void capture_close(struct capture *capture)
{
	if (capture == NULL)
		return;
	pcap_close(capture->pcap);
	free(capture);
}

/* Offset of the IP header behind an ether type at type and any VLAN tags, or 0. Both Ethernet and
 * cooked captures have tags there: libpcap puts in those that the kernel has taken off. */
static size_t skip_tags(const uint8_t *bytes, size_t length, size_t type)
{
	while (type + 2 <= length) {
		uint16_t value = load16(bytes + type);
		if (value == ETHERTYPE_IPV4 || value == ETHERTYPE_IPV6)
			return type + 2;
		if (value != ETHERTYPE_VLAN && value != ETHERTYPE_QINQ)
			return 0;
		type += 4;
	}
	return 0;
}

/* The same for version 2 of the cooked header, which begins with the protocol. */
static size_t skip_cooked2(const uint8_t *bytes, size_t length)
{
	enum { HEADER = 20, TAG_CONTROL = 2 };

	if (length < HEADER)
		return 0;
	uint16_t value = load16(bytes);
	if (value == ETHERTYPE_VLAN || value == ETHERTYPE_QINQ)
		return skip_tags(bytes, length, HEADER + TAG_CONTROL);
	return value == ETHERTYPE_IPV4 || value == ETHERTYPE_IPV6 ? HEADER : 0;
}

/* Returns false when the frame carries no IP packet. */
static bool find_packet(const struct capture *capture, const uint8_t *bytes, size_t length,
			size_t *offset)
{
	switch (capture->link_type) {
	case DLT_EN10MB:
		*offset = skip_tags(bytes, length, 12);
		return *offset > 0;
	case DLT_LINUX_SLL:
		*offset = skip_tags(bytes, length, 14);
		return *offset > 0;
	case DLT_LINUX_SLL2:
		*offset = skip_cooked2(bytes, length);
		return *offset > 0;
	case DLT_NULL:
	case DLT_LOOP:
		*offset = 4;
		return length > 4;
	default:
		*offset = 0;
		return length > 0;
	}
}

int capture_next(struct capture *capture, struct captured_packet *packet,
		 char error[static CAPTURE_ERROR_SIZE])
{
	struct pcap_pkthdr *header;
	const u_char *bytes;
	size_t offset;
	int result;

	while ((result = pcap_next_ex(capture->pcap, &header, &bytes)) == 1) {
		size_t length = header->caplen;
		if (!find_packet(capture, bytes, length, &offset))
			continue;
		length -= offset;
		if (length > sizeof(capture->buffer))
			length = sizeof(capture->buffer);
		memcpy(capture->buffer, bytes + offset, length);
		*packet = (struct captured_packet){.bytes = capture->buffer,
						   .length = length,
						   .cut = header->caplen < header->len,
						   .seconds = header->ts.tv_sec,
						   .microseconds = header->ts.tv_usec};
		return 1;
	}
	if (result == PCAP_ERROR_BREAK)
		return 0;
	snprintf(error, CAPTURE_ERROR_SIZE, "%.200s", pcap_geterr(capture->pcap));
	return -1;
}
