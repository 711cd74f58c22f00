# The image contains the service, its models and ONNX Runtime, so the service downloads nothing at startup.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-pip \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# For the layer cache: ONNX Runtime and the dependencies change seldom, so they are built first, without our sources.
COPY scripts/fetch_wheel.py scripts/requirements-onnxruntime.txt scripts/
RUN python3 scripts/fetch_wheel.py scripts/requirements-onnxruntime.txt onnxruntime \
    'onnxruntime/capi/libonnxruntime.*=libonnxruntime.so' 'onnxruntime/LICENSE=LICENSE' \
    'onnxruntime/ThirdPartyNotices.txt=ThirdPartyNotices.txt'
COPY Cargo.toml Cargo.lock ./
COPY engine/Cargo.toml engine/
COPY python/Cargo.toml python/
RUN mkdir src benches engine/src python/src \
 && echo "fn main() {}" | tee src/main.rs benches/stages.rs benches/http.rs > benches/load.rs \
 && touch src/lib.rs engine/src/lib.rs python/src/lib.rs \
 && cargo build --release --locked \
 && rm -r src engine/src

COPY assets assets
COPY models models
COPY engine/src engine/src
COPY src src
# Cargo compares modification times, and the sources may be older than the empty files built above.
RUN find src engine/src -name '*.rs' -exec touch {} + \
 && cargo build --release --locked

FROM debian:bookworm-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent embedder \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data
# Copied, because installing the package would add apt's lists and caches to the image.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /build/onnxruntime/libonnxruntime.so /usr/local/lib/
COPY --from=build /build/onnxruntime/LICENSE /build/onnxruntime/ThirdPartyNotices.txt /usr/local/share/doc/onnxruntime/
COPY --from=build /build/models /usr/local/share/voice-embedding-service/models
COPY --from=build /build/target/release/voice-embedding-service /usr/local/bin/
COPY LICENSE /usr/local/share/doc/voice-embedding-service/

ENV MODELS_DIR=/usr/local/share/voice-embedding-service/models \
    DATA_MOUNT=/data \
    HOST=0.0.0.0 \
    PORT=8000
LABEL org.opencontainers.image.title="Voice Embedding Service" \
      org.opencontainers.image.description="Speaker embeddings, verification, identification and diarization over HTTP" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0"
# For platforms whose volumes always belong to root, this argument sets another user.
ARG RUN_AS=10001:10001
USER ${RUN_AS}
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["voice-embedding-service", "healthcheck"]
CMD ["voice-embedding-service", "serve"]
