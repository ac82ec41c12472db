# SPDX-License-Identifier: ISC
# What `cmake --install` installs besides the plugin (plugin/) and the command with its pages and completions (cli/).  The
# Debian package is made by the same rules (debian/rules).

set(IA_SHARE ${CMAKE_INSTALL_DATADIR}/mosquitto-iot-auth)
set(IA_DOC ${CMAKE_INSTALL_DATADIR}/doc/mosquitto-iot-auth)

install(DIRECTORY sql/migrations sql/admin DESTINATION ${IA_SHARE}/sql FILES_MATCHING PATTERN "*.sql" PATTERN "*.psql")
install(DIRECTORY examples DESTINATION ${IA_DOC})
install(DIRECTORY contrib/prometheus contrib/grafana DESTINATION ${IA_DOC}/examples PATTERN rules.test.yml EXCLUDE)
install(DIRECTORY docs DESTINATION ${IA_DOC} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
install(FILES README.md CHANGELOG.md SECURITY.md LICENSE DESTINATION ${IA_DOC})
