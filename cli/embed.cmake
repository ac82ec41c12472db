# SPDX-License-Identifier: ISC
# cmake -DDIR=sql/migrations -DOUT=migrations.c -P embed.cmake: the migrations as C arrays, in name order.
file(GLOB files ${DIR}/*.sql)
list(SORT files)
set(arrays "")
set(rows "")
set(n 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(................................................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  string(APPEND arrays "static const unsigned char migration_${n}[] = {\n${hex}0};\n")
  string(APPEND rows "    {\"${name}\", (const char *)migration_${n}},\n")
  math(EXPR n "${n} + 1")
endforeach()
file(WRITE ${OUT} "// SPDX-License-Identifier: ISC\n// Made by cli/embed.cmake.\n#include \"cli/migrations.h\"\n\n"
     "${arrays}\nconst struct ia_migration ia_migrations[] = {\n${rows}};\n"
     "const size_t ia_n_migrations = ${n};\n")
