// SPDX-License-Identifier: ISC
#include "cli/table.h"

#include "cli/cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NARROWEST 8 /* columns of a terminal that every column of a table keeps */

/* All cells of a result, and the width of each column. */
struct grid {
    int rows, columns;
    char **cells; /* owned, rows * columns */
    size_t *widths;
};

static void free_grid(struct grid *grid)
{
    for (int i = 0; grid->cells && i < grid->rows * grid->columns; i++)
        free(grid->cells[i]);
    free(grid->cells);
    free(grid->widths);
}

static bool build_grid(const PGresult *result, bool utc, struct grid *grid)
{
    *grid = (struct grid){.rows = PQntuples(result), .columns = PQnfields(result)};
    grid->cells = calloc((size_t)grid->rows * (size_t)grid->columns + 1, sizeof *grid->cells);
    grid->widths = calloc((size_t)grid->columns + 1, sizeof *grid->widths);
    if (!grid->cells || !grid->widths)
        return false;
    for (int c = 0; c < grid->columns; c++)
        grid->widths[c] = ia_cell_width(PQfname(result, c));
    for (int i = 0; i < grid->rows * grid->columns; i++) {
        grid->cells[i] = ia_cell_text(result, i / grid->columns, i % grid->columns, utc);
        if (!grid->cells[i])
            return false;
        size_t width = ia_cell_width(grid->cells[i]);
        if (width > grid->widths[i % grid->columns])
            grid->widths[i % grid->columns] = width;
    }
    return true;
}

/* Columns of the terminal, 0: standard output is none, and nothing is cut. */
static size_t terminal_width(void)
{
    struct winsize size;
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

/* Narrow the widest column, one step after the other, until the line fits. */
static void fit_columns(struct grid *grid, size_t room)
{
    size_t line = 0;
    for (int c = 0; c < grid->columns; c++)
        line += grid->widths[c] + 2;
    while (room > 0 && line > room + 2) {
        int widest = 0;
        for (int c = 1; c < grid->columns; c++)
            if (grid->widths[c] > grid->widths[widest])
                widest = c;
        if (grid->widths[widest] <= NARROWEST)
            return;
        grid->widths[widest]--;
        line--;
    }
}

static void print_line(const struct grid *grid, char *const *cells)
{
    for (int c = 0; c < grid->columns; c++) {
        bool is_last = c == grid->columns - 1;
        ia_cell_print(cells[c], grid->widths[c], !is_last);
        fputs(is_last ? "\n" : "  ", stdout);
    }
}

static void print_head(const struct grid *grid, const PGresult *result)
{
    for (int c = 0; c < grid->columns; c++) {
        bool is_last = c == grid->columns - 1;
        ia_cell_print(PQfname(result, c), grid->widths[c], !is_last);
        fputs(is_last ? "\n" : "  ", stdout);
    }
}

void ia_table_print(const PGresult *result, bool utc)
{
    struct grid grid;
    if (build_grid(result, utc, &grid)) {
        fit_columns(&grid, terminal_width());
        print_head(&grid, result);
        for (int r = 0; r < grid.rows; r++)
            print_line(&grid, grid.cells + r * grid.columns);
    } else {
        fputs("out of memory\n", stderr);
    }
    free_grid(&grid);
}

void ia_table_print_record(const PGresult *result, bool utc)
{
    size_t width = 0;
    for (int c = 0; c < PQnfields(result); c++)
        if (ia_cell_width(PQfname(result, c)) > width)
            width = ia_cell_width(PQfname(result, c));
    for (int r = 0; r < PQntuples(result); r++)
        for (int c = 0; c < PQnfields(result); c++) {
            char *text = ia_cell_text(result, r, c, utc);
            ia_cell_print(PQfname(result, c), width, true);
            printf("  %s\n", text ? text : "out of memory");
            free(text);
        }
}
