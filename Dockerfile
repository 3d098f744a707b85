# The balancer and the backend it is shown with: `docker build --target balancer .`, or `--target backend`.
#
# One file for both, since they share most of their dependencies, which are the expensive part: these are compiled once, in
# a layer that only changes with a manifest. Nothing here needs BuildKit, and nothing needs the network after the crates
# are fetched: the programs are linked with glibc alone, which the base image has.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# dev builds in a third of the time, for tests; release is what people run.
ARG PROFILE=release
ENV CARGO_INCREMENTAL=0

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
    && mkdir /out \
    && case $PROFILE in dev) built=target/debug ;; *) built=target/$PROFILE ;; esac \
    && cp "$built/load-balancer" "$built/backend" /out/ \
    && strip --strip-debug /out/*

FROM debian:bookworm-slim AS backend
COPY --from=build /out/backend /usr/local/bin/
ENV BIND=0.0.0.0 PORT=5000
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["backend", "health"]
ENTRYPOINT ["backend"]

FROM debian:bookworm-slim AS balancer
COPY --from=build /out/load-balancer /usr/local/bin/
# Where membership outlives a restart; a volume that is mounted here takes over the owner.
RUN install -d -o 65532 -g 65532 /var/lib/ballast
COPY deploy/compose/load-balancer.toml /etc/ballast/load-balancer.toml
USER 65532:65532
EXPOSE 5000 9901
# Drains: stops accepting, ends what is in flight within timeouts.drain.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["load-balancer", "health"]
ENTRYPOINT ["load-balancer"]
CMD ["serve", "--config", "/etc/ballast/load-balancer.toml"]
