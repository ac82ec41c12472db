// SPDX-License-Identifier: ISC
#include "sql/records_types.h"

#define NAME(kind, word) #word,

const char *ia_device_status_name(enum ia_device_status status)
{
    static const char *const names[] = {IA_DEVICE_STATUSES(NAME)};
    return names[status < sizeof names / sizeof names[0] ? status : IA_DEVICE_INACTIVE];
}
