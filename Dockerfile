# Both programs in one image:
#
#   docker build -t ghcr.io/redis-log-shipper/redis-log-shipper:0.1.0 .
#
# There is one image, because a sidecar whose image cannot be pulled keeps its Redis pod from being Ready. If the cluster cannot
# pull this image, the webhook does not run either, and no pod gets a sidecar. The Deployment and the webhook name the program that
# they start. Without a command the image starts the shipper.
#
# The programs are static, and the image has no shell, no package manager and no libraries. The programs write only to mounted
# volumes, so the root file system may be read-only. They run as any user: OpenShift's random ones, the database's, or the user
# below.

FROM rust:1.95.0-alpine3.22 AS build
# ring compiles some C. --timezone and its annotation need the time zones.
RUN apk add --no-cache musl-dev tzdata
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package redis-log-webhook --package redis-log-shipper \
 && mkdir /out && cp target/release/redis-log-webhook target/release/redis-log-shipper /out/

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY LICENSE /licenses/LICENSE
USER 65532:65532
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.source="https://github.com/redis-log-shipper/redis-log-shipper" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.title="redis-log-shipper" \
      org.opencontainers.image.description="Ships Redis Enterprise's log files to Loki: the sidecar, and the webhook that adds it"
COPY --from=build /out/redis-log-webhook /redis-log-webhook
COPY --from=build /out/redis-log-shipper /redis-log-shipper
# The webhook's HTTPS and admin ports, and the shipper's admin port.
EXPOSE 8443 9465 9464
ENTRYPOINT ["/redis-log-shipper"]
