# A static binary in an empty image. Needs BuildKit, which is Docker's default builder, or buildah.

# Another base needs Rust and a C compiler; on one without musl, CARGO_BUILD_TARGET and RUSTFLAGS decide what is linked.
ARG RUST=docker.io/library/rust:1.95-alpine
FROM ${RUST} AS build
# For the cryptography library, which compiles C and assembly.
RUN if command -v apk; then apk add --no-cache gcc musl-dev; fi
# The binary carries the list of its crates, so that scanners of images find those with known vulnerabilities.
RUN cargo auditable --version || cargo install --locked cargo-auditable@0.7.7
WORKDIR /src
COPY . .
# The feature `sim`, on by default, is the simulated world for load tests and the demo; a cluster has no use for it.
# FEATURES=otlp adds traces (docs/operations.md). The musl target links statically. The target directory is a cache and not part of the layer.
ARG FEATURES=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo auditable install --locked --no-default-features --features "$FEATURES" --path . --root /out --no-track

FROM scratch
LABEL org.opencontainers.image.title="ingress-acme" \
      org.opencontainers.image.description="A valid TLS certificate for every Ingress" \
      org.opencontainers.image.licenses="Apache-2.0"
# The CA's directory is verified with roots that are compiled in; this file is for clusters whose API server has a
# certificate of a public CA.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/bin/ingress-acme /ingress-acme
USER 65532:65532
# 8089: answers to challenges. 9090: metrics. 8081: health. The status page is on loopback, port 9091.
EXPOSE 8089 9090 8081
ENTRYPOINT ["/ingress-acme"]
CMD ["run"]
