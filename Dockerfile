# The images of the operator, of worker and jobsender, and of s3migrate:
#   docker build --target operator -t s3-migration-operator .
#   docker build --target worker -t s3-migration-worker .
#   docker build --target s3migrate -t s3migrate .
# With prebuilt programs in DIR/out the same file needs no Rust: --build-context build=DIR.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
ARG RUST=docker.io/library/rust:1.95-bookworm

FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p s3-migration-operator -p s3-migration-worker -p s3migrate \
        --features s3migrate/cluster \
    && mkdir -p /out/state \
    && for program in operator worker jobsender s3migrate; do \
        strip --strip-debug -o /out/$program target/release/$program || exit 1; done

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

# A volume at /state keeps the state of jobs, so that another container continues their runs.
FROM ${BASE} AS s3migrate
COPY --from=build /out/s3migrate /usr/local/bin/s3migrate
COPY --from=build --chown=65532:65532 /out/state /state
ENV HOME=/home/nonroot S3MIGRATE_STATE_DIR=/state
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/s3migrate"]
