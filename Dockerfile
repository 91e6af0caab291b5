# The controller as one static binary, and nothing else: the certificate authorities that it trusts are compiled in.
#   make image
# Another base, for example from a mirror: --build-arg BUILD_IMAGE=… (Debian with Rust and a C compiler).
ARG BUILD_IMAGE=rust:1-slim-bookworm

FROM ${BUILD_IMAGE} AS build
WORKDIR /source
COPY . .
# Static with glibc: names are resolved by the libc's built-in "files" and "dns", which needs no nsswitch.conf.
# --target, although it is the host's, keeps the flag away from procedural macros, which can't be static.
RUN target="$(rustc --version --verbose | sed -n 's/^host: //p')" \
 && RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=/build \
    cargo build --locked --release --package port-dora-controller --target "$target" \
 && install "/build/$target/release/port-dora-controller" /

FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="port-dora-controller" \
      org.opencontainers.image.description="Reports deployments and incidents of a Kubernetes cluster to Port as DORA metrics" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /port-dora-controller /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/port-dora-controller"]
