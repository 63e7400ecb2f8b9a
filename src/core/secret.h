/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pre-shared secrets and their notations (thesis table 10, libknockify). No I/O: see
 * io/secret_file.h. */
#ifndef KNOCKGW_CORE_SECRET_H
#define KNOCKGW_CORE_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SECRET_SIZE = 64 };

struct secret {
	uint8_t bytes[SECRET_SIZE]; /* padded with zeros */
};

enum secret_notation {
	SECRET_PLAIN, /* the text itself */
	SECRET_HEX,   /* h:0a1b… */
	SECRET_FILE,  /* f:path, raw bytes of that file */
	SECRET_RAW,   /* r:len:bytes, exactly len raw bytes, which may contain NUL */
};

/* What a notation says; bytes points into the caller's text. */
struct secret_text {
	enum secret_notation notation;
	const char *value; /* behind the prefix; the path for SECRET_FILE */
	size_t length;     /* of value, in bytes */
};

/* Tells which notation text[0..length) is in. On failure returns false and points *error at a
 * static sentence that says what was expected; the sentence never contains the text itself. */
bool secret_text_parse(struct secret_text *parsed, const char *text, size_t length,
		       const char **error);

/* Makes a secret from a parsed notation other than SECRET_FILE. *truncated tells whether more than
 * SECRET_SIZE bytes were given. Errors as in secret_text_parse (odd or non-hex digits, empty). */
bool secret_from_text(struct secret *secret, const struct secret_text *parsed, bool *truncated,
		      const char **error);

/* Makes a secret from raw bytes: padded with zeros, or truncated behind SECRET_SIZE. */
void secret_from_bytes(struct secret *secret, const uint8_t *bytes, size_t length, bool *truncated);

/* Overwrites length bytes in a way that the compiler cannot leave out. */
void secret_wipe(void *memory, size_t length);

#endif
