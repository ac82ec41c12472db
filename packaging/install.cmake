# SPDX-License-Identifier: ISC
# What `cmake --install` installs besides the plugin (plugin/) and the commands (cli/).  The Debian package is made from the
# same rules (debian/rules).

set(IA_SHARE ${CMAKE_INSTALL_DATADIR}/mosquitto-iot-auth)
set(IA_DOC ${CMAKE_INSTALL_DATADIR}/doc/mosquitto-iot-auth)

install(DIRECTORY sql/migrations sql/admin DESTINATION ${IA_SHARE}/sql FILES_MATCHING PATTERN "*.sql")
install(DIRECTORY examples DESTINATION ${IA_DOC})
install(DIRECTORY docs DESTINATION ${IA_DOC} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
install(FILES README.md CHANGELOG.md SECURITY.md LICENSE DESTINATION ${IA_DOC})

# Whatever pages and completions exist; a page goes into the section that its name ends with.
file(GLOB IA_PAGES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.[1-8])
foreach(page ${IA_PAGES})
  string(REGEX REPLACE ".*\\." "" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
file(GLOB IA_COMPLETIONS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/completion/bash/*)
install(FILES ${IA_COMPLETIONS} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
