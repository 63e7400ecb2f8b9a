/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much heap there is in use, with and without the address sanitizer. */
#include <malloc.h>

#include "fuzz.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ADDRESS_SANITIZER 1
#endif
#endif

#ifdef WITH_ADDRESS_SANITIZER
size_t __sanitizer_get_current_allocated_bytes(void);
#endif

size_t heap_in_use(void)
{
#ifdef WITH_ADDRESS_SANITIZER
	return __sanitizer_get_current_allocated_bytes();
#else
	return mallinfo2().uordblks;
#endif
}
