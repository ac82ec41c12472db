/* iot-auth-check chain: would this certificate be admitted under these registered CAs? */
#include "cli/cli.h"
#include "cli/util.h"

int ia_cli_chain(int argc, char **argv)
{
    (void)argc;
    return ia_cli_complain(argv[0], "not in this build");
}
