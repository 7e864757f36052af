# syntax=docker/dockerfile:1
# A server in a container: docs/serving.md says how it is run.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY crates crates
COPY benches benches
COPY tests tests
# RocksDB is compiled, too: the first time takes long, later ones find it in the cache.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked -p evenkeel \
    && install -D /target/release/evenkeel /out/evenkeel

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 evenkeel \
    && useradd --uid 10001 --gid evenkeel --no-log-init --no-create-home --home-dir /var/lib/evenkeel \
        --shell /usr/sbin/nologin evenkeel \
    && install -d -o evenkeel -g evenkeel -m 0700 /var/lib/evenkeel
COPY --from=build /out/evenkeel /usr/local/bin/evenkeel
COPY deploy/container.toml /etc/evenkeel/evenkeel.toml
ENV EVENKEEL_CONFIG=/etc/evenkeel/evenkeel.toml
USER evenkeel
WORKDIR /var/lib/evenkeel
VOLUME /var/lib/evenkeel
EXPOSE 5433
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["evenkeel", "health"]
ENTRYPOINT ["evenkeel"]
CMD ["serve"]
