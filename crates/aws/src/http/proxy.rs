//! Proxy selection by scheme and host.

use std::collections::BTreeMap;
use std::env;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use super::ReachError;

/// Addresses of the pod's credential services: the instance metadata service, EKS Pod Identity and ECS tasks.
/// Source: "Configure the instance metadata service" in the EC2 user guide; "EKS Pod Identity" in the EKS user guide.
const CREDENTIALS: &str = "169.254.0.0/16,fd00:ec2::/32";

/// The variable that names a proxy, and the proxy's URL or the reason why it is invalid.
type Proxy = Option<(&'static str, Result<String, String>)>;

/// Proxies of a client, by scheme.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    http: Proxy,
    https: Proxy,
    /// What is reached directly, separated by commas.
    direct: String,
}

impl Proxies {
    /// Uses one proxy for all requests of a side.
    pub(super) fn of_side(url: &str) -> Self {
        let proxy = Some(("spec", proxy(url)));
        Self { http: proxy.clone(), https: proxy, direct: CREDENTIALS.to_owned() }
    }

    /// Reads the proxies from variables; in each row the first one set wins.
    ///
    /// | for | variables |
    /// |---|---|
    /// | `https://` | `HTTPS_PROXY`, `https_proxy`, `ALL_PROXY`, `all_proxy` |
    /// | `http://` | `HTTP_PROXY`, `http_proxy`, `ALL_PROXY`, `all_proxy` |
    /// | direct connections | `NO_PROXY`, `no_proxy` |
    pub(super) fn of(variables: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let set = names.iter().filter_map(|name| Some((*name, variables(name)?)));
            set.map(|(name, value)| (name, value.trim().to_owned())).find(|(_, value)| !value.is_empty())
        };
        let direct = first(&["NO_PROXY", "no_proxy"]).map(|(_, hosts)| hosts);
        // The library applies `*` to names only, not to addresses.
        if direct.as_ref().is_some_and(|hosts| hosts.split(',').any(|host| host.trim() == "*")) {
            return Self::default();
        }
        let direct = direct.map_or_else(|| CREDENTIALS.to_owned(), |hosts| format!("{hosts},{CREDENTIALS}"));
        let proxy = |names| first(names).map(|(name, url)| (name, proxy(&url)));
        Self {
            http: proxy(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
            https: proxy(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
            direct,
        }
    }

    /// Returns what finds the proxy of a URL.
    pub(super) fn matcher(&self) -> Result<Matcher, ReachError> {
        let (http, https) = (usable(self.http.as_ref())?, usable(self.https.as_ref())?);
        Ok(Matcher::builder().http(http).https(https).no(self.direct.clone()).build())
    }
}

/// Reads the proxies from this process's environment.
pub(super) fn environment() -> Proxies {
    let variables: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.to_ascii_uppercase().ends_with("_PROXY"))
        .collect();
    Proxies::of(|name| variables.get(name).cloned())
}

/// Returns the URL of a proxy given as such, or as host and port. Errors never repeat the text, which may hold a
/// password.
fn proxy(text: &str) -> Result<String, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("its scheme is neither http nor https".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) { Err("it has no host".to_owned()) } else { Ok(url) }
}

/// Returns the URL of a proxy; an empty one if there is none.
fn usable(proxy: Option<&(&'static str, Result<String, String>)>) -> Result<String, ReachError> {
    match proxy {
        None => Ok(String::new()),
        Some((_, Ok(url))) => Ok(url.clone()),
        Some((variable, Err(reason))) => Err(ReachError::Proxy { variable, reason: reason.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Proxies {
        Proxies::of(|name| set.iter().find(|(set, _)| *set == name).map(|(_, url)| (*url).to_owned()))
    }

    /// Returns the proxies of `http://` and `https://`, or why none can be used.
    fn used(set: &[(&str, &str)]) -> (String, String) {
        let proxies = of(set);
        let shown = |proxy: &Proxy| match usable(proxy.as_ref()) {
            Ok(url) if url.is_empty() => "direct".to_owned(),
            Ok(url) => url,
            Err(error) => error.to_string(),
        };
        (shown(&proxies.http), shown(&proxies.https))
    }

    #[test]
    fn each_scheme_has_the_proxy_of_its_variable() {
        for (set, http, https) in [
            (&[][..], "direct", "direct"),
            (&[("HTTPS_PROXY", "http://s:1")], "direct", "http://s:1"),
            (&[("https_proxy", "http://s:1"), ("HTTP_PROXY", "h:2")], "http://h:2", "http://s:1"),
            (&[("ALL_PROXY", "http://a"), ("HTTPS_PROXY", "http://s")], "http://a", "http://s"),
            (&[("HTTPS_PROXY", ""), ("all_proxy", "http://a")], "http://a", "http://a"),
            (&[("NO_PROXY", "x.y")], "direct", "direct"),
            (&[("ALL_PROXY", "http://a"), ("NO_PROXY", "x.y, *")], "direct", "direct"),
            (&[("HTTPS_PROXY", "socks5://me:secret@s")], "direct", "proxy of HTTPS_PROXY"),
            (&[("HTTP_PROXY", "http://me:secret@ x")], "proxy of HTTP_PROXY", "direct"),
        ] {
            let (found_http, found_https) = used(set);
            assert!(found_http.contains(http) && found_https.contains(https), "{set:?}: {found_http} {found_https}");
            assert!(!found_http.contains("secret") && !found_https.contains("secret"), "{set:?}");
        }
    }

    #[test]
    fn credentials_of_pods_are_never_asked_through_a_proxy() {
        let set = [("HTTP_PROXY", "http://h"), ("NO_PROXY", "x.y, 10.0.0.0/8")];
        for (set, url, expected) in [
            (&set[..], "http://s3.test/b", Some("http://h/")),
            (&set, "https://s3.test/b", None),
            (&set, "http://a.x.y/", None),
            (&set, "http://10.1.2.3/", None),
            (&set, "http://169.254.170.23/v1/credentials", None),
            (&set, "http://[fd00:ec2::23]/v1/credentials", None),
            (&set[..1], "http://a.x.y/", Some("http://h/")),
            (&set[..1], "http://169.254.169.254/latest/meta-data", None),
        ] {
            let found = of(set).matcher().unwrap().intercept(&url.parse().unwrap());
            assert_eq!(found.map(|proxy| proxy.uri().to_string()).as_deref(), expected, "{url}");
        }
    }
}
