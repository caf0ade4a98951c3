//! Proxy selection by scheme and host.

use std::collections::BTreeMap;
use std::env;

use aws_smithy_http_client::proxy::ProxyConfig;

use super::ReachError;

/// Addresses of the pod's credential services: the instance metadata service, EKS Pod Identity and ECS tasks.
/// Source: "Configure the instance metadata service" in the EC2 user guide; "EKS Pod Identity" in the EKS user guide.
const CREDENTIALS: &str = "169.254.0.0/16,fd00:ec2::/32";

/// The variable that names a proxy, and the proxy or the reason why it is invalid.
type Proxy = Option<(&'static str, Result<ProxyConfig, String>)>;

/// Proxies of a client, by scheme.
#[derive(Clone, Default)]
pub(super) struct Proxies {
    http: Proxy,
    https: Proxy,
}

impl Proxies {
    /// Uses one proxy for all requests of a side.
    pub(super) fn of_side(url: &str) -> Self {
        let proxy = |make: Make| Some(("spec", proxy(url, make, CREDENTIALS)));
        Self { http: proxy(Make::Http), https: proxy(Make::Https) }
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
        let proxy = |names, make| first(names).map(|(name, url)| (name, proxy(&url, make, &direct)));
        Self {
            http: proxy(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"], Make::Http),
            https: proxy(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"], Make::Https),
        }
    }

    /// Returns the proxy for `http://`.
    pub(super) fn http(&self) -> Result<Option<&ProxyConfig>, ReachError> {
        usable(&self.http)
    }

    /// Returns the proxy for `https://`.
    pub(super) fn https(&self) -> Result<Option<&ProxyConfig>, ReachError> {
        usable(&self.https)
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

#[derive(Clone, Copy)]
enum Make {
    Http,
    Https,
}

/// Parses a proxy given as a URL, or as host and port. Errors never repeat the text, which may hold a password.
fn proxy(url: &str, make: Make, direct: &str) -> Result<ProxyConfig, String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let config = match make {
        Make::Http => ProxyConfig::http(url.as_str()),
        Make::Https => ProxyConfig::https(url.as_str()),
    };
    config.map(|config| config.no_proxy(direct)).map_err(|error| error.to_string())
}

fn usable(proxy: &Proxy) -> Result<Option<&ProxyConfig>, ReachError> {
    match proxy {
        None => Ok(None),
        Some((_, Ok(config))) => Ok(Some(config)),
        Some((variable, Err(reason))) => Err(ReachError::Proxy { variable, reason: reason.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the proxies of `http://` and `https://` as the library prints them.
    fn used(set: &[(&str, &str)]) -> (String, String) {
        let proxies = Proxies::of(|name| set.iter().find(|(set, _)| *set == name).map(|(_, url)| (*url).to_owned()));
        let shown = |proxy: Result<Option<&ProxyConfig>, ReachError>| match proxy {
            Ok(Some(config)) => format!("{config:?}"),
            Ok(None) => "direct".to_owned(),
            Err(error) => error.to_string(),
        };
        (shown(proxies.http()), shown(proxies.https()))
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
        assert!(used(&set).0.contains("x.y, 10.0.0.0/8,169.254.0.0/16,fd00:ec2::/32"), "{}", used(&set).0);
        assert!(used(&set[..1]).0.contains("169.254.0.0/16,fd00:ec2::/32"));
    }
}
