// SPDX-License-Identifier: ISC
/* Numbers of equal width, zeros in front, in one block: 16 MB for a million numbers of 16 octets. */
#include "x509/serial_list.h"

#include "common/ref.h"

#include <stdlib.h>
#include <string.h>

struct ia_serial_list {
    struct ia_ref refs;
    size_t n;
    uint8_t width;
    bool sorted; /* so far: most CAs write their lists in order */
    uint8_t octets[];
};

struct ia_serial_list *ia_serial_list_new(size_t n, uint8_t width)
{
    struct ia_serial_list *list = malloc(sizeof *list + n * width);
    if (!list)
        return NULL;
    *list = (struct ia_serial_list){.width = width, .sorted = true};
    ia_ref_init(&list->refs);
    return list;
}

static void pad_serial(const struct ia_serial *serial, uint8_t width, uint8_t *out)
{
    memset(out, 0, width);
    memcpy(out + width - serial->len, serial->octets, serial->len);
}

void ia_serial_list_add(struct ia_serial_list *list, const struct ia_serial *serial)
{
    uint8_t *at = list->octets + list->n * list->width;
    pad_serial(serial, list->width, at);
    if (list->n > 0 && memcmp(at - list->width, at, list->width) > 0)
        list->sorted = false;
    list->n++;
}

static int compare_octets(const void *a, const void *b, void *width)
{
    return memcmp(a, b, *(const uint8_t *)width);
}

void ia_serial_list_sort(struct ia_serial_list *list)
{
    if (!list->sorted)
        qsort_r(list->octets, list->n, list->width, compare_octets, &list->width);
    list->sorted = true;
}

bool ia_serial_list_has(const struct ia_serial_list *list, const struct ia_serial *serial)
{
    uint8_t key[IA_SERIAL_MAX];
    if (serial->len > list->width)
        return false;
    pad_serial(serial, list->width, key);
    size_t low = 0, high = list->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(key, list->octets + middle * list->width, list->width);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

size_t ia_serial_list_size(const struct ia_serial_list *list)
{
    return sizeof *list + list->n * list->width;
}

struct ia_serial_list *ia_serial_list_ref(struct ia_serial_list *list)
{
    ia_ref_take(&list->refs);
    return list;
}

void ia_serial_list_free(struct ia_serial_list *list)
{
    if (list && ia_ref_drop(&list->refs))
        free(list);
}
