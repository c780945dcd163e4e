# Both programs, each as an image of its own:
#
#   docker build --target webhook -t ghcr.io/redis-log-shipper/redis-log-webhook:0.1.0 .
#   docker build --target shipper -t ghcr.io/redis-log-shipper/redis-log-shipper:0.1.0 .
#
# Static binaries in an empty image: no shell, no package manager, no libraries. They write nowhere but into mounted volumes,
# so the root file system may be read-only, and need nothing of the user they run as, so it may be any: OpenShift's random
# ones, the database's own, or the one named below.

FROM rust:1.95.0-alpine3.22 AS build
# ring compiles a little C; time zones are what --timezone, and annotations that set it, are checked against.
RUN apk add --no-cache musl-dev tzdata
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package redis-log-webhook --package redis-log-shipper \
 && mkdir /out && cp target/release/redis-log-webhook target/release/redis-log-shipper /out/

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY LICENSE /licenses/LICENSE
USER 65532:65532
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.source="https://github.com/redis-log-shipper/redis-log-shipper" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM base AS webhook
LABEL org.opencontainers.image.title="redis-log-webhook" \
      org.opencontainers.image.description="Admission webhook that gives Redis Enterprise pods a log-shipper sidecar"
COPY --from=build /out/redis-log-webhook /redis-log-webhook
EXPOSE 8443 9465
ENTRYPOINT ["/redis-log-webhook"]

FROM base AS shipper
LABEL org.opencontainers.image.title="redis-log-shipper" \
      org.opencontainers.image.description="Ships Redis Enterprise's log files to Loki"
COPY --from=build /out/redis-log-shipper /redis-log-shipper
EXPOSE 9464
ENTRYPOINT ["/redis-log-shipper"]
