# The images of the operator and of worker and jobsender:
#   docker build --target operator -t s3-migration-operator .
#   docker build --target worker -t s3-migration-worker .
# With prebuilt programs in DIR/out the same file needs no Rust: --build-context build=DIR.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
ARG RUST=docker.io/library/rust:1.95-bookworm

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p s3-migration-operator -p s3-migration-worker \
    && mkdir /out \
    && for program in operator worker jobsender; do strip --strip-debug -o /out/$program target/release/$program; done

FROM ${BASE} AS operator
COPY --from=build /out/operator /usr/local/bin/operator
ENV HOME=/home/nonroot
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/operator"]

FROM ${BASE} AS worker
COPY --from=build /out/worker /out/jobsender /usr/local/bin/
ENV HOME=/home/nonroot
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/worker"]
