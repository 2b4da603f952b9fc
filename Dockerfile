# The server's image: the program, the libraries it is linked with, certificates, and a user without rights. No shell.
#
#   docker build --tag kith-server .
#
# A program that is built already needs neither this file's builder nor a registry: what `deploy/rootfs.sh` lays out takes the
# place of the stage `rootfs`. So do the tests (`cargo xtask test container`).
#
#   deploy/rootfs.sh target/release/kith-server rootfs
#   docker build --target runtime --build-context rootfs=rootfs --tag kith-server .

# The version in rust-toolchain.toml; a test compares them.
ARG RUST=1.95.0

FROM docker.io/library/rust:${RUST}-bookworm AS build
ARG RUST
ENV RUSTUP_TOOLCHAIN=${RUST} SQLX_OFFLINE=true
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package kith-server && deploy/rootfs.sh target/release/kith-server /rootfs

FROM scratch AS rootfs
COPY --from=build /rootfs /

FROM scratch AS runtime
COPY --from=rootfs / /
# A number, so that a cluster can see that it is not root.
USER 65532:65532
# Inside a container the loopback address is reached by nobody; who publishes the port decides who reaches it.
ENV KITH_LISTEN=0.0.0.0:7480
EXPOSE 7480
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/kith-server", "healthcheck"]
ENTRYPOINT ["/usr/bin/kith-server"]
CMD ["serve"]
LABEL org.opencontainers.image.title="kith-server" \
      org.opencontainers.image.description="The Kith sync server" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
