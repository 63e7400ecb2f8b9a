/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "core/secret.h"

static void warn_of_readers(void)
{
	struct stat status;

	if (fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) &&
	    (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		fputs("knockctl genkey: warning: the file may be read by others; "
		      "run 'umask 077' first\n",
		      stderr);
}

static bool write_bytes(const void *bytes, size_t length)
{
	/* Not through stdio, whose buffer could not be wiped. */
	bool written = write(STDOUT_FILENO, bytes, length) == (ssize_t)length;

	if (!written)
		complain("genkey", "standard output: %s", strerror(errno));
	return written;
}

static bool print_secret(const struct secret *secret)
{
	char text[2 + 2 * SECRET_SIZE + 1] = "h:";
	char *at = text + 2;

	for (size_t i = 0; i < SECRET_SIZE; i++) {
		static const char digits[] = "0123456789abcdef";
		*at++ = digits[secret->bytes[i] >> 4];
		*at++ = digits[secret->bytes[i] & 15];
	}
	*at = '\n';
	bool printed = write_bytes(text, sizeof(text));
	secret_wipe(text, sizeof(text));
	return printed;
}

int genkey_main(int argc, char **argv)
{
	bool raw = argc == 2 && strcmp(argv[1], "--raw") == 0;
	struct secret secret;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		puts("Usage: knockctl genkey [--raw]\n"
		     "Prints 64 random bytes in the notation h:, for 'secret' in knockgw.conf.\n\n"
		     "  --raw  the bytes themselves, for a file that 'secret = \"f:FILE\"' names");
		return STATUS_FINE;
	}
	if (argc > 1 && !raw)
		return complain("genkey", "unexpected argument '%s'", argv[1]);
	if (raw && isatty(STDOUT_FILENO))
		return complain("genkey", "--raw writes bytes that a terminal cannot show; "
					  "redirect it into a file");
	warn_of_readers();
	if (getrandom(secret.bytes, SECRET_SIZE, 0) != SECRET_SIZE) {
		complain("genkey", "no random bytes: %s", strerror(errno));
		return STATUS_FAILED;
	}
	bool printed = raw ? write_bytes(secret.bytes, SECRET_SIZE) : print_secret(&secret);
	secret_wipe(&secret, sizeof(secret));
	return printed ? STATUS_FINE : STATUS_FAILED;
}
