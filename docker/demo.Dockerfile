# The demo of docker-compose.yml. Build it from the root of the checkout:
#   docker build -f docker/demo.Dockerfile -t relaybox-demo .
ARG RUST_VERSION=1.94

FROM rust:${RUST_VERSION}-bookworm AS builder
# librdkafka and SQLite are compiled in; the example brings its own features.

WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --example session_demo \
    && cp target/release/examples/session_demo /usr/local/bin/

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin relaybox
COPY --from=builder /usr/local/bin/session_demo /usr/local/bin/
USER relaybox
EXPOSE 8080
CMD ["session_demo", "--serve", "0.0.0.0:8080"]
