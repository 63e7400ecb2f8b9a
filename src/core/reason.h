/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why a packet met its fate. This table is the one place: counters, log words, JSON words and the
 * rows of the documentation all come from it. */
#ifndef KNOCKGW_CORE_REASON_H
#define KNOCKGW_CORE_REASON_H

/*        name                 word                    what happened */
#define REASON_TABLE(X)                                                                         \
	X(NONE, "none", "nothing to say")                                                       \
	/* about the bytes */                                                                   \
	X(MALFORMED, "malformed", "not a packet that can be read")                              \
	X(FRAGMENT, "fragment", "a fragment, which nobody can judge")                           \
	X(NOT_TCP, "not-tcp", "not a TCP segment")                                              \
	X(TRUNCATED, "truncated", "the kernel handed over less than the whole packet")          \
	X(CHECKSUM_WRONG, "checksum-wrong", "the TCP checksum is wrong")                        \
	/* protect: what a client sent to a service */                                          \
	X(NO_SERVICE, "no-service", "no service has this address and port")                     \
	X(TOKEN_VALID, "token-valid", "the ISN is the token of a key")                          \
	X(TOKEN_WRONG, "token-wrong", "the ISN is no token")                                    \
	X(KEY_EXPIRED, "key-expired", "the key that fits is no longer valid")                   \
	X(KEY_EARLY, "key-early", "the key that fits is not valid yet")                         \
	X(KEY_SOURCE, "key-source", "the key that fits must not be used from this address")     \
	X(TOKEN_REPLAYED, "token-replayed", "the token belongs to another source")              \
	X(SOURCE_HELD, "source-held", "too many tokens from this prefix were wrong")            \
	X(SYN_REPEATED, "syn-repeated", "an accepted SYN again")                                \
	X(TUPLE_BUSY, "tuple-busy",                                                             \
	  "an accepted SYN on the tuple of a living connection: the server decides")            \
	X(CONNECTION_DEAD, "connection-dead",                                                   \
	  "this tuple and ISN failed the payload check before")                                 \
	X(PENDING_EMPTY, "pending-empty", "no payload yet, the payload check is still to come") \
	X(PAYLOAD_VALID, "payload-valid", "the first bytes match the hash in the ISN")          \
	X(PAYLOAD_WRONG, "payload-wrong", "the first bytes do not match the hash in the ISN")   \
	X(PAYLOAD_SHORT, "payload-short",                                                       \
	  "the first segment has fewer bytes than the check needs")                             \
	X(PAYLOAD_OUT_OF_ORDER, "payload-out-of-order", "payload elsewhere than at ISN + 1")    \
	X(PAYLOAD_HELD, "payload-held", "held back until all bytes of the check are there")     \
	X(PAYLOAD_CONFLICT, "payload-conflict", "other bytes than those that were checked")     \
	X(ACKNOWLEDGEMENT_WRONG, "acknowledgement-wrong",                                       \
	  "acknowledges what the server has not said, before the payload check")                \
	X(URGENT, "urgent", "an urgent pointer among the bytes of the check")                   \
	X(HOLD_FULL, "hold-full", "no room for the first bytes of another connection")          \
	X(SERVER_REPLY, "server-reply", "what the server says in a pending connection")         \
	X(PENDING_TIMEOUT, "pending-timeout", "the bytes of the check did not come in time")    \
	X(PENDING_UNKNOWN, "pending-unknown",                                                   \
	  "payload check outstanding, but its SYN is forgotten")                                \
	X(CONNECTION_ENDED, "connection-ended",                                                 \
	  "belongs to a connection that both sides have ended")                                 \
	X(CONNECTION_VERIFIED, "connection-verified", "belongs to a verified connection")       \
	X(NO_CONNECTION, "no-connection", "belongs to no verified connection")                  \
	X(TABLE_FULL, "table-full", "no room for another connection")                           \
	/* egress: what passed between a client behind us and a server */                       \
	X(NO_DESTINATION, "no-destination", "no egress destination has this address and port")  \
	X(TOKEN_WRITTEN, "token-written", "the ISN was replaced by a token")                    \
	X(TRANSLATED, "translated", "sequence numbers were translated")                         \
	X(QUOTE_TRANSLATED, "quote-translated",                                                 \
	  "the segment quoted by an ICMP error was translated")                                 \
	X(QUOTE_FOREIGN, "quote-foreign", "an ICMP error about something else")                 \
	X(FLOW_UNKNOWN, "flow-unknown", "a segment of a connection older than its flow entry")  \
	X(SIGNED_SEGMENT, "signed-segment", "TCP-MD5 or TCP-AO, which cannot be rewritten")     \
	X(HANDSHAKE_ANSWERED, "handshake-answered",                                             \
	  "the client's handshake was answered for the server")                                 \
	X(PAYLOAD_COLLECTED, "payload-collected",                                               \
	  "payload taken from the client, the SYN is on its way")                               \
	X(HALVES_JOINED, "halves-joined", "the server answered and both halves were joined")    \
	X(SERVER_REFUSED, "server-refused", "the server refused the connection")                \
	X(SERVER_UNREACHABLE, "server-unreachable",                                             \
	  "an ICMP error says that the server cannot be reached")                               \
	X(COLLECT_TIMEOUT, "collect-timeout",                                                   \
	  "the client did not send the bytes that the token needs")                             \
	X(SERVER_SILENT, "server-silent", "the server did not answer in time")                  \
	X(PROMISE_BROKEN, "promise-broken",                                                     \
	  "the server negotiated less than the client was promised")                            \
	X(PAYLOAD_TOO_LONG, "payload-too-long",                                                 \
	  "the server takes no segment as long as the check needs")                             \
	X(CONFIGURATION_CHANGED, "configuration-changed",                                       \
	  "a reload changed the service or destination in the meantime")                        \
	X(STOPPED, "stopped", "knockgw stopped before the connection was made")                 \
	X(CLIENT_GONE, "client-gone", "the client gave up before the server had its bytes")

enum reason {
#define REASON_ENUM(name, word, text) REASON_##name,
	REASON_TABLE(REASON_ENUM)
#undef REASON_ENUM
		REASON_COUNT
};

/* The word for logs, counters and JSON. */
const char *reason_word(enum reason reason);

/* The sentence for people. */
const char *reason_text(enum reason reason);

#endif
