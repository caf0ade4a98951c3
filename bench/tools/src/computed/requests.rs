//! Which request about an object is which.

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::Service;
use super::answer::{self, Body, Refusal};
use super::query::Query;

impl Service {
    /// Answers a request about an object.
    pub async fn object(
        &self,
        bucket: &str,
        key: &str,
        query: &Query,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let is_copy = head.headers.contains_key("x-amz-copy-source");
        let counted = |operation| self.counts.add(operation, 1);
        match (head.method.as_str(), query.get("uploadId")) {
            ("POST", None) if query.has("uploads") => {
                counted("CreateMultipartUpload");
                self.begin(bucket, key, &head)
            }
            ("PUT", Some(id)) if !is_copy => {
                counted("UploadPart");
                self.part(bucket, key, id, query.number("partNumber"), &head, body).await
            }
            ("GET", Some(id)) => {
                counted("ListParts");
                self.parts(bucket, key, id, query)
            }
            ("POST", Some(id)) => {
                counted("CompleteMultipartUpload");
                self.complete(bucket, key, id, &head, body).await
            }
            ("DELETE", Some(id)) => {
                counted("AbortMultipartUpload");
                self.abort(bucket, key, id)
            }
            ("GET", None) if query.has("tagging") => {
                counted("GetObjectTagging");
                self.buckets().get(bucket)?.object(key)?;
                Ok(answer::xml("<Tagging><TagSet/></Tagging>"))
            }
            (_, None) if is_copy || query.has("tagging") || query.has("acl") => Err(Refusal::NotImplemented),
            ("GET", None) => {
                counted("GetObject");
                self.read(bucket, key, query, &head)
            }
            ("HEAD", None) => {
                counted("HeadObject");
                self.read(bucket, key, query, &head)
            }
            ("PUT", None) => {
                counted("PutObject");
                self.put(bucket, key, &head.headers, body).await
            }
            ("DELETE", None) => {
                counted("DeleteObject");
                self.delete(bucket, key)
            }
            _ => Err(Refusal::NotImplemented),
        }
    }
}
