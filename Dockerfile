# SPDX-License-Identifier: ISC
# One image for all services of docker-compose.yml but PostgreSQL, and for brokers elsewhere: the broker with the plugin, and the
# scripts that set it up.  The image contains no keys and no passwords: these are made in volumes at the first start, or mounted.
# docs/image.md says how it is configured; scripts/build-image builds it with its version, for this machine or for several.

# The base of the image.  A builder that keeps one architecture under each name needs another name for another architecture (scripts/test-compose --arm64).
ARG BASE=debian:bookworm-slim

# On the builder's own architecture, whatever the image is for (docker/build).
FROM --platform=${BUILDPLATFORM:-linux} debian:bookworm-slim AS build
ARG TARGETARCH
COPY scripts/packages.sh /src/scripts/packages.sh
COPY docker/build /src/docker/build
RUN /src/docker/build packages
COPY . /src
RUN /src/docker/build tree \
    && rm -r /stage/usr/share/doc /stage/usr/share/man \
    && sed -nE 's/^ *\{"([a-z_]+)", *parse_.*/\1/p' /src/plugin/options.c >/stage/usr/share/mosquitto-iot-auth/options \
    && grep -qx db_conninfo /stage/usr/share/mosquitto-iot-auth/options

FROM ${BASE}
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mosquitto-iot-auth" \
      org.opencontainers.image.description="Mosquitto with device certificates, access tokens and topic rights from PostgreSQL" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="ISC" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
RUN useradd --system --uid 1883 --user-group --no-create-home --shell /usr/sbin/nologin mosquitto \
    && apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends \
        mosquitto mosquitto-clients libcurl4 libjansson4 libjwt0 libpq5 openssl \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /stage/ /
COPY docker/mosquitto.conf /etc/mosquitto-iot-auth/mosquitto.conf
COPY docker/bin/ /usr/local/bin/
# A new volume inherits the owner of the folder that it is mounted on.
RUN install -d -o mosquitto -g mosquitto -m 0700 /admin /authority /server /device /app /psk /secrets /var/lib/mosquitto \
    && install -d -o mosquitto -g mosquitto -m 0755 /public /monitoring \
    && install -d /etc/mosquitto-iot-auth/conf.d
USER 1883:1883
WORKDIR /tmp
EXPOSE 8883 8884
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=6 CMD ["stack-health"]
CMD ["stack-broker"]
