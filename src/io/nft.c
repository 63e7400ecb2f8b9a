/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nft.h"

#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ruleset.h"
#include "xt_queue.h"

struct nft {
	struct nft_ctx *context;
};

struct nft *nft_open(void)
{
	struct nft *nft = calloc(1, sizeof(*nft));
	if (nft == NULL)
		return NULL;
	nft->context = nft_ctx_new(NFT_CTX_DEFAULT);
	if (nft->context == NULL) {
		free(nft);
		return NULL;
	}
	nft_ctx_buffer_output(nft->context);
	nft_ctx_buffer_error(nft->context);
	return nft;
}

void nft_close(struct nft *nft)
{
	if (nft == NULL)
		return;
	nft_ctx_free(nft->context);
	free(nft);
}

/* libnftables reports a place in the text and marks it with carets: the first line is what matters.
 */
static void first_line(char error[static NFT_ERROR_SIZE], const char *text)
{
	size_t length = strcspn(text, "\n");

	if (length == 0)
		text = "libnftables gave no reason", length = strlen(text);
	snprintf(error, NFT_ERROR_SIZE, "nftables: %.*s", (int)length, text);
}

static bool run(struct nft *nft, const char *commands, char error[static NFT_ERROR_SIZE])
{
	if (nft_run_cmd_from_buffer(nft->context, commands) == 0)
		return true;
	first_line(error, nft_ctx_get_error_buffer(nft->context));
	return false;
}

bool nft_has_native_queue(struct nft *nft)
{
	char error[NFT_ERROR_SIZE];

	nft_ctx_set_dry_run(nft->context, true);
	bool native = run(
		nft, "table inet " RULESET_TABLE "_trial { chain trial { queue to 0; }; }", error);
	nft_ctx_set_dry_run(nft->context, false);
	return native;
}

static char *ruleset_text(const struct config *config, bool native_queue)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	if (stream == NULL)
		return NULL;
	/* Adding it first makes deleting it right whether or not a crash left one behind. */
	fputs("table inet " RULESET_TABLE "\ndelete table inet " RULESET_TABLE "\n", stream);
	ruleset_write(stream, config, native_queue);
	bool written = ferror(stream) == 0;
	if (fclose(stream) != 0 || !written) {
		free(text);
		return NULL;
	}
	return text;
}

bool nft_install(struct nft *nft, const struct config *config, bool native_queue,
		 char error[static NFT_ERROR_SIZE])
{
	struct queue_chain chains[QUEUE_CHAINS_MAX];
	char *text = ruleset_text(config, native_queue);

	if (text == NULL) {
		snprintf(error, NFT_ERROR_SIZE, "nftables: out of memory");
		return false;
	}
	bool installed = run(nft, text, error);
	free(text);
	if (!installed || native_queue)
		return installed;
	if (xt_queue_install(RULESET_TABLE, chains, ruleset_queue_chains(config, chains), error))
		return true;
	char ignored[NFT_ERROR_SIZE];
	nft_remove(nft, ignored);
	return false;
}

bool nft_remove(struct nft *nft, char error[static NFT_ERROR_SIZE])
{
	return run(nft, "table inet " RULESET_TABLE "\ndelete table inet " RULESET_TABLE "\n",
		   error);
}
