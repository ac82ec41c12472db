# SPDX-License-Identifier: ISC
# The Debian package: `cpack -G DEB` in a build folder.  dpkg-shlibdeps finds the versions of the libraries in the binaries.

set(IA_SHARE ${CMAKE_INSTALL_DATADIR}/mosquitto-iot-auth)
set(IA_DOC ${CMAKE_INSTALL_DATADIR}/doc/mosquitto-iot-auth)
install(DIRECTORY sql/migrations sql/admin DESTINATION ${IA_SHARE}/sql FILES_MATCHING PATTERN "*.sql")
install(FILES examples/mosquitto.conf DESTINATION ${IA_SHARE}/examples)
install(DIRECTORY docs DESTINATION ${IA_DOC} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
install(FILES README.md CHANGELOG.md SECURITY.md DESTINATION ${IA_DOC})
install(FILES LICENSE DESTINATION ${IA_DOC} RENAME copyright)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mosquitto-iot-auth)
set(CPACK_PACKAGE_CONTACT "the mosquitto-iot-auth authors <root@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Device certificates and access tokens for the Mosquitto broker")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
    "A plugin for the Mosquitto MQTT broker that decides who may connect and what they may do: devices by certificates of
authorities registered in PostgreSQL, with just-in-time registration, apps by OAuth 2.0 access token, both under topic
rights and address lists that administrators keep in SQL.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
                                                WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "mosquitto (>= 2.0.11)")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "postgresql-client") # applies the migrations, runs the administrators' scripts
include(CPack)
