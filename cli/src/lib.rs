//! The program `s3migrate`: migrates S3 buckets from one machine, without a cluster, a queue or an account for either.
