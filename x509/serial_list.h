// SPDX-License-Identifier: ISC
/* The serial numbers of one CRL, sorted.  Immutable once built, reference-counted, any thread. */
#pragma once

#include "common/error.h"
#include "x509/cert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A serial number without its leading zeros; the sign is not kept. */
struct ia_serial {
    uint8_t len;
    uint8_t octets[IA_SERIAL_MAX];
};

struct ia_serial_list;

/* Room for n numbers of at most `width` octets.  NULL: out of memory. */
struct ia_serial_list *ia_serial_list_new(size_t n, uint8_t width);

/* While it is being built: add one of the n numbers, at most `width` octets long; then sort. */
void ia_serial_list_add(struct ia_serial_list *list, const struct ia_serial *serial);
void ia_serial_list_sort(struct ia_serial_list *list);

bool ia_serial_list_has(const struct ia_serial_list *list, const struct ia_serial *serial);
size_t ia_serial_list_size(const struct ia_serial_list *list); /* octets of memory */

struct ia_serial_list *ia_serial_list_ref(struct ia_serial_list *list);
void ia_serial_list_free(struct ia_serial_list *list);
