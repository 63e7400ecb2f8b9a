/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Puts queue rules into chains of table inet knockgw on kernels without the queue statement:
 *
 *     xt_queue CHAIN FIRST COUNT drop|bypass [CHAIN ...]
 */
#include "io/xt_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/nft.h"
#include "io/ruleset.h"

int main(int argc, char **argv)
{
	struct queue_chain chains[QUEUE_CHAINS_MAX];
	char error[NFT_ERROR_SIZE];
	size_t count = 0;

	for (int i = 1; i + 3 < argc && count < QUEUE_CHAINS_MAX; i += 4) {
		struct queue_chain *chain = &chains[count++];
		*chain = (struct queue_chain){
			.first = (uint16_t)atoi(argv[i + 1]),
			.count = (uint16_t)atoi(argv[i + 2]),
			.bypass = strcmp(argv[i + 3], "bypass") == 0,
		};
		snprintf(chain->name, sizeof(chain->name), "%s", argv[i]);
	}
	if (xt_queue_install(RULESET_TABLE, chains, count, error))
		return EXIT_SUCCESS;
	fprintf(stderr, "%s\n", error);
	return EXIT_FAILURE;
}
