// SPDX-License-Identifier: ISC
/* The blocks of a file that may be a bundle. */
#pragma once

#include "common/error.h"

/* Called with each PEM block; anything but IA_OK ends the reading. */
typedef enum ia_rc ia_pem_block_fn(void *ctx, const char *file, const char *pem, struct ia_err *err);

/* Read `file` (PEM with any number of blocks, or one document in DER; "-" is standard input) block by block.  A file
 * without a block is IA_FORMAT. */
IA_MUST_USE enum ia_rc ia_pem_blocks_each(const char *file, ia_pem_block_fn *take, void *ctx, struct ia_err *err);
