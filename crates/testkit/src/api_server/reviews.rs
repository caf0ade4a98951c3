//! Who the bearers of tokens are, and what they may do: reviews of both, as an API server answers them.

use serde_json::{Value, json};

use super::ApiRequest;

/// Audience of the API server itself.
const API_SERVER: &str = "https://kubernetes.default.svc";

/// Users by token, and what they may do.
#[derive(Debug, Default)]
pub struct Reviews {
    users: Vec<User>,
    allowed: Vec<Allowed>,
}

/// A user and a token, with the audience that the token is for. What vouches for it may know no audiences.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    token: String,
    name: String,
    audience: Option<String>,
}

/// What a user may do with `MigrationJobs`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    user: String,
    verb: String,
    /// `None` for all.
    namespace: Option<String>,
}

impl Reviews {
    /// Gives a user a token for an audience; for none if what vouches for the token knows no audiences.
    pub fn add_user(&mut self, token: &str, user: &str, audience: Option<&str>) {
        let audience = audience.map(ToOwned::to_owned);
        self.users.push(User { token: token.to_owned(), name: user.to_owned(), audience });
    }

    /// Lets a user do something in a namespace, or in all.
    pub fn allow(&mut self, user: &str, verb: &str, namespace: Option<&str>) {
        let namespace = namespace.map(ToOwned::to_owned);
        self.allowed.push(Allowed { user: user.to_owned(), verb: verb.to_owned(), namespace });
    }

    /// Takes everything away from a user.
    pub fn forbid(&mut self, user: &str) {
        self.allowed.retain(|allowed| allowed.user != user);
    }

    /// Returns the answer to a review; `None` if a request is none.
    pub(super) fn answer(&self, sent: &ApiRequest) -> Option<(u16, Value)> {
        let spec = &sent.body["spec"];
        let status = match sent.path.as_str() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => self.user(spec["token"].as_str()?, &spec["audiences"]),
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => self.access(spec),
            _ => return None,
        };
        let mut review = sent.body.clone();
        review["status"] = status;
        Some((201, review))
    }

    /// Answers as the API server does: with those of the wanted audiences that the token is for, where its own one is
    /// wanted if none is.
    fn user(&self, token: &str, wanted: &Value) -> Value {
        let own = json!([API_SERVER]);
        let wanted = wanted.as_array().filter(|wanted| !wanted.is_empty()).or(own.as_array());
        let is_for = |audience: &str| wanted.is_some_and(|wanted| wanted.iter().any(|one| one == audience));
        let known = self.users.iter().find(|user| user.token == token);
        match known.filter(|user| user.audience.as_deref().is_none_or(is_for)) {
            Some(user) => json!({
                "authenticated": true, "audiences": user.audience.as_slice(),
                "user": {"username": user.name, "groups": ["system:authenticated"], "extra": {"scopes": ["a"]}},
            }),
            None => json!({"authenticated": false, "error": "token is expired", "user": {}}),
        }
    }

    fn access(&self, spec: &Value) -> Value {
        let asked = &spec["resourceAttributes"];
        let is_ours = asked["group"] == "s3migration.dev" && asked["resource"] == "migrationjobs";
        let fits = |allowed: &Allowed| {
            // A permission in all namespaces is one in each, and none in one is one in all.
            spec["user"] == *allowed.user
                && asked["verb"] == *allowed.verb
                && allowed.namespace.as_ref().is_none_or(|namespace| asked["namespace"] == **namespace)
        };
        json!({"allowed": is_ours && self.allowed.iter().any(fits), "reason": ""})
    }
}
