# The balancer and the backend it is shown with: `make images`, or `docker build --target balancer .` and `--target backend`.
#
# One file for both, since they share most of their dependencies, which are the expensive part: these are compiled once, in
# a layer that only changes with a manifest. Nothing here needs BuildKit, and nothing needs the network after the crates
# are fetched. The programs are linked statically, so that an image is a program and what it reads: no shell, no packages
# that somebody would have to patch (docs/adr/028-images-are-a-program.md).
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# release is what people run; dev builds in a third of the time; unoptimized is for tests.
ARG PROFILE=release
# A target that is named, though it is this machine's: flags for it are then not those of build scripts and macros.
ENV CARGO_INCREMENTAL=0 CARGO_BUILD_TARGET=host-tuple RUSTFLAGS=-Ctarget-feature=+crt-static

# Manifests with empty programs: what is compiled here are the dependencies.
COPY Cargo.toml Cargo.lock ./
COPY backend/Cargo.toml backend/
COPY load-balancer/Cargo.toml load-balancer/
COPY load-balancer/core/Cargo.toml load-balancer/core/
COPY traffic-lab/Cargo.toml traffic-lab/
COPY xtask/Cargo.toml xtask/
RUN for part in backend load-balancer load-balancer/core traffic-lab xtask; do \
        mkdir -p "$part/src" "$part/benches" \
        && touch "$part/src/lib.rs" "$part/benches/geo.rs" "$part/benches/pick.rs" \
        && echo 'fn main() {}' >"$part/src/main.rs" \
        || exit 1; \
    done \
    && rm load-balancer/core/src/main.rs \
    && cargo build --locked --profile "$PROFILE" --package load-balancer --package backend

# The sources. They may be older than the empty programs, and cargo goes by age.
COPY backend backend
COPY load-balancer load-balancer
RUN find backend/src load-balancer/src load-balancer/core/src -name '*.rs' -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" --package load-balancer --package backend \
    && case $PROFILE in dev) built=debug ;; *) built=$PROFILE ;; esac \
    && install -d /out/bin \
    && install target/*/"$built"/load-balancer target/*/"$built"/backend /out/bin/ \
    && strip --strip-debug /out/bin/* \
    && install -d -o 65532 -g 65532 /out/state

FROM scratch AS backend
COPY --from=build /out/bin/backend /usr/local/bin/
ENV PATH=/usr/local/bin BIND=0.0.0.0 PORT=5000
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["backend", "health"]
ENTRYPOINT ["backend"]

FROM scratch AS balancer
COPY --from=build /out/bin/load-balancer /usr/local/bin/
# Whom a Redis with TLS is believed by.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# Where membership outlives a restart; a volume that is mounted here takes over the owner.
COPY --from=build --chown=65532:65532 /out/state /var/lib/ballast
COPY deploy/compose/load-balancer.toml /etc/ballast/load-balancer.toml
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 5000 9901
# Drains: stops accepting, ends what is in flight within timeouts.drain.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["load-balancer", "health"]
ENTRYPOINT ["load-balancer"]
CMD ["serve", "--config", "/etc/ballast/load-balancer.toml"]
